from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def test_a_model_over_the_cap_runs_nothing(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--max-model-b", "0.4")
    outcome.assert_mistake("qwen2.5:0.5b", "494,032,768 parameters", "over the cap of 0.4B")
    assert ollama.completions() == []


def test_the_count_is_rounded_to_a_decimal_as_ollama_prints_it(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """4,022,468,096 parameters are 4.0 billions: within the default cap of 4."""
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "qwen3:4b")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1


def test_a_higher_cap_is_a_choice_in_plain_sight(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "gemma3:4b", "--max-model-b", "5")
    assert outcome.code == 0, outcome.text
    assert "cap: 5B parameters" in outcome.text
    assert len(ollama.completions()) == 1


def test_a_projector_counts(ollama_project: Project, ollama: OllamaDouble) -> None:
    """3.9 and 0.3 billions are 4.2."""
    ollama.install("tiny-vision:latest")
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "tiny-vision")
    outcome.assert_mistake("tiny-vision", "4.2B")


def test_what_cannot_be_sized_is_refused_by_name_all_in_one_message(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    for name in ("shards:latest", "label-only:latest", "pocket-writer:latest"):
        ollama.install(name)
    names = ("shards", "label-only", "pocket-writer", "gpt-oss:20b-cloud")
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", ",".join(names), "--max-model-b", "1000"
    )
    outcome.assert_mistake(*names, "safetensors")
    assert ollama.completions() == []
    assert not any(event.kind == "cloud" for event in ollama.events)


def test_only_models_of_selected_cells_are_held_against_the_cap(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", "qwen2.5:0.5b,gemma3:4b", "-k", "not gemma3"
    )
    assert outcome.code == 0, outcome.text


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "4B"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--max-model-b", value).assert_mistake("--max-model-b", value)
