"""Owns the cap on model size; imports no pytest, no httpx and no provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.errors import (
    ModelMissingError,
    PreflightError,
    ProviderUnreachableError,
    TipbenchError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_tipbench.records import ModelDescription, ModelReference

    Describe = Callable[[ModelReference], ModelDescription]


def rounded_billions(parameter_count: int) -> float:
    """Return the count in billions, rounded to one decimal as Ollama prints it (``%.1fB``)."""
    return float(f"{parameter_count / 1e9:.1f}")


def over_cap(model: ModelDescription, cap_billions: float) -> str | None:
    """Return why the model is over the cap, or cannot be held against it; None where it passes.

    Only models that put weights into this machine's memory have a cap.
    """
    if not model.local:
        return None
    count = model.parameter_count
    if count is None:
        return f"{model.reference}: its exact number of parameters is not known"
    if rounded_billions(count) <= cap_billions:
        return None
    return (
        f"{model.reference}: {rounded_billions(count):.1f}B ({count:,} parameters) is over the cap "
        f"of {cap_billions:g}B (--max-model-b)"
    )


def admit(
    models: Sequence[ModelReference],
    describe: Describe,
    cap_billions: float,
    *,
    pulled: Collection[ModelReference] = (),
) -> tuple[ModelDescription, ...]:
    """Describe every model, without loading any, and hold it against the cap.

    Args:
        models: the references, each once.
        describe: asks the model's provider.
        cap_billions: the cap, in billions of parameters.
        pulled: those that were fetched a moment ago; one that is refused is said to be on disk.

    Raises:
        PreflightError: at least one is over the cap, missing, cannot be sized or cannot be asked
            for, or two names are one model; all of it is in the message, each with its reason and
            its remedy.
    """
    admitted = admit_on_hosts(models, {0: describe}, cap_billions, pulled=pulled)
    return tuple(by_host[0] for by_host in admitted.values())


def admit_on_hosts(
    models: Sequence[ModelReference],
    describe_on: Mapping[int, Describe],
    cap_billions: float,
    *,
    pulled: Collection[ModelReference] = (),
) -> dict[str, dict[int, ModelDescription]]:
    """As :func:`admit`, over several Ollama hosts: each model has to be admitted on one of them.

    Args:
        models: the references, each once.
        describe_on: index of the host → asks the model's provider there. Models of other providers
            are asked for at the first one alone.
        cap_billions: the cap, in billions of parameters.
        pulled: those that were fetched a moment ago.

    Returns:
        Reference's text → index of each host that may run the model → what it is there.

    Raises:
        PreflightError: as :func:`admit`; also where any of the hosts does not answer.
    """
    examination = _Examination(cap_billions, pulled)
    admitted: dict[str, dict[int, ModelDescription]] = {}
    for reference in models:
        hosts = list(describe_on) if reference.provider == "ollama" else list(describe_on)[:1]
        by_host = {}
        refusals: dict[str, None] = {}
        for host in hosts:
            description, refusal = examination.examine(reference, host, describe_on[host])
            if description is not None:
                by_host[host] = description
            elif refusal is not None:
                refusals[refusal] = None
        if by_host:
            admitted[reference.text] = by_host
            examination.refuse_twin(by_host)
        else:
            examination.refuse(reference, refusals)
    examination.conclude()
    return admitted


class _Examination:
    """Collects what is wrong with the models, so that it is all told at once."""

    def __init__(self, cap_billions: float, pulled: Collection[ModelReference]) -> None:
        self._cap_billions = cap_billions
        self._pulled = pulled
        self._refused: dict[str, None] = {}
        self._problems: list[str] = []
        self._silent: dict[tuple[int, str], str] = {}
        """Servers that do not answer, and how that reads."""
        self._needed_by: dict[str, list[str]] = {}
        self._named: dict[tuple[int, str, str], ModelDescription] = {}

    def examine(
        self, reference: ModelReference, host: int, describe: Describe
    ) -> tuple[ModelDescription | None, str | None]:
        """Return the description, or the reason for which the model is refused there.

        Neither comes from a server that does not answer: that is said once, not for each model.
        """
        server = (host, reference.provider)
        if server not in self._silent:
            try:
                description = describe(reference)
            except ProviderUnreachableError as error:
                self._silent[server] = str(error)
            except ModelMissingError as error:
                remedy = f"; mend it with: {error.remedy}" if error.remedy else ""
                return None, _said_of(reference, f"{error}{remedy}")
            except TipbenchError as error:
                return None, _said_of(reference, str(error))
            except Exception as error:  # noqa: BLE001 - a provider from elsewhere may raise anything
                return None, f"{reference}: {type(error).__name__}: {error}"
            else:
                problem = over_cap(description, self._cap_billions)
                return (description, None) if problem is None else (None, problem)
        needed_by = self._needed_by.setdefault(self._silent[server], [])
        if reference.text not in needed_by:
            needed_by.append(reference.text)
        return None, None

    def refuse(self, reference: ModelReference, refusals: Collection[str]) -> None:
        on_disk = ""
        if refusals and reference in self._pulled:
            on_disk = f"; it was pulled and is on disk, remove it with: ollama rm {reference.name}"
        self._problems += [f"{refusal}{on_disk}" for refusal in refusals]
        self._refused[reference.text] = None

    def refuse_twin(self, by_host: Mapping[int, ModelDescription]) -> None:
        """Refuse a second name of the same weights: their cells would be the same cells."""
        for host, model in by_host.items():
            key = (host, model.reference.provider, model.digest)
            twin = self._named.setdefault(key, model)
            if model.local and model.digest and twin is not model:
                self._problems.append(
                    f"{model.reference}: the same model as {twin.reference} "
                    f"(digest {model.digest[:12]}): name it once"
                )
                self._refused[model.reference.text] = None
                return

    def conclude(self) -> None:
        for message, needed_by in self._needed_by.items():
            self._problems.append(f"{message} (needed by {', '.join(needed_by)})")
            self._refused.update(dict.fromkeys(needed_by))
        if self._problems:
            count = len(self._refused)
            raise PreflightError(
                f"{count} model{'s' if count != 1 else ''} cannot be run; no item was run",
                self._problems,
            )


def _said_of(reference: ModelReference, reason: str) -> str:
    """Return the reason with the model's name before it, where the provider put it there or not."""
    has_name = reason.startswith(
        tuple(f"{name}{end}" for name in (reference.text, reference.name) for end in (":", " "))
    )
    return reason if has_name else f"{reference}: {reason}"
