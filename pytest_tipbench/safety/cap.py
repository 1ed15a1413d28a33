"""Owns the cap on model size; imports no pytest, no httpx and no provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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
    CountParameters = Callable[[ModelReference], int | None]

Told = TypeVar("Told")


def rounded_billions(parameter_count: int) -> float:
    """Return the count in billions, rounded to one decimal as Ollama prints it (``%.1fB``)."""
    return float(f"{parameter_count / 1e9:.1f}")


def over_cap(model: ModelDescription, cap_billions: float) -> str | None:
    """Return why the model is over the cap, or cannot be held against it; None where it passes.

    Only models that put weights into this machine's memory have a cap.
    """
    if not model.local:
        return None
    if model.parameter_count is None:
        return f"{model.reference}: its exact number of parameters is not known"
    return _count_over_cap(model.reference, model.parameter_count, cap_billions)


def _count_over_cap(reference: ModelReference, count: int, cap_billions: float) -> str | None:
    if rounded_billions(count) <= cap_billions:
        return None
    return (
        f"{reference}: {rounded_billions(count):.1f}B ({count:,} parameters) is over the cap "
        f"of {cap_billions:g}B (--max-model-b)"
    )


def no_count(_model: ModelReference) -> None:
    """Count nothing before a model is described."""


def admit(
    models: Sequence[ModelReference],
    describe: Describe,
    cap_billions: float,
    *,
    count: CountParameters = no_count,
    pulled: Collection[ModelReference] = (),
) -> tuple[ModelDescription, ...]:
    """Describe every model, without loading any, and hold it against the cap.

    Args:
        models: the references, each once.
        describe: asks the model's provider.
        cap_billions: the cap, in billions of parameters.
        count: returns a local model's parameters where they are known long before all that
            ``describe`` says (it reads gigabytes for a digest), else None. Such models are
            described last, and only if nothing was refused by then.
        pulled: those that were fetched a moment ago; one that is refused is said to be on disk.

    Raises:
        PreflightError: at least one is over the cap, missing, cannot be sized or cannot be asked
            for, or two names are one model; all of it is in the message, each with its reason and
            its remedy.
    """
    admitted = admit_on_hosts(models, {0: describe}, cap_billions, count=count, pulled=pulled)
    return tuple(by_host[0] for by_host in admitted.values())


def admit_on_hosts(
    models: Sequence[ModelReference],
    describe_on: Mapping[int, Describe],
    cap_billions: float,
    *,
    count: CountParameters = no_count,
    pulled: Collection[ModelReference] = (),
) -> dict[str, dict[int, ModelDescription]]:
    """As :func:`admit`, over several Ollama hosts: each model has to be admitted on one of them.

    Args:
        models: the references, each once.
        describe_on: index of the host → asks the model's provider there. Models of other providers
            are asked for at the first one alone.
        cap_billions: the cap, in billions of parameters.
        count: as for :func:`admit`; models on Ollama hosts are not asked for.
        pulled: those that were fetched a moment ago.

    Returns:
        Reference's text → index of each host that may run the model → what it is there.

    Raises:
        PreflightError: as :func:`admit`; also where any of the hosts does not answer.
    """
    examination = _Examination(models, cap_billions, pulled)
    counted = [
        reference
        for reference in models
        if reference.provider != "ollama" and examination.examine_count(reference, count)
    ]
    admitted: dict[str, dict[int, ModelDescription]] = {}
    for reference in models:
        if reference not in counted:
            admitted |= examination.admit(reference, describe_on)
    for reference in counted:
        if not examination.has_found_problems:
            admitted |= examination.admit(reference, describe_on)
    examination.conclude()
    return {reference.text: admitted[reference.text] for reference in models}


class _Examination:
    """Collects what is wrong with the models, so that it is all told at once."""

    def __init__(
        self,
        models: Sequence[ModelReference],
        cap_billions: float,
        pulled: Collection[ModelReference],
    ) -> None:
        self._cap_billions = cap_billions
        self._pulled = pulled
        self._problems: dict[str, list[str]] = {reference.text: [] for reference in models}
        """By model, in the order in which they were named; empty where there is none."""
        self._silent: dict[tuple[int, str], str] = {}
        """Servers that do not answer, and how that reads."""
        self._needed_by: dict[str, list[str]] = {}
        self._named: dict[tuple[int, str, str], ModelDescription] = {}

    @property
    def has_found_problems(self) -> bool:
        """True as soon as any model is refused."""
        return bool(self._needed_by) or any(self._problems.values())

    def examine_count(self, reference: ModelReference, count: CountParameters) -> bool:
        """Hold the count alone against the cap; False where there is none yet."""
        parameters, refusal = self._asked(reference, 0, count)
        if parameters is not None:
            refusal = _count_over_cap(reference, parameters, self._cap_billions)
        if refusal is not None:
            self._refuse(reference, [refusal])
        return parameters is not None or refusal is not None

    def admit(
        self, reference: ModelReference, describe_on: Mapping[int, Describe]
    ) -> dict[str, dict[int, ModelDescription]]:
        """Return the model as each host has it that may run it; empty where none may."""
        hosts = list(describe_on) if reference.provider == "ollama" else list(describe_on)[:1]
        by_host = {}
        refusals: dict[str, None] = {}
        for host in hosts:
            description, refusal = self._asked(reference, host, describe_on[host])
            if description is not None:
                refusal = over_cap(description, self._cap_billions)
            if refusal is not None:
                refusals[refusal] = None
            elif description is not None:
                by_host[host] = description
        if not by_host:
            self._refuse(reference, refusals)
            return {}
        self._refuse_twin(by_host)
        return {reference.text: by_host}

    def _asked(
        self, reference: ModelReference, host: int, ask: Callable[[ModelReference], Told]
    ) -> tuple[Told | None, str | None]:
        """Return what the model's provider says of it, or the reason for which it is refused.

        Neither comes from a server that does not answer: that is said once, not for each model.
        """
        server = (host, reference.provider)
        if server not in self._silent:
            try:
                return ask(reference), None
            except ProviderUnreachableError as error:
                self._silent[server] = str(error)
            except ModelMissingError as error:
                remedy = f"; mend it with: {error.remedy}" if error.remedy else ""
                return None, _said_of(reference, f"{error}{remedy}")
            except TipbenchError as error:
                return None, _said_of(reference, str(error))
            except Exception as error:  # noqa: BLE001 - a provider from elsewhere may raise anything
                return None, f"{reference}: {type(error).__name__}: {error}"
        needed_by = self._needed_by.setdefault(self._silent[server], [])
        if reference.text not in needed_by:
            needed_by.append(reference.text)
        return None, None

    def _refuse(self, reference: ModelReference, refusals: Collection[str]) -> None:
        on_disk = ""
        if refusals and reference in self._pulled:
            on_disk = f"; it was pulled and is on disk, remove it with: ollama rm {reference.name}"
        self._problems[reference.text] += [f"{refusal}{on_disk}" for refusal in refusals]

    def _refuse_twin(self, by_host: Mapping[int, ModelDescription]) -> None:
        """Refuse a second name of the same weights: their cells would be the same cells."""
        for host, model in by_host.items():
            key = (host, model.reference.provider, model.digest)
            twin = self._named.setdefault(key, model)
            if model.local and model.digest and twin is not model:
                self._problems[model.reference.text].append(
                    f"{model.reference}: the same model as {twin.reference} "
                    f"(digest {model.digest[:12]}): name it once"
                )
                return

    def conclude(self) -> None:
        """Raise what was found, if anything was."""
        problems = [problem for of_model in self._problems.values() for problem in of_model]
        refused = {name for name, of_model in self._problems.items() if of_model}
        for message, needed_by in self._needed_by.items():
            problems.append(f"{message} (needed by {', '.join(needed_by)})")
            refused.update(needed_by)
        if problems:
            count = len(refused)
            raise PreflightError(
                f"{count} model{'s' if count != 1 else ''} cannot be run; no item was run",
                problems,
            )


def _said_of(reference: ModelReference, reason: str) -> str:
    """Return the reason with the model's name before it, where the provider put it there or not."""
    has_name = reason.startswith(
        tuple(f"{name}{end}" for name in (reference.text, reference.name) for end in (":", " "))
    )
    return reason if has_name else f"{reference}: {reason}"
