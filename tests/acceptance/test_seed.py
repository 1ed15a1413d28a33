from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


@pytest.mark.parametrize(("arguments", "seed"), [((), 20260427), (("--seed", "0"), 0)])
def test_the_seed_is_sent_in_the_options_and_recorded(
    either_way: Project, ollama: OllamaDouble, arguments: tuple[str, ...], seed: int
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, *arguments)
    assert outcome.code == 0, outcome.text
    (asked,) = ollama.completions()
    assert asked["options"]["seed"] == seed
    assert "seed" not in asked  # Ollama ignores it at the top level, in silence
    assert [run.seed for run in either_way.runs()] == [seed]


def test_runs_with_another_seed_join_the_row_as_repeats(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL, "--seed", "1")
    outcome = ollama_project.run("evals", *ONE_CELL, "--seed", "2")
    first, second = ollama_project.runs()
    assert first.fingerprint != second.fingerprint
    assert first.configuration_sha256 == second.configuration_sha256
    assert "1 row, 1 scenario" in outcome.text
    assert "0/2" in outcome.text


def test_the_same_seed_takes_the_older_runs_place(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL)
    outcome = ollama_project.run("evals", *ONE_CELL)
    assert len(ollama_project.runs()) == 2
    assert "0/1" in outcome.text


@pytest.mark.parametrize("value", ["-1", "1.5", "now"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--seed", value).assert_mistake("--seed", value)
