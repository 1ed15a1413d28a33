from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project

LINE = {
    "prompt_version": "v1",
    "scenario": "maya-morning-deadline",
    "completion": '{"tips": ["Open the notes and write one line now."]}',
}
REPLAY = ("--models", "replay/r.jsonl", "--n-tips", "1")


def lines(*documents: dict[str, Any]) -> str:
    return "".join(json.dumps(document) + "\n" for document in documents)


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_recorded_completions_run_without_any_server(
    project: Project, workers: tuple[str, ...]
) -> None:
    recorded = LINE | {"latency_seconds": 1.5, "prompt_tokens": 100, "completion_tokens": 20}
    project.write("r.jsonl", lines(recorded))
    outcome = project.run("evals", *ONE_CELL, *REPLAY, *workers)
    assert outcome.code == 0, outcome.text
    (run,) = project.runs()
    assert run.tips == ("Open the notes and write one line now.",)
    assert run.completion is not None
    assert run.completion.text == LINE["completion"]
    assert run.completion.latency_seconds == 1.5
    assert (run.completion.prompt_tokens, run.completion.completion_tokens) == (100, 20)
    assert run.model is not None
    assert not run.model.local


def test_the_file_is_found_from_the_projects_root_in_a_subfolder(project: Project) -> None:
    project.write("r.jsonl", lines(LINE))
    outcome = project.run("test_tips.py", *ONE_CELL, *REPLAY, cwd=project.root / "evals")
    assert outcome.code == 0, outcome.text


def test_repeats_are_lines_of_their_own(project: Project) -> None:
    other = LINE | {"repeat": 2, "completion": '{"tips": ["Walk to the window and back first."]}'}
    project.write("r.jsonl", lines(LINE, other))
    outcome = project.run("evals", *ONE_CELL, *REPLAY, "--repeats", "2")
    assert outcome.code == 0, outcome.text
    assert [run.tips[0].split()[0] for run in project.runs()] == ["Open", "Walk"]


def test_one_model_of_a_file_of_several_is_named(project: Project) -> None:
    project.write("r.jsonl", lines(LINE | {"model": "a"}, LINE | {"model": "b"}))
    project.run("evals", *ONE_CELL, *REPLAY).assert_mistake("r.jsonl", "#")
    outcome = project.run("evals", *ONE_CELL, "--models", "replay/r.jsonl#b", "--n-tips", "1")
    assert outcome.code == 0, outcome.text


def test_a_cell_that_the_file_lacks_is_an_error(project: Project) -> None:
    project.write("r.jsonl", lines(LINE))
    outcome = project.run("evals", "--prompts", "v1", "--scenarios", "maya-*-d*,maya-*-p*", *REPLAY)
    assert outcome.code == 1, outcome.text
    assert "1 passed, 1 error" in outcome.counts
    assert [run.outcome.value for run in project.runs()] == ["ok", "provider_error"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (lines(LINE) + "{\n", ("r.jsonl:2", "not JSON")),
        (lines(LINE, {"prompt_version": "v1"}), ("r.jsonl:2", "scenario", "completion")),
        (lines(LINE | {"latency": 1}), ("r.jsonl:1", "latency", "latency_seconds")),
        (lines(LINE | {"repeat": 0}), ("r.jsonl:1", "repeat")),
        (lines(LINE | {"repeat": "1"}), ("r.jsonl:1", "repeat")),
        (lines(LINE, LINE), ("r.jsonl:2", "line 1")),
        ("[]\n", ("r.jsonl:1", "JSON object")),
        ("", ("r.jsonl", "one JSON object a line")),
        ("{\n[\n", ("2 lines are bad", "line 1", "line 2")),
    ],
)
def test_malformed_lines_are_exit_code_4_with_file_and_line(
    project: Project, text: str, parts: tuple[str, ...]
) -> None:
    project.write("r.jsonl", text)
    project.run("evals", *ONE_CELL, *REPLAY).assert_mistake(*parts)
    assert not project.ledger_path.exists()


def test_a_file_that_is_not_there_is_exit_code_4(project: Project) -> None:
    project.run("evals", *ONE_CELL, *REPLAY).assert_mistake("r.jsonl")
