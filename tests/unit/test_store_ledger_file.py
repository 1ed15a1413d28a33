from __future__ import annotations

import hashlib
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import pytest

from pytest_tipbench.errors import LedgerError, UserMistakeError
from pytest_tipbench.store import ledger_file
from pytest_tipbench.store.ledger import Ledger
from pytest_tipbench.store.ledger_schema import (
    MIGRATIONS,
    SCHEMA_VERSION,
    migrate,
    schema_version,
)
from tests.unit.store_samples import EXPERIMENT, applied, judgement, run, session

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
"""The user id that owns nothing."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".tipbench" / "ledger.db"


def _fill(path: Path, count: int = 3) -> None:
    with Ledger.open(path) as ledger:
        for number in range(count):
            ledger.add_run(run(number))


def _digests(folder: Path) -> dict[str, str]:
    return {
        each.name: hashlib.sha256(each.read_bytes()).hexdigest()
        for each in folder.iterdir()
        if each.suffix != ".lock"
    }


# --- making and finding it ----------------------------------------------------------------------


def test_it_is_made_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ledger.db"
    with Ledger.open(path) as ledger:
        assert ledger.notices == ()
        assert not ledger.read_only
        assert ledger.runs(EXPERIMENT) == []
    assert path.read_bytes().startswith(b"SQLite format 3\0")


def test_an_empty_file_becomes_a_ledger(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Ledger.open(path) as ledger:
        assert ledger.notices == ()
        assert ledger.add_run(run(1)) is True


@pytest.mark.parametrize("name", ["ledger ?#%41 é.db", "100%.db", "a:b'c.db"])
def test_any_name_will_do(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for _ in range(2):
        _fill(path, 1)
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.runs(EXPERIMENT) == [run(0)]
    assert path.exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_folder_in_its_place_is_said(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(LedgerError, match="cannot be opened or written there; --ledger PATH"):
        Ledger.open(tmp_path, read_only=read_only)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_file_is_said_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    with pytest.raises(LedgerError, match=r"pipe\.db: it cannot be opened or written there"):
        Ledger.open(tmp_path / "pipe.db", read_only=read_only)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.db"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_a_folder_that_takes_no_file_is_not_called_locked(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait_for_others(*_: object, **__: object) -> None:
        raise AssertionError("there is nobody to wait for")

    monkeypatch.setattr(filelock, "FileLock", wait_for_others)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(Path("/proc/x.db"))
    assert str(caught.value).startswith(
        "ledger /proc/x.db: it cannot be opened or written there; --ledger PATH names another place"
    )


def test_a_file_in_its_folders_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"file.ledger\.db: it cannot be opened"):
        Ledger.open(tmp_path / "file" / "ledger.db")


def _add_one(path: Path, number: int) -> str:
    try:
        with Ledger.open(path) as ledger:
            ledger.add_run(run(number))
    except BaseException as error:  # noqa: BLE001 - shown by the assertion
        return repr(error)
    return ""


def test_processes_that_make_it_at_once_make_one(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        answers = pool.starmap(_add_one, [(path, number) for number in range(3)], chunksize=1)
    assert answers == [""] * 3
    with Ledger.open(path) as ledger:
        assert len(ledger.runs(EXPERIMENT)) == 3


def test_threads_that_make_it_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        for attempt in range(4):
            path = tmp_path / str(attempt) / "ledger.db"
            assert list(pool.map(partial(_add_one, path), range(6))) == [""] * 6
            with Ledger.open(path) as ledger:
                assert len(ledger.runs(EXPERIMENT)) == 6


def test_of_those_that_find_it_damaged_one_sets_it_aside(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        for attempt in range(4):
            path = tmp_path / str(attempt) / "ledger.db"
            path.parent.mkdir()
            path.write_bytes(b"garbage" * 100)
            assert list(pool.map(partial(_add_one, path), range(6))) == [""] * 6
            with Ledger.open(path) as ledger:
                assert len(ledger.runs(EXPERIMENT)) == 6
            assert len(list(path.parent.glob("*.damaged-*"))) == 1


# --- versions -----------------------------------------------------------------------------------


def test_a_newer_releases_ledger_is_refused_untouched(path: Path) -> None:
    _fill(path)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 6}")
    before = _digests(path.parent)
    for read_only in (False, True):
        with pytest.raises(UserMistakeError) as caught:
            Ledger.open(path, read_only=read_only)
        message = str(caught.value)
        assert str(path) in message
        assert f"schema version {SCHEMA_VERSION + 6}" in message
        assert f"this one knows version {SCHEMA_VERSION}" in message
        assert "upgrade pytest-tipbench" in message
    assert _digests(path.parent) == before


def test_a_newer_releases_journal_is_not_touched_either(path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, sqlite3, sys
        from pathlib import Path
        from pytest_tipbench.store.ledger import Ledger
        from tests.unit.store_samples import run

        ledger = Ledger.open(Path(sys.argv[1]))
        ledger.add_run(run(1))
        ledger.execute("PRAGMA user_version = 99")
        os._exit(0)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
    kept = {path.name, f"{path.name}-wal"}
    before = _digests(path.parent)
    assert kept <= before.keys()
    with pytest.raises(UserMistakeError, match="schema version 99"):
        Ledger.open(path)
    after = _digests(path.parent)
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE experiments (name TEXT)")
    before = _digests(path.parent)
    for read_only in (False, True):
        with pytest.raises(UserMistakeError, match="another program's SQLite database"):
            Ledger.open(path, read_only=read_only)
    assert _digests(path.parent) == before


def test_an_older_ledger_migrates_and_keeps_its_records(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(path)
    later = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN note TEXT", "CREATE TABLE notes (text)"))

    def migrate_further(connection: sqlite3.Connection) -> None:
        migrate(connection, later)

    monkeypatch.setattr(ledger_file, "SCHEMA_VERSION", len(later))
    monkeypatch.setattr(ledger_file, "migrate", migrate_further)
    before = _digests(path.parent)
    with Ledger.open(path, read_only=True) as ledger:
        assert ledger.runs(EXPERIMENT) == [run(0), run(1), run(2)]
        assert ledger.execute("SELECT count(*) FROM notes") == [(0,)]
    assert _digests(path.parent) == before, "reading must not migrate the file"
    with Ledger.open(path) as ledger:
        assert ledger.runs(EXPERIMENT) == [run(0), run(1), run(2)]
        assert schema_version(ledger._connection) == len(later)
    with Ledger.open(path) as ledger:
        assert ledger.execute("SELECT count(*) FROM notes") == [(0,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    _fill(path)
    broken = (*MIGRATIONS, ("CREATE TABLE notes (text)", "CREATE TABLE runs (again)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(connection, broken)
        assert schema_version(connection) == SCHEMA_VERSION
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'notes'")
        assert tables.fetchall() == []
    with Ledger.open(path) as ledger:
        assert len(ledger.runs(EXPERIMENT)) == 3


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"not a ledger at all\n" * 50, b"SQLite format 3\0"])
def test_a_damaged_file_is_set_aside_and_said(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with Ledger.open(path) as ledger:
        (notice,) = ledger.notices
        assert str(path) in notice
        assert "ledger.db.damaged-1" in notice
        assert "a new one was begun" in notice
        assert ledger.runs(EXPERIMENT) == []
        ledger.add_run(run(1))
    assert path.with_name("ledger.db.damaged-1").read_bytes() == content
    with Ledger.open(path) as ledger:
        assert ledger.notices == ()
        assert ledger.runs(EXPERIMENT) == [run(1)]


def test_no_damaged_file_replaces_an_earlier_one(path: Path) -> None:
    path.parent.mkdir()
    for number in (1, 2, 3):
        path.write_bytes(b"garbage %d" % number)
        with Ledger.open(path) as ledger:
            assert f"ledger.db.damaged-{number}" in ledger.notices[0]
    for number in (1, 2, 3):
        kept = path.with_name(f"ledger.db.damaged-{number}")
        assert kept.read_bytes() == b"garbage %d" % number


def test_damage_in_the_middle_of_the_file_is_found(path: Path) -> None:
    _fill(path, 60)
    content = bytearray(path.read_bytes())
    content[4096 * 3 : -4096] = b"\xff" * (len(content) - 4096 * 4)
    path.write_bytes(content)
    with Ledger.open(path) as ledger:
        (notice,) = ledger.notices
        assert "\n" not in notice
        assert ledger.runs(EXPERIMENT) == []
    assert path.with_name("ledger.db.damaged-1").read_bytes() == bytes(content)


def test_a_damaged_files_journal_goes_with_it(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage")
    path.with_name("ledger.db-wal").write_bytes(b"its journal")
    with Ledger.open(path) as ledger:
        assert ledger.add_run(run(1)) is True
    assert path.with_name("ledger.db.damaged-1-wal").read_bytes() == b"its journal"


def test_a_damaged_file_is_not_set_aside_by_reading(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage" * 100)
    with pytest.raises(LedgerError, match="it is damaged; the next session that writes sets it"):
        Ledger.open(path, read_only=True)
    assert path.read_bytes() == b"garbage" * 100


# --- other processes ----------------------------------------------------------------------------


def test_a_lock_that_is_not_given_up_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "BUSY_TIMEOUT_SECONDS", 0.05)
    with Ledger.open(path) as ledger, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError) as caught:
            ledger.add_run(run(1))
        assert str(path) in str(caught.value)
        assert "another process has kept it locked" in str(caught.value)
        with pytest.raises(LedgerError, match="another process has kept it locked"):
            Ledger.open(path)
        assert ledger.runs(EXPERIMENT) == []
        other.rollback()
        assert ledger.add_run(run(1)) is True


def test_a_lock_on_its_making_that_is_not_given_up_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_file, "BUSY_TIMEOUT_SECONDS", 0.05)
    path.parent.mkdir()
    with (
        filelock.FileLock(f"{path}.lock"),
        pytest.raises(LedgerError, match="another process has kept it locked"),
    ):
        Ledger.open(path)


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    _fill(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM runs")
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.runs(EXPERIMENT) == [run(0)]
        writer.execute("ROLLBACK")


# --- reading only -------------------------------------------------------------------------------


def test_reading_what_does_not_exist_is_an_empty_ledger_and_makes_nothing(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "nowhere" / "ledger.db", read_only=True) as ledger:
        assert ledger.read_only
        assert ledger.runs(EXPERIMENT) == []
        assert ledger.latest_runs(EXPERIMENT) == []
        assert ledger.latest_run(EXPERIMENT, "f") is None
        assert ledger.judgements() == []
        assert ledger.applies(EXPERIMENT) == []
        assert ledger.experiments() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_ledger_opened_for_reading_takes_nothing(path: Path, exists: bool) -> None:
    if exists:
        _fill(path, 1)
    said = [judgement("A")]
    with Ledger.open(path, read_only=True) as ledger:
        with pytest.raises(LedgerError, match="cannot be opened or written there"):
            ledger.add_run(run(5))
        with pytest.raises(LedgerError, match="cannot be opened or written there"):
            ledger.add_apply(applied(said), said)
        with pytest.raises(LedgerError, match="cannot be opened or written there"):
            ledger.add_session(session())
        assert ledger.runs(EXPERIMENT) == ([run(0)] if exists else [])


def test_a_reader_sees_what_a_writer_adds_meanwhile(path: Path) -> None:
    with Ledger.open(path) as writer, Ledger.open(path, read_only=True) as reader:
        writer.add_run(run(1))
        assert reader.runs(EXPERIMENT) == [run(1)]


@contextmanager
def _write_protected(folder: Path) -> Iterator[None]:
    """Take the right to write in a folder, from the superuser too."""
    if not hasattr(os, "geteuid"):
        pytest.skip("needs the access rights of POSIX")
    modes = {each: each.stat().st_mode for each in (folder, *folder.iterdir())}
    for each in modes:
        each.chmod(0o555 if each.is_dir() else 0o444)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for each, mode in modes.items():
            each.chmod(mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a folder that every user can reach: pytest's own are for their owner."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_in_a_write_protected_folder_it_can_be_read_and_not_written(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    _fill(path)
    with _write_protected(open_folder):
        with pytest.raises(LedgerError) as caught:
            Ledger.open(path)
        assert str(path) in str(caught.value)
        assert "--ledger PATH names another place" in str(caught.value)
        with Ledger.open(path, read_only=True) as ledger:
            assert ledger.runs(EXPERIMENT) == [run(0), run(1), run(2)]


def test_in_a_write_protected_folder_none_can_be_made(open_folder: Path) -> None:
    with _write_protected(open_folder):
        for path in (open_folder / "ledger.db", open_folder / ".tipbench" / "ledger.db"):
            with pytest.raises(LedgerError, match="--ledger PATH names another place"):
                Ledger.open(path)
            with Ledger.open(path, read_only=True) as ledger:
                assert ledger.runs(EXPERIMENT) == []


def test_a_write_protected_file_in_an_open_folder_is_said(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    _fill(path)
    with _write_protected(open_folder):
        pass
    path.chmod(0o444)
    open_folder.chmod(0o777)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(LedgerError, match="--ledger PATH names another place"):
            Ledger.open(path)
        with Ledger.open(path, read_only=True) as ledger:
            assert len(ledger.runs(EXPERIMENT)) == 3
    finally:
        if was_root:
            os.seteuid(0)


def test_what_a_killed_process_left_in_the_journal_is_read_there_too(open_folder: Path) -> None:
    path = open_folder / "ledger.db"
    script = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from pytest_tipbench.store.ledger import Ledger
        from tests.unit.store_samples import run

        ledger = Ledger.open(Path(sys.argv[1]))
        ledger.add_run(run(1))
        os._exit(9)
        """
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    path.with_name("ledger.db-shm").unlink()
    assert path.with_name("ledger.db-wal").stat().st_size > 0
    with _write_protected(open_folder), Ledger.open(path, read_only=True) as ledger:
        assert ledger.runs(EXPERIMENT) == [run(1)]
