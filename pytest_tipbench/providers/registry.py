"""Owns which provider a model reference names; imports a provider only when it is first used."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from pytest_tipbench.errors import TipbenchError, UnknownNameError, UserMistakeError
from pytest_tipbench.records import ModelReference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from pytest_tipbench.providers.base import Provider

BUILT_IN = ("ollama", "llamacpp", "openai", "replay")
ENTRY_POINT_GROUP = "pytest_tipbench.providers"
"""An entry point's name is the prefix; it loads to a function of no arguments, or a class, that
makes the provider. Built-in prefixes cannot be taken."""

_PROVIDER_METHODS = ("describe", "complete", "release", "close")


@runtime_checkable
class CountsParameters(Protocol):
    """A provider that can count a model's parameters long before it can describe it whole."""

    def count_parameters(self, model: ModelReference) -> int:
        """Return the exact number of the model's parameters.

        Raises:
            ProviderError: as ``describe`` does.
        """
        ...


def parse_reference(text: str, *, prefixes: Collection[str] | None = None) -> ModelReference:
    """Read a model reference as the user typed it.

    A known prefix names its provider; anything else, prefix and all, is an Ollama name
    (``hf.co/user/repo:Q4_K_M``). The reference's ``text`` is what was typed without surrounding
    space and without ``ollama/``, so that both ways to write an Ollama model are one model. (It
    stays where the name would be taken for another provider's: ``ollama/openai/x``.)

    Args:
        text: e.g. ``qwen2.5:0.5b`` or ``llamacpp/gemma3-270m``.
        prefixes: the known ones; by default the built-in ones and those of installed packages.

    Raises:
        UserMistakeError: there is no name in it.
    """
    text = text.strip()
    if prefixes is None:
        prefixes = _entry_points() if "/" in text else ()
    known = {*BUILT_IN, *prefixes}
    prefix, name = _split(text, known)
    if not name:
        expected = f"a name after {prefix}/" if text else "a name"
        raise UserMistakeError(f"{text!r} is not a model reference: expected {expected}")
    if prefix != "ollama":
        return ModelReference(text=f"{prefix}/{name}", provider=prefix, name=name)
    is_plain = _split(name, known) == ("ollama", name)
    return ModelReference(text=name if is_plain else f"ollama/{name}", provider=prefix, name=name)


class Providers:
    """The providers of one session in one process: each is made at its first use.

    Args:
        root: the project's root, which relative paths in references hang on.
        ollama_host: the Ollama host that this process talks to, normalised.
        environ: for ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``.
        extra: prefix → a function that makes the provider, as a project's hooks give them; they
            come before those of installed packages and before the built-in ones.
        say: told in a line what takes long.
    """

    def __init__(
        self,
        *,
        root: Path,
        ollama_host: str,
        environ: Mapping[str, str],
        extra: Mapping[str, Callable[[], Provider]],
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root = root
        self._say = say
        self._ollama_host = ollama_host
        self._environ = environ
        self._extra = dict(extra)
        self._made: dict[str, Provider] = {}

    @functools.cached_property
    def prefixes(self) -> tuple[str, ...]:
        """Every prefix that names a provider here."""
        return tuple(dict.fromkeys([*BUILT_IN, *self._extra, *_entry_points()]))

    def parse(self, text: str) -> ModelReference:
        """Read a model reference, the session's own providers known (:func:`parse_reference`).

        Raises:
            UserMistakeError: there is no name in it.
        """
        return parse_reference(text, prefixes=self.prefixes)

    def get(self, name: str) -> Provider:
        """Return the provider of that name, made now if it was not made before.

        Raises:
            UnknownNameError: no such provider.
            UserMistakeError: a package's provider cannot be loaded or made.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def count_parameters(self, model: ModelReference) -> int | None:
        """Count a model's parameters where its provider can before it describes it; else None.

        Raises:
            UserMistakeError: as :meth:`get`.
            ProviderError: as the provider's ``describe``.
        """
        provider = self.get(model.provider)
        return provider.count_parameters(model) if isinstance(provider, CountsParameters) else None

    def made(self) -> tuple[Provider, ...]:
        """Return the providers that were used so far, in the order of their first use."""
        return tuple(self._made.values())

    def close(self) -> None:
        """Close every provider that was made, even when closing one fails; may be called twice.

        Raises:
            ProviderError: closing one failed; the others were closed all the same.
        """
        with contextlib.ExitStack() as stack:
            while self._made:
                stack.callback(self._made.popitem()[1].close)

    def _make(self, name: str) -> Provider:
        if name in self._extra:
            return _made_by(self._extra[name], f"the provider {name!r} of this project's hooks")
        if name in BUILT_IN:
            return self._make_built_in(name)
        entry_points = _entry_points().get(name)
        if entry_points is None:
            raise UnknownNameError("provider", name, self.prefixes)
        return _make_from_package(name, entry_points)

    def _make_built_in(self, name: str) -> Provider:
        if name == "ollama":
            from pytest_tipbench.providers.ollama import OllamaProvider

            return OllamaProvider(self._ollama_host)
        if name == "llamacpp":
            from pytest_tipbench.providers.llamacpp import LlamaCppProvider

            return LlamaCppProvider(self._root, say=self._say)
        if name == "openai":
            from pytest_tipbench.providers.openai import DEFAULT_BASE_URL, OpenAIProvider

            return OpenAIProvider(
                self._environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
                self._environ.get("OPENAI_API_KEY"),
            )
        from pytest_tipbench.providers.replay import ReplayProvider

        return ReplayProvider(self._root)


def _split(text: str, known: Collection[str]) -> tuple[str, str]:
    """Return provider and name."""
    prefix, slash, name = text.partition("/")
    return (prefix, name.strip()) if slash and prefix in known else ("ollama", text)


def _entry_points() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """Return the entry points by prefix; one that two packages took is listed twice."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        taken = found.setdefault(entry_point.name, [])
        if entry_point.value not in [other.value for other in taken]:
            taken.append(entry_point)
    return found


def _make_from_package(name: str, entry_points: list[importlib.metadata.EntryPoint]) -> Provider:
    packages = " and ".join(_package_of(entry_point) for entry_point in entry_points)
    if len(entry_points) > 1:
        raise UserMistakeError(
            f"the provider prefix {name!r} is taken by several packages, {packages}: "
            "uninstall all but one"
        )

    def make() -> object:
        return entry_points[0].load()()

    return _made_by(
        make, f"the provider {name!r} of the package {packages} ({entry_points[0].value})"
    )


def _made_by(make: Callable[[], object], what: str) -> Provider:
    """Return the provider, if that is what somebody else's function makes."""
    try:
        provider = make()
    except TipbenchError:
        raise
    except Exception as error:
        raise UserMistakeError(f"{what} cannot be made: {type(error).__name__}: {error}") from error
    lacking = [name for name in _PROVIDER_METHODS if not callable(getattr(provider, name, None))]
    if lacking:
        raise UserMistakeError(f"{what} is not a provider: it has no {', '.join(lacking)}")
    return cast("Provider", provider)


def _package_of(entry_point: importlib.metadata.EntryPoint) -> str:
    distribution = getattr(entry_point, "dist", None)
    return distribution.name if distribution is not None else entry_point.value
