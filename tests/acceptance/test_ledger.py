from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def test_the_default_hangs_on_the_projects_root(either_way: Project) -> None:
    outcome = either_way.run("test_tips.py", *ONE_CELL, cwd=either_way.root / "evals")
    assert outcome.code == 0, outcome.text
    assert len(either_way.runs()) == 1
    assert not (either_way.root / "evals/.tipbench").exists()


def test_a_path_on_the_command_line_hangs_on_the_folder_of_the_call(
    ollama_project: Project,
) -> None:
    evals = ollama_project.root / "evals"
    outcome = ollama_project.run("test_tips.py", *ONE_CELL, "--ledger", "mine.db", cwd=evals)
    assert outcome.code == 0, outcome.text
    assert len(ollama_project.runs(ledger=evals / "mine.db")) == 1
    assert not ollama_project.ledger_path.exists()


def test_the_ini_twin_hangs_on_the_projects_root(ollama_project: Project) -> None:
    ollama_project.write_configuration(tipbench_ledger="kept/mine.db")
    ollama_project.run("test_tips.py", *ONE_CELL, cwd=ollama_project.root / "evals")
    assert len(ollama_project.runs(ledger=ollama_project.root / "kept/mine.db")) == 1


def test_a_board_is_read_from_the_named_ledger(generated_project: Project, tmp_path: Path) -> None:
    elsewhere = generated_project.ledger_path.rename(tmp_path / "elsewhere.db")
    assert "the board is empty" in generated_project.run("--leaderboard").text
    outcome = generated_project.run("--leaderboard", f"--ledger={elsewhere}")
    assert outcome.code == 0, outcome.text
    assert "0/3" in outcome.text


def test_reading_a_project_without_a_ledger_makes_none(project: Project) -> None:
    outcome = project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "the board is empty" in outcome.text
    assert not project.ledger_path.exists()


def test_what_is_no_ledger_is_neither_read_nor_lost(either_way: Project) -> None:
    text = "not a database, and long enough to be told from one\n" * 40
    path = either_way.write("notes.db", text)
    either_way.run("--leaderboard", "--ledger", "notes.db").assert_mistake(str(path), "damaged")
    assert path.read_text(encoding="utf-8") == text
    outcome = either_way.run("evals", *ONE_CELL, "--ledger", "notes.db")
    assert outcome.code == 0, outcome.text
    assert f"the ledger {path} was damaged" in outcome.words
    (aside,) = either_way.root.glob("notes.db.*-1")
    assert aside.read_text(encoding="utf-8") == text
    assert len(either_way.runs(ledger=path)) == 1


def test_a_ledger_of_a_newer_version_is_refused_and_untouched(
    generated_project: Project,
) -> None:
    path = generated_project.ledger_path
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = path.read_bytes()
    generated_project.run("--leaderboard").assert_mistake(str(path), "newer")
    generated_project.run("--judge-export", "s.json").assert_mistake("newer")
    assert path.read_bytes() == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("path", ["/proc/x.db", "/proc/none/x.db", "/dev/null", "rubric.md/x.db"])
def test_a_place_that_takes_no_file_is_said_before_any_item(
    either_way: Project, ollama: OllamaDouble, path: str
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--ledger", path)
    outcome.assert_mistake(path, "cannot be opened or written there", "--ledger PATH names another")
    assert "locked" not in outcome.text
    assert ollama.completions() == []


def test_a_cell_is_kept_before_the_session_ends(ollama_project: Project) -> None:
    ollama_project.write(
        "evals/test_zz.py",
        "import os, sqlite3\n\n\ndef test_zz():\n"
        "    rows = sqlite3.connect('.tipbench/ledger.db').execute("
        "\"SELECT name FROM sqlite_master WHERE type = 'table'\").fetchall()\n"
        "    assert rows\n"
        "    os._exit(9)  # as if the process were killed\n",
    )
    outcome = ollama_project.run("evals", *ONE_CELL)
    assert outcome.code == 9, outcome.text
    assert [run.outcome.value for run in ollama_project.runs()] == ["ok"]
