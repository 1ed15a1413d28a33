from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def test_each_repeat_is_a_cell_with_the_next_seed(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--repeats", "3", "--seed", "10", "-v")
    assert outcome.code == 0, outcome.text
    assert [request["options"]["seed"] for request in ollama.completions()] == [10, 11, 12]
    runs = sorted(either_way.runs(), key=lambda run: run.cell.repeat)
    assert [(run.cell.repeat, run.seed) for run in runs] == [(1, 10), (2, 11), (3, 12)]
    assert len({run.fingerprint for run in runs}) == 3
    assert len({run.configuration_sha256 for run in runs}) == 1
    for repeat in (1, 2, 3):
        assert f"test_tips[qwen2.5:0.5b-v1-maya-morning-deadline-r{repeat}]" in outcome.text


def test_repeats_join_one_row_and_count_as_its_cells(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--repeats", "2", "--n-tips", "1")
    assert "1 row, 1 scenario" in outcome.text
    assert "0/2" in outcome.text


def test_a_single_repeat_leaves_no_mark_in_the_id(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--collect-only", "-q")
    assert "test_tips[qwen2.5:0.5b-v1-maya-morning-deadline]" in outcome.text


def test_a_later_run_with_repeats_joins_the_row(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL)
    outcome = ollama_project.run("evals", *ONE_CELL, "--repeats", "2")
    assert "0/2" in outcome.text  # the first seed's newest run, and the second seed's
    assert "older configuration" not in outcome.text


@pytest.mark.parametrize("value", ["0", "-2", "x"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--repeats", value).assert_mistake("--repeats", value)
