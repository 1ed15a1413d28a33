from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def test_runs_are_kept_and_shown_under_the_named_experiment(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--experiment", "mine")
    assert outcome.code == 0, outcome.text
    assert len(either_way.runs("mine")) == 1
    assert either_way.runs() == []
    assert "experiment mine" in outcome.text
    assert "mine: 1 row, 1 scenario" in outcome.text


def test_the_default_is_tip_bench(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL)
    assert [run.experiment for run in ollama_project.runs("tip-bench")] == ["tip-bench"]


def test_experiments_do_not_mix_on_the_board(generated_project: Project) -> None:
    outcome = generated_project.run("--leaderboard", "--experiment", "other")
    assert outcome.code == 0, outcome.text
    assert "the board is empty" in outcome.text


def test_an_export_takes_the_named_experiment_alone(generated_project: Project) -> None:
    outcome = generated_project.run("--judge-export", "s.json", "--experiment", "other")
    assert outcome.code == 0, outcome.text
    assert not (generated_project.root / "s.json").exists()


def test_an_empty_name_is_exit_code_4(ollama_project: Project) -> None:
    ollama_project.run("evals", "--experiment", "  ").assert_mistake("--experiment")
