"""Owns the provider protocol; imports records and errors only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.records import (
        Completion,
        CompletionRequest,
        ModelDescription,
        ModelReference,
        ResidentModel,
    )


class Provider(Protocol):
    """Describes models, completes prompts and gives memory back.

    A provider is made by the registry, lives for one session in one process, and is closed at its
    end. All methods raise :class:`~pytest_tipbench.errors.ProviderError` or one of its children,
    never a third party's exception.
    """

    name: str
    """The prefix of its model references, e.g. ``ollama``."""

    def describe(self, model: ModelReference) -> ModelDescription:
        """Say what the model is, without loading its weights.

        Raises:
            ModelMissingError: not installed here; carries the command that mends it.
            UnsizableModelError: a local model whose exact parameter count cannot be known.
            ProviderUnreachableError: nothing answers.
        """
        ...

    def complete(self, request: CompletionRequest) -> Completion:
        """Complete one prompt within ``request.timeout_seconds``.

        Raises:
            CompletionTimeoutError: the total deadline has passed.
            ProviderError: anything else that is the machine's fault.
        """
        ...

    def release(self, model: ModelDescription) -> None:
        """Ask for the model's weights to be unloaded; does nothing when they are not loaded."""
        ...

    def close(self) -> None:
        """Release everything, connections and child processes included; may be called twice."""
        ...


@runtime_checkable
class ListsResidentModels(Protocol):
    """A provider on a server that can say which models are in memory right now."""

    def resident_models(self) -> Sequence[ResidentModel]:
        """Return what is resident, whoever loaded it.

        Raises:
            ProviderError: the server did not say; worth asking again.
        """
        ...

    def unload(self, name: str) -> None:
        """Ask the server to unload the model of that name, whoever loaded it."""
        ...


@runtime_checkable
class ListsInstalledModels(Protocol):
    """A provider that can say which models are installed."""

    def installed_models(self) -> Sequence[ModelReference]:
        """Return the installed models, in the provider's order."""
        ...


@runtime_checkable
class PullsModels(Protocol):
    """A provider that can fetch a model that is not installed."""

    def pull(self, name: str, on_progress: Callable[[str, int | None, int | None], None]) -> None:
        """Fetch a model; ``on_progress`` is told a status and the bytes done and in all.

        Raises:
            ProviderError: it could not be fetched.
        """
        ...
