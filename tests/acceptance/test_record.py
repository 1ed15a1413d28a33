"""``--record``: a session's completions in a file, to be replayed without the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import TWO_SCENARIOS
from tests.small_disk import write_protected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

EIGHT_CELLS = ("--prompts", "v1,v2-mentor", *TWO_SCENARIOS, "--n-tips", "2")
"""Maya's morning and Zoe's three scenarios, with two prompts."""
CELLS = 8
ODD_TEXT = "\x1b[31m\u202e\ud800 何も \x00 no JSON"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return what the file holds, which any JSON reader takes line by line."""
    return [json.loads(line) for line in path.read_bytes().decode("ascii").splitlines()]


def test_every_completion_is_a_line_and_is_replayed_without_a_server(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *EIGHT_CELLS, "--record", "kept/r.jsonl")
    assert outcome.code == 0, outcome.text
    runs = {(run.cell.prompt_version, run.cell.scenario): run for run in either_way.runs()}
    lines = lines_of(either_way.root / "kept/r.jsonl")
    assert len(lines) == len(runs) == CELLS
    for line in lines:
        completion = runs[line["prompt_version"], line["scenario"]].completion
        assert completion is not None
        assert line == {
            "model": "qwen2.5:0.5b",
            "prompt_version": line["prompt_version"],
            "scenario": line["scenario"],
            "repeat": 1,
            "completion": completion.text,
            "latency_seconds": completion.latency_seconds,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
        }
    asked = len(ollama.completions())
    replayed = either_way.run(
        *("evals", *EIGHT_CELLS, "--models", "replay/kept/r.jsonl", "--experiment", "again")
    )
    assert replayed.code == 0, replayed.text
    assert len(ollama.completions()) == asked
    again = {(run.cell.prompt_version, run.cell.scenario): run for run in either_way.runs("again")}
    assert {cell: run.tips for cell, run in again.items()} == {
        cell: run.tips for cell, run in runs.items()
    }


def test_whatever_a_model_says_comes_back_and_what_a_server_says_does_not(
    either_way: Project, ollama: OllamaDouble
) -> None:
    """A completion that is no use is one all the same; a machine's fault is none."""
    ollama.fail("say", text=ODD_TEXT)
    ollama.fail("error", nth=2)
    outcome = either_way.run("evals", *EIGHT_CELLS, "--record", "r.jsonl")
    assert outcome.code == 1, outcome.text
    lines = lines_of(either_way.root / "r.jsonl")
    assert len(lines) == CELLS - 1
    (said,) = (run for run in either_way.runs() if run.outcome == "malformed")
    assert said.completion is not None
    assert said.completion.text in [line["completion"] for line in lines]
    replayed = either_way.run(
        *("evals", *EIGHT_CELLS, "--models", "replay/r.jsonl", "--experiment", "again")
    )
    assert replayed.code == 1, replayed.text
    outcomes = sorted(run.outcome.value for run in either_way.runs("again"))
    assert outcomes == ["malformed", *["ok"] * (CELLS - 2), "provider_error"]
    (again,) = (run for run in either_way.runs("again") if run.outcome == "malformed")
    assert again.completion is not None
    assert again.completion.text == said.completion.text


def test_repeats_are_told_apart(ollama_project: Project) -> None:
    arguments = ("--prompts", "v1", "--scenarios", "maya-m*", "--repeats", "3")
    outcome = ollama_project.run("evals", *arguments, "--record", "r.jsonl")
    assert outcome.code == 0, outcome.text
    assert [line["repeat"] for line in lines_of(ollama_project.root / "r.jsonl")] == [1, 2, 3]
    outcome = ollama_project.run("evals", *arguments, "--models", "replay/r.jsonl")
    assert outcome.code == 0, outcome.text


def test_the_file_hangs_on_the_folder_of_the_call(ollama_project: Project) -> None:
    """After a space, too, and a stranger's file of that name further up stays what it is."""
    folder = ollama_project.root / "evals"
    stranger = ollama_project.write("r.jsonl", "mine\n")
    outcome = ollama_project.run("test_tips.py", *EIGHT_CELLS, "--record", "r.jsonl", cwd=folder)
    assert outcome.code == 0, outcome.text
    assert len(lines_of(folder / "r.jsonl")) == CELLS
    assert stranger.read_text(encoding="utf-8") == "mine\n"


def test_an_existing_file_is_never_overwritten(either_way: Project, ollama: OllamaDouble) -> None:
    path = either_way.write("r.jsonl", '{"months": "of work"}\n')
    outcome = either_way.run("evals", *EIGHT_CELLS, "--record", "r.jsonl")
    outcome.assert_mistake("--record", str(path), "exists and is not overwritten", "another file")
    assert path.read_text(encoding="utf-8") == '{"months": "of work"}\n'
    assert ollama.completions() == []


@pytest.mark.parametrize("name", ["r.json", "r", "r.jsonl.gz", ""])
def test_another_suffix_is_a_mistake(
    ollama_project: Project, ollama: OllamaDouble, name: str
) -> None:
    outcome = ollama_project.run("evals", *EIGHT_CELLS, f"--record={name}")
    outcome.assert_mistake("--record", "expected a file ending in .jsonl", repr(name))
    assert ollama.completions() == []


def test_a_folder_that_is_none_is_said_before_any_item(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *EIGHT_CELLS, "--record", "rubric.md/r.jsonl")
    outcome.assert_mistake("--record", "rubric.md/r.jsonl", "cannot be written")
    assert ollama.completions() == []


def test_a_folder_that_nobody_may_write_in_is_said_before_any_item(
    either_way: Project, ollama: OllamaDouble, tmp_path: Path
) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    with write_protected(folder):
        outcome = either_way.run("evals", *EIGHT_CELLS, "--record", str(folder / "r.jsonl"))
    outcome.assert_mistake("--record", str(folder / "r.jsonl"), "cannot be written")
    assert ollama.completions() == []


def test_a_session_that_cannot_begin_leaves_no_file(
    either_way: Project, ollama: OllamaDouble
) -> None:
    """Else the next try would be refused its name."""
    outcome = either_way.run("evals", *EIGHT_CELLS, "--record", "r.jsonl", "--max-model-b", "0.1")
    outcome.assert_mistake("over the cap")
    assert not (either_way.root / "r.jsonl").exists()
