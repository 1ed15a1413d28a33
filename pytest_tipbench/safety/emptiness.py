"""Owns the proof that a server holds no weights: look, ask, look again, give up.

The answer to a completion is no proof: Ollama unloads after it has answered, asynchronously. Its
``/api/ps`` may still list the model then, may block for seconds while memory is reclaimed, and may
fail once. Imports no pytest and no httpx.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.errors import ProviderError, ProviderUnreachableError, ResidencyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pytest_tipbench.providers.base import ListsResidentModels
    from pytest_tipbench.records import ResidentModel
    from pytest_tipbench.safety.evidence import Evidence

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.5
UNLOAD_AFTER_SECONDS = 2.0
"""How long a server may take by itself before it is asked to unload, and between two requests."""
GIVE_UP_AFTER_SECONDS = 30.0
UNREACHABLE_AFTER_SECONDS = 10.0
"""How long a server that refuses every connection may take to be started again."""
QUIET_SECONDS = 2.0
"""For how long nothing may be listed after a request that broke off: a load that it began is
invisible until it is finished or aborted."""


@dataclass(frozen=True)
class Watch:
    """The means with which servers are watched."""

    evict: bool
    """Unload the models of others instead of waiting for them."""
    evidence: Evidence
    """Shown whatever a server lists."""
    say: Callable[[str], None]
    """Told, in one line, what is waited for or evicted."""
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]


def prove_empty(
    server: ListsResidentModels,
    watch: Watch,
    *,
    ours: Collection[str],
    others_too: bool = True,
    quiet_seconds: float = 0.0,
) -> None:
    """Return once the server lists nothing any more.

    Models of ours are asked to go every two seconds; those of others are waited for, or, with
    ``evict``, asked at once.

    Args:
        server: where to look.
        watch: how to look.
        ours: digests of the models that this session may have loaded.
        others_too: False is content when none of ours is listed, and leaves others alone.
        quiet_seconds: for how long nothing may be listed before that counts.

    Raises:
        ResidencyError: something is still there after 30 s, or the server did not say.
    """
    wait = _Wait(server, watch, ours, others_too=others_too, quiet_seconds=quiet_seconds)
    pause = FIRST_PAUSE_SECONDS
    while not wait.is_over():
        watch.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _Wait:
    """One wait for one server to be empty."""

    def __init__(
        self,
        server: ListsResidentModels,
        watch: Watch,
        ours: Collection[str],
        *,
        others_too: bool,
        quiet_seconds: float,
    ) -> None:
        self._server = server
        self._watch = watch
        self._ours = ours
        self._others_too = others_too
        self._quiet_seconds = quiet_seconds
        self._started = watch.monotonic()
        self._empty_since: float | None = None
        self._unreachable_since: float | None = None
        self._asked_at: dict[str, float] = {}
        self._said: set[str] = set()

    def is_over(self) -> bool:
        """Look once, do what is due, and say whether the server is empty."""
        problem: ProviderError | None = None
        resident: Sequence[ResidentModel] = ()
        try:
            resident = self._server.resident_models()
        except ProviderError as error:  # a look amid an unload may fail
            problem = error
        now = self._watch.monotonic()
        lingering = [model for model in resident if model.digest in self._ours]
        others = [model for model in resident if model.digest not in self._ours]
        self._watch.evidence.see(lingering, others)
        if not self._others_too:
            others = []
        if problem is None and not lingering and not others:
            return self._has_been_quiet(now)
        self._empty_since = None
        self._give_up_if_late(now, lingering, others, problem)
        self._act(now, lingering, others)
        return False

    def _has_been_quiet(self, now: float) -> bool:
        self._unreachable_since = None
        if self._empty_since is None:
            self._empty_since = now
        return now - self._empty_since >= self._quiet_seconds

    def _give_up_if_late(
        self,
        now: float,
        lingering: Sequence[ResidentModel],
        others: Sequence[ResidentModel],
        problem: ProviderError | None,
    ) -> None:
        if not isinstance(problem, ProviderUnreachableError):
            self._unreachable_since = None
        elif self._unreachable_since is None:
            self._unreachable_since = now
        elif now - self._unreachable_since >= UNREACHABLE_AFTER_SECONDS:
            raise ResidencyError(f"what is resident cannot be known: {problem}")
        waited = now - self._started
        if problem is not None and waited >= UNLOAD_AFTER_SECONDS:
            self._say_once("problem", f"asking again what is resident: {problem}")
        if waited < GIVE_UP_AFTER_SECONDS:
            return
        if problem is not None:
            raise ResidencyError(f"what is resident cannot be known after 30 s: {problem}")
        reasons = []
        if lingering:
            reasons.append(
                f"{_names(lingering)} still resident after 30 s although asked to unload"
            )
        if others:
            remedy = (
                "although it was unloaded: something loads it again, end that"
                if self._watch.evict
                else "end what uses it, wait for its keep-alive, or unload it with --evict"
            )
            reasons.append(
                f"{_names(others)} still resident after 30 s and not loaded by this session: "
                f"{remedy}"
            )
        raise ResidencyError("; ".join(reasons))

    def _act(
        self, now: float, lingering: Sequence[ResidentModel], others: Sequence[ResidentModel]
    ) -> None:
        for model in lingering:
            if now - self._asked_at.get(model.name, self._started) >= UNLOAD_AFTER_SECONDS:
                self._ask_to_unload(model, now)
        for model in others:
            if self._watch.evict:
                self._say_once(model.name, f"unloading {model.name}, not loaded by this session")
                asked_at = self._asked_at.get(model.name)
                if asked_at is None or now - asked_at >= UNLOAD_AFTER_SECONDS:
                    self._ask_to_unload(model, now)
            else:
                self._say_once(
                    model.name,
                    f"waiting up to 30 s for {model.name}, not loaded by this session, to go",
                )

    def _ask_to_unload(self, model: ResidentModel, now: float) -> None:
        self._asked_at[model.name] = now
        with contextlib.suppress(ProviderError):  # the next look tells whether it went anyway
            self._server.unload(model.name)

    def _say_once(self, about: str, line: str) -> None:
        if about not in self._said:
            self._said.add(about)
            self._watch.say(line)


def _names(models: Sequence[ResidentModel]) -> str:
    names = ", ".join(model.name for model in models)
    return f"{names} {'is' if len(models) == 1 else 'are'}"
