"""``--tipbench-report``: the board in a file, as its suffix says."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import TWO_SCENARIOS
from tests.small_disk import write_protected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

CELLS = ("--prompts", "v1", *TWO_SCENARIOS)
NAMES = ("board.html", "board.md", "board.json", "board.csv")
ALL_FOUR = tuple(f"--tipbench-report={name}" for name in NAMES)


def test_a_session_writes_every_format_at_its_end_and_says_where(either_way: Project) -> None:
    outcome = either_way.run("evals", *CELLS, *ALL_FOUR)
    assert outcome.code == 0, outcome.text
    html, markdown, document, table = (either_way.root / name for name in NAMES)
    for path in (html, markdown, document, table):
        assert f"report: {path}" in outcome.words
        assert "qwen2.5:0.5b" in path.read_text(encoding="utf-8")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert json.loads(document.read_text(encoding="utf-8"))["experiment"] == "tip-bench"
    with table.open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) >= 1
    assert sorted(path.name for path in either_way.root.glob("board*")) == sorted(NAMES)


def test_a_report_of_what_was_judged_runs_nothing_and_has_the_known_means(
    judged_project: Project,
) -> None:
    """Row v1: (5 + 4 + 3) / 3 = 4, row v2-mentor: (3 + 2 + 1) / 3 = 2."""
    outcome = judged_project.run("--leaderboard", "--tipbench-report", "board.json")
    assert outcome.code == 0, outcome.text
    document = json.loads((judged_project.root / "board.json").read_text(encoding="utf-8"))
    composites = {row["prompt_version"]: row["composite"] for row in document["rows"]}
    assert composites == {"v1": pytest.approx(4), "v2-mentor": pytest.approx(2)}
    assert len(judged_project.runs()) == 6


def test_it_is_a_command_by_itself(judged_project: Project) -> None:
    """Also after a space, from a subfolder, which the file then lands in."""
    folder = judged_project.write("notes/readme.md", "notes").parent
    outcome = judged_project.run("--tipbench-report", "board.md", cwd=folder)
    assert outcome.code == 0, outcome.text
    assert "4.00" in (folder / "board.md").read_text(encoding="utf-8")
    again = judged_project.run("--tipbench-report", "board.md", cwd=folder)
    assert again.code == 0, again.text  # an existing file is no test path


def test_a_report_replaces_the_one_before_it_and_makes_its_folder(judged_project: Project) -> None:
    path = judged_project.write("out/board.md", "the board of last week")
    outcome = judged_project.run("--tipbench-report", "out/board.md")
    assert outcome.code == 0, outcome.text
    assert "last week" not in path.read_text(encoding="utf-8")
    outcome = judged_project.run("--tipbench-report", "new/folder/BOARD.CSV")
    assert outcome.code == 0, outcome.text
    assert (judged_project.root / "new/folder/BOARD.CSV").stat().st_size > 0


def test_a_gate_that_fails_has_its_report_all_the_same(judged_project: Project) -> None:
    outcome = judged_project.run("--min-composite", "4.5", "--tipbench-report", "board.md")
    assert outcome.code == 1, outcome.text
    assert "4.5" in (judged_project.root / "board.md").read_text(encoding="utf-8")


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["board.txt", "board", "board.html.gz", ""])
def test_another_suffix_is_a_mistake(
    ollama_project: Project, ollama: OllamaDouble, name: str
) -> None:
    outcome = ollama_project.run("evals", *CELLS, f"--tipbench-report={name}")
    outcome.assert_mistake("--tipbench-report", ".html or .md or .json or .csv", repr(name))
    assert ollama.completions() == []


@pytest.mark.parametrize("path", ["rubric.md/board.html", "rubric.md/new/board.html", "evals.html"])
def test_a_path_that_cannot_be_written_is_said_before_any_item(
    either_way: Project, ollama: OllamaDouble, path: str
) -> None:
    (either_way.root / "evals.html").mkdir()
    outcome = either_way.run("evals", *CELLS, "--tipbench-report", path)
    outcome.assert_mistake("--tipbench-report", path, "cannot be written")
    assert ollama.completions() == []
    assert not either_way.ledger_path.exists()


def test_a_folder_that_nobody_may_write_in_is_said(
    either_way: Project, ollama: OllamaDouble, tmp_path: Path
) -> None:
    """Before any item where the system tells, else at the end, with everything else kept."""
    folder = tmp_path / "closed"
    folder.mkdir()
    with write_protected(folder):
        report = str(folder / "board.html")
        outcome = either_way.run("evals", *CELLS, "--tipbench-report", report)
    assert f"--tipbench-report {report}: cannot be written" in outcome.words
    assert "Traceback" not in outcome.text
    if outcome.code == 4:
        assert ollama.completions() == []
    else:
        assert outcome.code == 1, outcome.text
        assert len(either_way.runs()) == len(ollama.completions()) > 0


def test_a_file_of_the_evaluation_is_never_a_report(judged_project: Project) -> None:
    before = (judged_project.root / "rubric.md").read_bytes()
    outcome = judged_project.run("--tipbench-report", "rubric.md")
    outcome.assert_mistake("--tipbench-report", "rubric.md", "name another")
    assert (judged_project.root / "rubric.md").read_bytes() == before


def test_nothing_to_report_is_a_mistake(project: Project) -> None:
    outcome = project.run("--tipbench-report", "board.html")
    outcome.assert_mistake("--tipbench-report", "'tip-bench' has no finished run to report")
    assert not (project.root / "board.html").exists()
