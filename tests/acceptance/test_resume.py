from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_CELLS = ("--prompts", "v1", "--scenarios", "zoe-m*")


def test_finished_cells_are_not_generated_again(either_way: Project, ollama: OllamaDouble) -> None:
    either_way.run("evals", *TWO_CELLS, "-k", "morning")
    assert len(ollama.completions()) == 1
    outcome = either_way.run("evals", *TWO_CELLS, "--resume")
    assert outcome.code == 0, outcome.text
    assert "2 passed" in outcome.counts
    assert len(ollama.completions()) == 2
    assert "0/2" in outcome.text
    scenarios = [run.cell.scenario for run in either_way.runs()]
    assert sorted(set(scenarios)) == ["zoe-midday-day-off", "zoe-morning-after-nights"]


def test_the_item_ends_as_it_did(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("say", text='{"tips": []}')
    assert ollama_project.run("evals", *ONE_CELL).code == 1
    outcome = ollama_project.run("evals", *ONE_CELL, "--resume")
    assert outcome.code == 1
    assert "1 failed" in outcome.counts
    assert "malformed" in outcome.text
    assert len(ollama.completions()) == 1


def test_machine_faults_run_again(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("out_of_memory")
    assert ollama_project.run("evals", *ONE_CELL).code == 1
    assert [run.outcome.value for run in ollama_project.runs()] == ["provider_error"]
    outcome = ollama_project.run("evals", *ONE_CELL, "--resume")
    assert outcome.code == 0, outcome.text
    assert "0/1" in outcome.text


def test_everything_finished_before_asks_the_model_nothing(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    outcome = ollama_project.run("evals", *ONE_CELL, "--resume")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1
    assert sum(ollama.loads().values()) == 1


def test_what_changed_is_generated(ollama_project: Project, ollama: OllamaDouble) -> None:
    """Cells are matched by what went into them, never by position or name alone."""
    ollama_project.run("evals", *ONE_CELL)
    ollama_project.run("evals", *ONE_CELL, "--resume", "--seed", "1")
    ollama_project.run("evals", *ONE_CELL, "--resume", "--temperature", "0")
    ollama_project.edit("evals/scenarios.toml", 'name = "Maya Okafor"', 'name = "Maja Okafor"')
    ollama_project.run("evals", *ONE_CELL, "--resume")
    assert len(ollama.completions()) == 4


def test_another_experiment_has_runs_of_its_own(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    ollama_project.run("evals", *ONE_CELL, "--resume", "--experiment", "other")
    assert len(ollama.completions()) == 2


def test_it_is_said_which_cells_came_from_the_store(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL)
    outcome = ollama_project.run("evals", *ONE_CELL, "--resume", "-v")
    assert "store" in outcome.text or "resumed" in outcome.text
