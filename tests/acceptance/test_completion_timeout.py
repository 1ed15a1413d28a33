from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble
    from tests.ollama_double.faults import FaultKind

TWO_CELLS = ("--prompts", "v1", "--scenarios", "zoe-m*")


@pytest.mark.parametrize("kind", ["hang", "trickle"])
def test_a_cell_past_the_deadline_is_an_error_and_the_others_run(
    ollama_project: Project, ollama: OllamaDouble, kind: FaultKind
) -> None:
    """The deadline is a total one: a byte now and then does not extend it."""
    ollama.fail(kind)
    started = time.monotonic()
    outcome = ollama_project.run("evals", *TWO_CELLS, "--completion-timeout", "1")
    assert time.monotonic() - started < 40
    assert outcome.code == 1, outcome.text
    assert "1 passed" in outcome.counts
    assert "1 error" in outcome.counts
    late, fine = ollama_project.runs()
    assert (late.outcome, fine.outcome) == ("timeout", "ok")
    assert late.completion is None
    assert late.error
    assert ollama.resident() == []


def test_the_same_with_workers(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama_project.workers = ("-n", "2")
    ollama.fail("hang")
    outcome = ollama_project.run("evals", *TWO_CELLS, "--completion-timeout", "1")
    assert outcome.code == 1, outcome.text
    assert sorted(run.outcome.value for run in ollama_project.runs()) == ["ok", "timeout"]


def test_still_busy_at_the_deadline_is_a_timeout(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("busy", times=None)
    outcome = ollama_project.run("evals", *TWO_CELLS, "-k", "midday", "--completion-timeout", "1")
    assert outcome.code == 1, outcome.text
    assert [run.outcome.value for run in ollama_project.runs()] == ["timeout"]


def test_busy_for_a_while_is_no_fault(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("busy")
    outcome = ollama_project.run("evals", *TWO_CELLS, "-k", "midday")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 2
    assert [run.outcome.value for run in ollama_project.runs()] == ["ok"]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "1e+300"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--completion-timeout", value).assert_mistake(
        "--completion-timeout", value
    )
    ollama_project.write_configuration(tipbench_completion_timeout=value)
    ollama_project.run("evals").assert_mistake("tipbench_completion_timeout", value)


def test_a_week_is_waited_for_if_need_be(ollama_project: Project, ollama: OllamaDouble) -> None:
    """No clock, lock or socket of this machine refuses it."""
    outcome = ollama_project.run(
        "evals",
        *TWO_CELLS,
        *("-k", "midday", "--completion-timeout", "604800", "--lock-timeout", "604800"),
    )
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1
