"""Owns what ``installed`` and globs among the models' names stand for; imports no pytest.

They are expanded once, on the controller, before anything is collected: all processes have to
collect the same cells.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from pytest_tipbench.errors import (
    PreflightError,
    ProviderError,
    ProviderUnreachableError,
    UnknownNameError,
    UserMistakeError,
)
from pytest_tipbench.providers.ollama_names import canonical_name
from pytest_tipbench.providers.registry import parse_reference
from pytest_tipbench.safety.cap import over_cap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pytest_tipbench.records import ModelDescription, ModelReference

    class Server(Protocol):
        """An Ollama server, as its provider sees it."""

        def installed_models(self) -> Sequence[ModelReference]:
            """Return what is installed, in the server's order."""
            ...

        def describe(self, model: ModelReference) -> ModelDescription:
            """Say what the model is; raises ``ProviderError``."""
            ...


INSTALLED = "installed"
"""Stands for every installed model that the cap admits."""

_GLOB_CHARACTERS = frozenset("*?[")


def needs_installed(
    names: Sequence[str], *, parse: Callable[[str], ModelReference] = parse_reference
) -> bool:
    """Say whether the names can only be understood by asking what is installed.

    Raises:
        UserMistakeError: a name is not a model reference.
    """
    return any(_is_pattern(parse(name)) for name in names)


class InstalledModels:
    """What is installed on the hosts that cells may run on, as if they were one server."""

    def __init__(
        self, servers: Mapping[str, Server], cap_billions: float, *, first_alone: bool = False
    ) -> None:
        """Ask every server what it has.

        Args:
            servers: address → server, in the order in which they are preferred.
            cap_billions: the cap, in billions of parameters.
            first_alone: nothing may run on another server than the first, so that what is only
                there is left out.

        Raises:
            PreflightError: one of them does not say.
        """
        self._cap_billions = cap_billions
        self._servers = servers
        self._first_alone = first_alone
        self._models: dict[str, ModelReference] = {}
        self._addresses_of: dict[str, list[str]] = {}
        for address, server in servers.items():
            try:
                installed = server.installed_models()
            except ProviderError as error:
                raise PreflightError("what is installed cannot be asked", [str(error)]) from None
            for model in installed:
                name = canonical_name(model.name)
                self._models.setdefault(name, model)
                self._addresses_of.setdefault(name, []).append(address)

    @property
    def models(self) -> tuple[ModelReference, ...]:
        """Each model once: the first server's in its order, then what only others have."""
        return tuple(self._models.values())

    def describe(self, model: ModelReference) -> ModelDescription:
        """Say what the model is where it may run: on the first server whose build the cap admits.

        Raises:
            ProviderError: it cannot be described, or may run on no server that has it.
        """
        addresses = self._addresses_of[canonical_name(model.name)]
        first = next(iter(self._servers))
        if self._first_alone:
            if first not in addresses:
                raise ProviderError(
                    f"only on {', '.join(addresses)}; beside llama.cpp everything local runs on "
                    f"{first}"
                )
            addresses = [first]
        over: ModelDescription | None = None
        problem: ProviderError | None = None
        for address in addresses:
            try:
                description = self._servers[address].describe(model)
            except ProviderUnreachableError:
                raise
            except ProviderError as error:
                problem = problem or error
            else:
                if over_cap(description, self._cap_billions) is None:
                    return description
                over = over or description
        if over is None:
            assert problem is not None  # noqa: S101 - a listed model is on a server
            raise problem
        return over


def expand_models(
    names: Sequence[str],
    installed: Sequence[ModelReference],
    describe: Callable[[ModelReference], ModelDescription],
    cap_billions: float,
    *,
    parse: Callable[[str], ModelReference] = parse_reference,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put installed models in the place of ``installed`` and of globs such as ``qwen*``.

    Each model comes once, also where several names or patterns mean it. A path with ``*`` in it
    after another provider's prefix (``replay/…``) is a name like any other.

    Args:
        names: as the user gave them.
        installed: what Ollama has, in the order in which it is to be run.
        describe: asks Ollama for a model.
        cap_billions: the cap, in billions of parameters.
        parse: text → model reference, with the session's own providers known.

    Returns:
        The names, and a line for each installed model that a pattern means and that is left out:
        over the cap, of unknown size, or another name of one that is there.

    Raises:
        UnknownNameError: a pattern that matches no installed model.
        PreflightError: the models that match are all left out, or Ollama does not answer.
    """
    return _Expansion(names, installed, describe, cap_billions, parse).expand()


def _is_pattern(reference: ModelReference) -> bool:
    return reference.provider == "ollama" and (
        reference.name.lower() == INSTALLED or not _GLOB_CHARACTERS.isdisjoint(reference.name)
    )


def _matches(pattern: str, name: str) -> bool:
    """Compare as Ollama does: case does not count, the tag ``latest`` may be left out."""
    pattern, name = pattern.lower(), name.lower()
    return (
        pattern == INSTALLED
        or fnmatchcase(name, pattern)
        or fnmatchcase(name.removesuffix(":latest"), pattern)
    )


class _Expansion:
    def __init__(
        self,
        names: Sequence[str],
        installed: Sequence[ModelReference],
        describe: Callable[[ModelReference], ModelDescription],
        cap_billions: float,
        parse: Callable[[str], ModelReference],
    ) -> None:
        self._references = [parse(name) for name in names]
        self._names = names
        self._installed = {canonical_name(model.name): model for model in installed}
        self._describe = describe
        self._cap_billions = cap_billions
        self._parse = parse
        self._taken: dict[str, str] = {}
        """Digest → the name under which the model is run."""
        self._refused: dict[str, str] = {}
        """Installed name → why it cannot be run."""
        self._aliases: dict[str, str] = {}
        """Installed name → the other name under which the same model is run."""

    def expand(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        self._take_plain_names()
        expanded: list[str] = []
        for name, reference in zip(self._names, self._references, strict=True):
            expanded += self._models_of(reference) if _is_pattern(reference) else [name]
        left_out = [f"{name}: {reason}" for name, reason in self._refused.items()]
        left_out += [f"{name}: another name of {other}" for name, other in self._aliases.items()]
        return tuple(expanded), tuple(left_out)

    def _take_plain_names(self) -> None:
        """Let what is named outright stand where it was named; no pattern brings it again."""
        for reference in self._references:
            model = self._installed.get(canonical_name(reference.name))
            if reference.provider == "ollama" and not _is_pattern(reference) and model is not None:
                description, _ = self._look_up(model)
                if description is not None:
                    self._taken.setdefault(description.digest, reference.text)

    def _models_of(self, pattern: ModelReference) -> list[str]:
        matching = [
            model for model in self._installed.values() if _matches(pattern.name, model.name)
        ]
        if not matching:
            if not self._installed:
                raise UserMistakeError(
                    f"--models {pattern}: no model is installed; fetch one, for instance with: "
                    f"ollama pull qwen2.5:0.5b"
                )
            known = [model.text for model in self._installed.values()]
            raise UnknownNameError("installed model", pattern.text, known)
        chosen = [text for model in matching for text in self._take(model)]
        refused = [model.name for model in matching if model.name in self._refused]
        if len(refused) == len(matching):
            raise PreflightError(
                f"--models {pattern}: no installed model that it means can be run",
                [f"{name}: {self._refused[name]}" for name in refused],
            )
        return chosen

    def _take(self, model: ModelReference) -> list[str]:
        """Return the model's name, or nothing where it is left out or already there."""
        description, reason = self._look_up(model)
        if description is None:
            self._refused[model.name] = reason
            return []
        text = self._parse(f"ollama/{model.name}").text
        if description.digest not in self._taken:
            self._taken[description.digest] = text
            return [text]
        taken = self._taken[description.digest]
        if canonical_name(self._parse(taken).name) != canonical_name(model.name):
            self._aliases[model.name] = taken
        return []

    def _look_up(self, model: ModelReference) -> tuple[ModelDescription | None, str]:
        """Return what the model is where the cap admits it, else why it does not."""
        try:
            description = self._describe(model)
        except ProviderUnreachableError as error:
            raise PreflightError("the installed models cannot be looked up", [str(error)]) from None
        except ProviderError as error:
            return None, str(error).removeprefix(f"{model.name}: ")
        problem = over_cap(description, self._cap_billions)
        if problem is not None:
            return None, problem.removeprefix(f"{model.text}: ")
        return description, ""
