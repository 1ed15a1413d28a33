from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL
from tests.acceptance.sessions import ours_together, started, until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

SAID = "unloading gemma3:4b, not loaded by this session"


def test_at_the_start_it_unloads_and_says_so(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.memory.unload_seconds = 0.1
    ollama.load_foreign("gemma3:4b")
    outcome = either_way.run("evals", *ONE_CELL, "--evict")
    assert outcome.code == 0, outcome.text
    assert SAID in outcome.text
    assert "loaded by others: gemma3:4b" in outcome.text
    assert ollama.max_resident_together() == 1
    assert ollama.resident() == []


def test_later_it_unloads_before_the_next_model(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.memory.unload_seconds = 0.1
    ollama.fail("delay", seconds=2.0)
    with started(
        either_way, "evals", "--models", "qwen2.5:0.5b,llama3.2:1b", *ONE_CELL, "--evict"
    ) as session:
        until(ollama.completions)
        ollama.load_foreign("gemma3:4b")
        outcome = session.ended()
    assert outcome.code == 0, outcome.text
    assert SAID in outcome.text
    first, second = either_way.runs()
    assert first.completion is not None
    assert first.completion.foreign_models == ("gemma3:4b",)
    assert second.completion is not None
    assert second.completion.foreign_models == ()
    assert ours_together(ollama.events) == 1
    assert ollama.resident() == []


def test_with_nothing_to_unload_nothing_is_said(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--evict")
    assert outcome.code == 0, outcome.text
    assert "not loaded by this session" not in outcome.text
    assert "loaded by others" not in outcome.text
