from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_MODELS = ("--models", "qwen2.5:0.5b,llama3.2:1b", "--prompts", "v1", "--scenarios", "zoe-m*")
"""Two models of two cells each."""


def test_by_default_each_response_unloads(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *TWO_MODELS)
    assert outcome.code == 0, outcome.text
    assert {request["keep_alive"] for request in ollama.completions()} == {0}
    assert sorted(ollama.loads().values()) == [2, 2]
    assert ollama.resident() == []
    assert {run.residency for run in either_way.runs()} == {"call"}
    assert ollama.max_resident_together() == 1


def test_per_model_loads_once_and_the_last_cell_unloads(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *TWO_MODELS, "--residency", "model")
    assert outcome.code == 0, outcome.text
    assert {request["keep_alive"] for request in ollama.completions()} == {"30s"}
    assert sorted(ollama.loads().values()) == [1, 1]
    assert ollama.resident() == []
    assert ollama.max_resident_together() == 1
    assert {run.residency for run in either_way.runs()} == {"model"}
    assert "models resident together: 1" in outcome.text
    assert "residency: model" in outcome.text


@pytest.mark.parametrize("models", ["qwen2.5:0.5b", "qwen2.5:0.5b,llama3.2:1b"])
def test_other_tests_between_a_models_cells_cost_no_load(
    either_way: Project, ollama: OllamaDouble, models: str
) -> None:
    either_way.write(
        "evals/test_between.py",
        "def test_one(tip_run): pass\n\n\ndef test_plain(): pass\n\n\n"
        "def test_two(tip_run): pass\n\n\ndef test_last(): pass\n",
    )
    outcome = either_way.run(
        *("evals/test_between.py", *ONE_CELL, "--models", models, "--residency", "model"),
    )
    assert outcome.code == 0, outcome.text
    count = len(models.split(","))
    assert f"{2 * count + 2} passed" in outcome.counts
    assert sorted(ollama.loads().values()) == [1] * count
    assert f"loads: {count};" in outcome.text
    assert ollama.resident() == []
    assert ollama.max_resident_together() == 1


def test_the_evidence_is_recorded(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.generate_seconds = 0.5  # resident for long enough to be seen
    outcome = ollama_project.run("evals", *ONE_CELL)
    (run,) = ollama_project.runs()
    assert run.completion is not None
    assert run.completion.resident_bytes
    assert run.completion.resident_vram_bytes is not None
    assert run.model is not None
    assert run.model.digest
    assert run.model.quantization == "Q4_K_M"
    assert run.model.server_version == "0.33.0"
    gibibytes = run.completion.resident_bytes / 2**30
    assert f"{gibibytes:.2f} GiB" in outcome.text


def test_a_failing_item_and_x_unload_all_the_same(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    outcome = ollama_project.run("evals", *TWO_MODELS, "--residency", "model", "-x")
    assert outcome.code == 1
    assert len(ollama.completions()) == 1
    assert ollama.resident() == []


def test_another_word_is_a_mistake(ollama_project: Project) -> None:
    ollama_project.run("evals", "--residency", "always").assert_mistake(
        "--residency", "expected call or model", "always"
    )
