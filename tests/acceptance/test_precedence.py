"""Command line, then environment, then ini, then default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

NAMED = {"MLFLOW_EXPERIMENT_NAME": "of-environment"}


@pytest.mark.parametrize(
    ("arguments", "environment", "ini", "expected"),
    [
        (("--experiment", "of-line"), NAMED, {"tipbench_experiment": "of-ini"}, "of-line"),
        ((), NAMED, {"tipbench_experiment": "of-ini"}, "of-environment"),
        ((), {"MLFLOW_EXPERIMENT_NAME": " "}, {"tipbench_experiment": "of-ini"}, "of-ini"),
        ((), {}, {"tipbench_experiment": "of-ini"}, "of-ini"),
        ((), {}, {}, "tip-bench"),
    ],
)
def test_experiment(
    either_way: Project,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    ini: dict[str, str],
    expected: str,
) -> None:
    either_way.write_configuration(**ini)
    outcome = either_way.run("evals", *ONE_CELL, *arguments, environment=environment)
    assert outcome.code == 0, outcome.text
    assert len(either_way.runs(expected)) == 1


@pytest.mark.parametrize(("arguments", "expected"), [(("--seed", "1"), 1), ((), 2)])
def test_the_line_comes_before_the_ini(
    ollama_project: Project, arguments: tuple[str, ...], expected: int
) -> None:
    ollama_project.write_configuration(tipbench_seed="2", tipbench_temperature="0.25")
    ollama_project.run("evals", *ONE_CELL, *arguments)
    (run,) = ollama_project.runs()
    assert run.seed == expected
    assert run.sampling.temperature == 0.25


def test_models_on_the_line_take_the_inis_place(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL, "--models", "llama3.2:1b")
    assert [run.cell.model.text for run in ollama_project.runs()] == ["llama3.2:1b"]


def test_the_ollama_host_of_the_ini_comes_after_the_environments(
    project: Project, ollama: OllamaDouble
) -> None:
    project.write_configuration(tipbench_models="qwen2.5:0.5b", tipbench_ollama_host=NOBODY)
    project.environment["OLLAMA_HOST"] = ollama.url
    assert project.run("evals", *ONE_CELL).code == 0
    project.write_configuration(tipbench_ollama_host=ollama.url)
    project.environment["OLLAMA_HOST"] = ""
    assert project.run("evals", *ONE_CELL).code == 0
    outcome = project.run("evals", *ONE_CELL, "--ollama-host", NOBODY)
    outcome.assert_mistake(NOBODY)
    assert len(ollama.completions()) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tipbench_seed", "-1"),
        ("tipbench_n_tips", "0"),
        ("tipbench_temperature", "warm"),
        ("tipbench_residency", "always"),
        ("tipbench_gate_pending", "wait"),
        ("tipbench_max_model_b", "0"),
    ],
)
def test_a_mistake_in_the_ini_names_the_file_and_the_key(
    ollama_project: Project, name: str, value: str
) -> None:
    ollama_project.write_configuration(**{name: value})
    ollama_project.run("evals").assert_mistake(name, value)


def test_what_acts_once_has_no_ini_twin(ollama_project: Project) -> None:
    """An unknown key is pytest's to complain of."""
    ollama_project.write_configuration(tipbench_judge_export="s.json")
    outcome = ollama_project.run("evals", *ONE_CELL, "--strict-config")
    assert outcome.code == 4
    assert "tipbench_judge_export" in outcome.text


def test_addopts_count_like_the_command_line(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, environment={"PYTEST_ADDOPTS": "--seed 5 --n-tips 1"}
    )
    assert outcome.code == 0, outcome.text
    (run,) = ollama_project.runs()
    assert (run.seed, run.n_tips) == (5, 1)


def test_o_overrides_the_ini(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "-o", "tipbench_seed=6")
    assert outcome.code == 0, outcome.text
    assert ollama_project.runs()[0].seed == 6
