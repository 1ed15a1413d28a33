"""Models, servers and clocks for the tests of the memory promise."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pytest_tipbench.records import ModelDescription, ModelReference, ResidentModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.errors import ProviderError
    from pytest_tipbench.records import Completion, CompletionRequest


def reference(text: str, provider: str = "ollama") -> ModelReference:
    return ModelReference(text=text, provider=provider, name=text.removeprefix(f"{provider}/"))


def description(
    text: str,
    parameter_count: int | None = 494_032_768,
    *,
    provider: str = "ollama",
    digest: str | None = None,
    local: bool = True,
) -> ModelDescription:
    return ModelDescription(
        reference=reference(text, provider),
        digest=f"digest of {text}" if digest is None else digest,
        parameter_count=parameter_count,
        local=local,
    )


def resident(model: ModelDescription, name: str | None = None) -> ResidentModel:
    return ResidentModel(
        name=name or model.reference.name,
        digest=model.digest,
        resident_bytes=1_000_000_000,
        resident_vram_bytes=0,
    )


class Clock:
    """Monotonic time that passes only by sleeping; ``at`` lets something happen later."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []
        self._due: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        for due in [each for each in self._due if each[0] <= self.now]:
            self._due.remove(due)
            due[1]()

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        self._due.append((self.now + seconds, happen))


class Weights:
    """A provider with a server whose memory a test fills and empties by hand."""

    name = "ollama"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.memory: list[ResidentModel] = []
        self.unload_obeyed = True
        self.problems: deque[ProviderError] = deque()
        """What the next looks are answered with."""
        self.look_seconds = 0.0
        self.asked: list[str] = []
        self.asked_at: list[float] = []
        self.release_problem: ProviderError | None = None

    def resident_models(self) -> Sequence[ResidentModel]:
        self.clock.now += self.look_seconds
        if self.problems:
            raise self.problems.popleft()
        return tuple(self.memory)

    def unload(self, name: str) -> None:
        self.asked.append(name)
        self.asked_at.append(self.clock.now)
        if self.unload_obeyed:
            self.memory = [model for model in self.memory if model.name != name]

    def release(self, model: ModelDescription) -> None:
        if self.release_problem is not None:
            raise self.release_problem
        self.unload(model.reference.name)

    def describe(self, model: ModelReference) -> ModelDescription:
        return description(model.text)

    def complete(self, request: CompletionRequest) -> Completion:
        raise AssertionError("the guard completes nothing")

    def close(self) -> None:
        pass


class Child:
    """A provider without a server to ask, such as llama.cpp: released is gone."""

    name = "llamacpp"

    def __init__(self) -> None:
        self.released: list[str] = []
        self.release_problem: Exception | None = None

    def release(self, model: ModelDescription) -> None:
        if self.release_problem is not None:
            raise self.release_problem
        self.released.append(model.digest)

    def describe(self, model: ModelReference) -> ModelDescription:
        return description(model.text, provider="llamacpp")

    def complete(self, request: CompletionRequest) -> Completion:
        raise AssertionError("the guard completes nothing")

    def close(self) -> None:
        pass
