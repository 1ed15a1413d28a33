"""A ledger that is locked, write-protected, damaged or of a newer release."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.store.rescue import rescue_files
from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.acceptance.sessions import started, until
from tests.small_disk import write_protected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

THREE_CELLS = ("--prompts", "v1", "--scenarios", "maya-*")


@pytest.fixture(autouse=True)
def own_data_folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """What waits for a ledger waits in a folder of this test alone."""
    for name in ("ollama_project", "generated_project", "judged_project"):
        if name in request.fixturenames:
            made: Project = request.getfixturevalue(name)
            made.environment["XDG_DATA_HOME"] = str(tmp_path / "data")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock, as another process does in the middle of a long transaction."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def waiting_file(project: Project) -> Path:
    return rescue_files(project.ledger_path)[0]


# --- locked -------------------------------------------------------------------------------------


def test_locked_at_the_start_is_exit_code_4_before_any_item(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    with locked(ollama_project.ledger_path):
        outcome = ollama_project.run("evals", *ONE_CELL)
        outcome.assert_mistake(str(ollama_project.ledger_path), "locked", "try again")
        assert len(ollama.completions()) == 1
        # Reading takes no lock.
        assert ollama_project.run("--leaderboard").code == 0
    assert ollama_project.run("evals", *ONE_CELL).code == 0


def test_locked_for_a_while_in_mid_run_is_made_up_for_at_the_end(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    ollama.generate_seconds = 0.3
    with started(ollama_project, "evals", *THREE_CELLS, "--seed", "2") as session:
        until(lambda: len(ollama.completions()) == 2)
        with locked(ollama_project.ledger_path):
            until(waiting_file(ollama_project).exists)
        outcome = session.ended(120)
    assert outcome.code == 0, outcome.text
    assert "runs that the ledger could not take before and has now: 1" in outcome.text
    assert "PROBLEM" not in outcome.text
    assert len(ollama_project.runs()) == 1 + 3
    assert not waiting_file(ollama_project).exists()


def test_locked_until_the_end_is_said_and_the_next_session_has_it(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    ollama.generate_seconds = 0.3
    with started(ollama_project, "evals", *ONE_CELL, "--seed", "2") as session:
        until(lambda: len(ollama.completions()) == 2)
        with locked(ollama_project.ledger_path):
            outcome = session.ended(120)
    assert outcome.code == 1, outcome.text
    assert "PROBLEM: the ledger lacks 1 runs" in outcome.words
    assert "wait in" in outcome.words
    assert "locked" in outcome.words
    assert "INTERNALERROR" not in outcome.text
    assert len(ollama_project.runs()) == 1
    outcome = ollama_project.run("evals", *ONE_CELL, "--seed", "2", "--resume")
    assert outcome.code == 0, outcome.text
    assert "has now: 1" in outcome.text
    assert len(ollama.completions()) == 2
    assert [run.seed for run in ollama_project.runs()] == [20260427, 2]


def test_a_sheet_for_a_locked_ledger_is_applied_another_time(generated_project: Project) -> None:
    sheet = generated_project.judge(generated_project.export())
    with locked(generated_project.ledger_path):
        outcome = generated_project.run("--judge-apply", sheet.name)
    outcome.assert_mistake("locked")
    assert generated_project.judgements() == []
    assert generated_project.run("--judge-apply", sheet.name).code == 0
    assert len(generated_project.judgements()) == 6


# --- write-protected ----------------------------------------------------------------------------


def test_write_protected_is_exit_code_4_for_a_session_and_readable_for_a_board(
    judged_project: Project,
) -> None:
    with write_protected(judged_project.ledger_path.parent):
        outcome = judged_project.run("evals")
        outcome.assert_mistake(str(judged_project.ledger_path), "--ledger PATH")
        outcome = judged_project.run("--leaderboard")
        assert outcome.code == 0, outcome.text
        assert "4.00" in outcome.text
        # A server to pull from has nothing to write to, and the board is shown all the same.
        outcome = judged_project.run("--leaderboard", "--tracking-uri", NOBODY)
        assert outcome.code == 0, outcome.text
        assert "not up to date with MLflow" in outcome.words
        assert "4.00" in outcome.text
        assert judged_project.run("--judge-export", "more.json", "--judge-name", "bo").code == 0
        judged_project.run("--judge-apply", str(judged_project.root / "s.json")).assert_mistake(
            str(judged_project.ledger_path)
        )


# --- damaged ------------------------------------------------------------------------------------


def spoil(path: Path) -> bytes:
    """Overwrite the middle of the file; return what it is then."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)
    return bytes(content)


def cut(path: Path) -> bytes:
    """Cut the file in the middle of a page."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = path.read_bytes()[: path.stat().st_size // 2 - 1000]
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("damage", [spoil, cut])
def test_damaged_is_set_aside_and_said_and_never_deleted(
    ollama_project: Project, damage: Callable[[Path], bytes]
) -> None:
    ollama_project.run("evals", *THREE_CELLS)
    path = ollama_project.ledger_path
    content = damage(path)

    # What the damage has hit shows when the file is opened (4), or only when rows are read (1).
    board = ollama_project.run("--leaderboard")
    assert board.code in (1, 4), board.text
    assert f"ledger {path}: it is damaged" in board.words
    assert "INTERNALERROR" not in board.text
    assert path.read_bytes() == content

    outcome = ollama_project.run("evals", *ONE_CELL)
    assert outcome.code == 0, outcome.text
    assert "was damaged" in outcome.words
    assert "it is kept as ledger.db.damaged-1" in outcome.words
    assert path.with_name("ledger.db.damaged-1").read_bytes() == content
    assert len(ollama_project.runs()) == 1

    again = damage(path)
    assert ollama_project.run("evals", *ONE_CELL).code == 0
    assert path.with_name("ledger.db.damaged-1").read_bytes() == content
    assert path.with_name("ledger.db.damaged-2").read_bytes() == again


# --- newer --------------------------------------------------------------------------------------


def test_a_newer_ledger_is_refused_untouched_by_every_command(
    either_way: Project, ollama: OllamaDouble
) -> None:
    either_way.run("evals", *ONE_CELL)
    path = either_way.ledger_path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 9999")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    sheet = either_way.write("scores.json", "{}")
    for arguments in (
        ("evals", *ONE_CELL),
        ("evals", *ONE_CELL, "--resume"),
        ("--leaderboard",),
        ("--judge-apply", str(sheet)),
        ("--leaderboard", "--tracking-uri", NOBODY),
    ):
        either_way.run(*arguments).assert_mistake(str(path), "newer", "upgrade pytest-tipbench")
    assert path.read_bytes() == before
    assert len(ollama.completions()) == 1
