"""Owns that one model's weights at most are in memory; imports no pytest and no httpx.

Before a different model may load, and at the end, every server that the session uses has to be
proved empty (see ``emptiness``). A provider that cannot list what is resident, such as llama.cpp,
proves it by giving the memory back before its ``release`` returns.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.errors import (
    LockTimeoutError,
    ProviderError,
    ResidencyError,
    UserMistakeError,
)
from pytest_tipbench.providers.base import ListsResidentModels
from pytest_tipbench.safety.emptiness import QUIET_SECONDS, Watch, prove_empty
from pytest_tipbench.safety.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextlib import AbstractContextManager

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import ModelDescription, Residency


@dataclass
class _Loaded:
    """A model that may be in memory because of us."""

    model: ModelDescription
    residency: Residency
    is_doubtful: bool = False
    """A request broke off: nobody knows whether it is loaded, or is being loaded."""
    is_released: bool = False


class ResidencyGuard:
    """Lets a model load only once every other one has been proved gone.

    One process has one, for the one Ollama host that it serves.
    """

    def __init__(
        self,
        provider_of: Callable[[str], Provider],
        *,
        evict: bool,
        talking_to: Callable[[ModelDescription], AbstractContextManager[None]],
        say: Callable[[str], None],
        inherited: Collection[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make the guard; nothing is asked yet.

        Args:
            provider_of: provider by name.
            evict: unload the models of others instead of waiting for them.
            talking_to: takes the talk locks that a model needs. They are held from its first cell
                to that of another model, or to the end: a process that has outlived its session
                keeps the next one waiting until it has ended.
            say: told, in one line, what is waited for or evicted.
            inherited: digests of models that this session's processes before this one may have
                left behind, as a worker does that died.
            monotonic: a clock in seconds.
            sleep: waits for some seconds.
        """
        self.evidence = Evidence()
        self._provider_of = provider_of
        self._talking_to = talking_to
        self._say = say
        self._watch = Watch(evict, self.evidence, say, monotonic, sleep)
        self._talking = ExitStack()
        self._talking_for: str | None = None
        """Provider whose talk locks are held."""
        self._listing: set[str] = set()
        """Providers needed so far whose servers can say what is resident."""
        self._loaded: _Loaded | None = None
        """What may be in memory because of us; None after a proof."""
        self._suspects = set(inherited)
        """Digests that stay ours to unload: they may turn up after a proof."""
        self._is_heir = bool(inherited)
        """True until a proof, where a process that died may have been loading a model."""
        self._current: str | None = None
        """Digest of the model that may be talked to without a proof."""
        self._broken: str | None = None

    def start(self, provider: str) -> None:
        """Wait until the server of that provider holds no model of others.

        Raises:
            UserMistakeError: it still does after 30 s; names the models. Or it cannot be asked.
        """
        server = self._server_of(provider)
        if server is not None:
            self.start_beside(server)

    def start_beside(self, server: ListsResidentModels) -> None:
        """As :meth:`start`, for a server that this session does not use: it is not asked again.

        Raises:
            UserMistakeError: as :meth:`start`.
        """
        try:
            prove_empty(server, self._watch, ours=self._suspects)
        except ResidencyError as error:
            raise UserMistakeError(str(error)) from None

    def inherit(self, digests: Collection[str]) -> None:
        """Take over what a process of this session may have left behind when it died."""
        self._suspects.update(digests)
        self._is_heir = bool(self._suspects)

    @contextmanager
    def holding(self, model: ModelDescription, residency: Residency) -> Iterator[None]:
        """Make room for the model, and hold the machine's memory while it is talked to.

        A hosted model needs neither.

        Raises:
            ResidencyError: another model could not be got out of memory, now or before, or another
                session's process does not let go of it.
        """
        if not model.local:
            yield
            return
        if self._broken is not None:
            raise ResidencyError(self._broken)
        if self._current != model.digest:
            self._change_to(model)
        if self._loaded is None or self._loaded.is_doubtful or residency == "call":
            self.evidence.loads += 1
        self._loaded = loaded = _Loaded(model, residency, is_doubtful=True)
        yield
        loaded.is_doubtful = False

    def leave(self, model: ModelDescription) -> None:
        """Unload the model after its last cell; that it is gone is proved before the next loads."""
        if self._loaded is not None and self._current == model.digest:
            self._current = None
            try:
                self._release(self._loaded)
            except ResidencyError as error:
                self._broken = str(error)

    def finish(self) -> None:
        """Unload what is left, prove that nothing of ours is resident, and let go of the locks.

        Models of others are no concern of ours any more. May be called twice.

        Raises:
            ResidencyError: something of ours still is after 30 s, or that cannot be known.
        """
        self._current = None
        try:
            if self._loaded is not None or self._suspects:
                self._empty(others_too=False)
        except Exception:
            self._forget()
            raise
        else:
            self._forget()
        finally:  # after a Ctrl-C nothing is forgotten: the next call tries again
            self._let_go()

    def _change_to(self, model: ModelDescription) -> None:
        self._current = None
        provider = model.reference.provider
        self._server_of(provider)
        try:
            if self._talking_for != provider:
                if self._loaded is not None:  # gone before its locks are
                    self._empty(others_too=False)
                self._let_go()
                self._talking.enter_context(self._talking_to(model))
                self._talking_for = provider
            self._empty(others_too=True)
        except (ResidencyError, LockTimeoutError) as error:
            self._broken = f"no further model may be loaded: {error}"
            raise ResidencyError(self._broken) from error
        self._current = model.digest

    def _forget(self) -> None:
        self._loaded = None
        self._suspects.clear()

    def _let_go(self) -> None:
        self._talking_for = None
        self._talking.close()

    def _empty(self, *, others_too: bool) -> None:
        """Unload what is ours and prove it on every server needed so far."""
        loaded = self._loaded
        ours = set(self._suspects)
        has_broken_off = self._is_heir
        if loaded is not None:
            ours.add(loaded.model.digest)
            if loaded.is_doubtful and loaded.model.reference.provider in self._listing:
                self._suspects.add(loaded.model.digest)
                has_broken_off = True
            self._release(loaded)
        for provider in sorted(self._listing):
            server = self._server_of(provider)
            if server is not None:
                prove_empty(
                    server,
                    self._watch,
                    ours=ours,
                    others_too=others_too,
                    quiet_seconds=QUIET_SECONDS if has_broken_off else 0.0,
                )
        self._loaded = None
        self._is_heir = False
        self.evidence.proofs += 1

    def _release(self, loaded: _Loaded) -> None:
        """Ask for an unload, where the server has not been told to do it by itself.

        Raises:
            ResidencyError: it failed, and there is no server that could be asked what is resident.
        """
        model = loaded.model
        can_be_seen = model.reference.provider in self._listing
        goes_by_itself = can_be_seen and loaded.residency == "call" and not loaded.is_doubtful
        if loaded.is_released or goes_by_itself:
            return
        try:
            self._provider_of(model.reference.provider).release(model)
        except ProviderError as error:
            if not can_be_seen:
                raise ResidencyError(f"{model.reference} could not be unloaded: {error}") from error
            self._say(f"unloading {model.reference}: {error}")
        else:
            loaded.is_released = True

    def _server_of(self, provider: str) -> ListsResidentModels | None:
        server = self._provider_of(provider)
        if not isinstance(server, ListsResidentModels):
            return None
        self._listing.add(provider)
        return server
