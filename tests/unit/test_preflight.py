from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import (
    LockTimeoutError,
    ModelMissingError,
    PreflightError,
    ProviderUnreachableError,
    SourceFileError,
    UnsizableModelError,
    UserMistakeError,
)
from pytest_tipbench.preflight import admit_cells
from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.records import ModelDescription, PromptVersion
from pytest_tipbench.safety import emptiness
from pytest_tipbench.safety.serial import MEMORY, MemoryLocks
from tests.ollama_double import OllamaDouble
from tests.unit.bench_samples import FakeProvider
from tests.unit.machine_samples import Machine, machine
from tests.unit.test_bench import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_tipbench.bench import Bench
    from pytest_tipbench.records import ModelReference

    Make = Callable[..., Bench]

__all__ = ["machine", "make"]


def describing(**facts: Any) -> Callable[[ModelReference], ModelDescription]:
    def describe(model: ModelReference) -> ModelDescription:
        given: dict[str, Any] = {"digest": f"digest of {model.text}", "local": True}
        return ModelDescription(reference=model, **(given | facts))

    return describe


def refusing(errors: dict[str, Exception]) -> Callable[[ModelReference], ModelDescription]:
    def describe(model: ModelReference) -> ModelDescription:
        if model.text in errors:
            raise errors[model.text]
        return describing(parameter_count=1)(model)

    return describe


def admit(bench: Bench) -> MemoryLocks:
    return admit_cells(bench, bench.cells, lambda _line: None)


def is_free(tmp_path: Path) -> bool:
    """Say whether another session could take this machine's memory."""
    locks = MemoryLocks(
        [MEMORY],
        "session",
        folder=tmp_path / "runtime",
        timeout_seconds=0,
        on_wait=lambda _line: None,
    )
    try:
        locks.acquire()
    except LockTimeoutError:
        return False
    locks.release()
    return True


def test_admitted_models_are_described_and_the_memory_is_held(make: Make, tmp_path: Path) -> None:
    bench = make(models=("fake/a", "fake/b"), n_tips=2)
    locks = admit(bench)
    assert set(bench.descriptions) == {"fake/a", "fake/b"}
    assert not is_free(tmp_path)
    locks.release()
    assert is_free(tmp_path)


def test_hosted_models_need_no_memory(make: Make, tmp_path: Path) -> None:
    provider = FakeProvider(describe=describing(local=False, parameter_count=None))
    locks = admit(make(provider))
    assert is_free(tmp_path)
    locks.release()


@pytest.mark.parametrize(
    ("count", "cap", "passes"),
    [
        (4_022_468_096, 4.0, True),  # qwen3:4b: 4.02 is 4.0 to one decimal
        (4_299_915_632, 4.0, False),  # gemma3:4b: 4.3
        (4_299_915_632, 4.3, True),
        (None, 4.0, False),
    ],
)
def test_the_cap_is_held_to_one_decimal(
    make: Make, count: int | None, cap: float, passes: bool
) -> None:
    provider = FakeProvider(describe=describing(parameter_count=count))
    bench = make(provider, max_model_b=cap)
    if passes:
        admit(bench).release()
        return
    with pytest.raises(PreflightError, match="fake/small"):
        admit(bench)


def test_everything_that_is_wrong_is_told_in_one_message(make: Make, tmp_path: Path) -> None:
    provider = FakeProvider(
        describe=refusing(
            {
                "fake/missing": ModelMissingError("not installed", remedy="ollama pull missing"),
                "fake/odd": UnsizableModelError("safetensors: no exact count"),
                "fake/silent": ProviderUnreachableError("nothing answers at 127.0.0.1"),
                "fake/broken": ValueError("a package's own fault"),
            }
        )
    )
    # What a silent server would be asked for next is not known, so it comes last.
    names = ("missing", "odd", "broken", "fine", "silent")
    bench = make(provider, models=tuple(f"fake/{name}" for name in names))
    with pytest.raises(PreflightError) as error:
        admit(bench)
    for name in ("missing", "odd", "broken", "silent"):
        assert f"fake/{name}" in str(error.value)
    assert "ollama pull missing" in str(error.value)
    assert "fake/fine" not in str(error.value)
    assert provider.requests == []
    assert is_free(tmp_path)


def test_a_prompt_that_fails_on_one_scenario_is_told_before_any_cell(make: Make) -> None:
    broken = PromptVersion(
        version="v9", description="", system="", template="{{ scenario.no_such_thing }}"
    )
    provider = FakeProvider()
    with pytest.raises(SourceFileError, match="v9"):
        admit(make(provider, further_prompts=[broken]))
    assert provider.described == []


def test_a_memory_that_another_session_holds_is_waited_for_and_then_told(
    make: Make, tmp_path: Path
) -> None:
    said: list[str] = []
    other = MemoryLocks(
        [MEMORY],
        "session",
        folder=tmp_path / "runtime",
        timeout_seconds=0,
        on_wait=lambda _line: None,
    )
    bench = make(lock_timeout=0.6)
    with other.held(), pytest.raises(LockTimeoutError, match="--lock-timeout"):
        admit_cells(bench, bench.cells, said.append)
    assert len(said) == 1
    assert "pid" in said[0]


def test_only_models_of_selected_cells_are_asked_for(make: Make) -> None:
    provider = FakeProvider()
    bench = make(provider, models=("fake/a", "fake/b"))
    admit_cells(bench, bench.cells[:1], lambda _line: None).release()
    assert provider.described == ["fake/a"]


# --- Ollama beside llama.cpp ----------------------------------------------------------------------


@pytest.fixture
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def test_a_model_of_others_beside_a_child_is_waited_for(
    make: Make, ollama: OllamaDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(emptiness, "GIVE_UP_AFTER_SECONDS", 0.3)
    ollama.load_foreign("gemma3:4b")
    with pytest.raises(UserMistakeError, match=r"gemma3:4b is still resident .* --evict"):
        admit(make(ollama_host=(ollama.url,)))
    assert ollama.resident() == ["gemma3:4b"]
    assert is_free(tmp_path)


def test_a_model_of_others_beside_a_child_is_evicted_where_that_is_wanted(
    make: Make, ollama: OllamaDouble
) -> None:
    ollama.load_foreign("gemma3:4b")
    bench = make(ollama_host=(ollama.url,), evict=True)
    admit(bench).release()
    assert ollama.resident() == []
    assert bench.evidence.foreign == ["gemma3:4b"]


def test_ollama_is_asked_once_and_not_again_between_children(
    make: Make, ollama: OllamaDouble
) -> None:
    bench = make(ollama_host=(ollama.url,), models=("fake/a", "fake/b"), n_tips=2)
    locks = admit(bench)
    asked = len(ollama.requests)
    ollama.close()
    assert [bench.runner.run(cell).outcome for cell in bench.cells] == ["ok"] * 2
    assert bench.settle() == []
    locks.release()
    assert [each["path"] for each in ollama.requests[:asked]] == ["/api/version", "/api/ps"]
    assert len(ollama.requests) == asked


def test_every_server_of_this_machine_is_looked_at(make: Make, ollama: OllamaDouble) -> None:
    with OllamaDouble() as other:
        other.load_foreign("gemma3:4b")
        admit(make(ollama_host=(ollama.url, other.url), evict=True)).release()
        assert other.resident() == []
    assert [each["path"] for each in ollama.requests] == ["/api/version", "/api/ps"]


def test_without_a_server_nothing_is_said_and_nothing_waited_for(make: Make) -> None:
    bench = make()
    said: list[str] = []
    started = time.monotonic()
    admit_cells(bench, bench.cells, said.append).release()
    assert time.monotonic() - started < 2
    assert said == []
    assert bench.evidence.foreign == []


def test_servers_of_other_machines_are_no_neighbours(
    make: Make, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OllamaProvider, "answers", None)
    admit(make(ollama_host=("gpu.example",))).release()
    assert machine.looked_up == ["gpu.example"]


def test_hosted_models_have_no_neighbours(make: Make, ollama: OllamaDouble) -> None:
    provider = FakeProvider(describe=describing(local=False, parameter_count=None))
    admit(make(provider, ollama_host=(ollama.url,))).release()
    assert ollama.requests == []
