"""Owns the ledger's file: opening, setting a damaged one aside, errors in words; knows no record.

SQLite in WAL mode: readers and one writer at a time, of any number of processes. ``synchronous`` is
NORMAL, which keeps a commit over a killed process (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import stat
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tipbench.errors import LedgerError, UserMistakeError
from pytest_tipbench.store.ledger_schema import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    identify,
    migrate,
    schema_version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_TIMEOUT_SECONDS = 5.0
"""How long a write waits for another process's."""

# SQLite's own words, because error codes reach Python only from 3.11 on.
_LOCKED = f"another process has kept it locked for {BUSY_TIMEOUT_SECONDS:g} s; try again"
_UNWRITABLE = "it cannot be opened or written there; --ledger PATH names another place"
_FULL = "no room is left on its disk; what it holds is kept"
_FAILING = "its disk has no room left, or fails; what it holds is kept"
_DAMAGED = "it is damaged; the next session that writes sets it aside"
_EXPLANATIONS = {
    "locked": _LOCKED,
    "readonly": _UNWRITABLE,
    "unable to open": _UNWRITABLE,
    "Permission denied": _UNWRITABLE,
    "Read-only file system": _UNWRITABLE,
    "No such file": _UNWRITABLE,
    "File exists": _UNWRITABLE,  # a file where its folder should be
    "is a folder": _UNWRITABLE,
    "is no file": _UNWRITABLE,
    "is full": _FULL,
    "No space left": _FULL,
    "disk I/O error": _FAILING,  # a full disk, too, where SQLite's index of its journal needs room
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
}


class _DamagedError(Exception):
    """The file is no sound SQLite file."""


@contextmanager
def ledger_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's and the system's errors into a ``LedgerError`` that names the file."""
    try:
        yield
    except (sqlite3.Error, OSError, _DamagedError) as error:
        words = str(error)
        explanation = next((_EXPLANATIONS[key] for key in _EXPLANATIONS if key in words), None)
        message = f"{explanation} ({words})" if explanation else words
        raise LedgerError(f"ledger {path}: {message}") from error


def open_for_writing(path: Path) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    """Open the ledger's file, making or migrating it where need be.

    Returns:
        The connection, in autocommit mode, and what the user should be told.

    Raises:
        UserMistakeError: a newer release's ledger, or no ledger at all; it is not touched.
        LedgerError: it cannot be opened or written.
    """
    with ledger_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_ready = _exists(path) and _inspect(path) == SCHEMA_VERSION
        except (_DamagedError, sqlite3.OperationalError):
            is_ready = False  # or another process is just setting it aside: look again, alone
        if is_ready:
            return _connect(path), ()
        return _prepare(path)


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the ledger's file without changing it; where there is none, an empty ledger in memory.

    Raises:
        UserMistakeError: a newer release's ledger, or no ledger at all.
        LedgerError: it cannot be read.
    """
    with ledger_errors(path):
        connection = _connect_for_reading(path) if _exists(path) else _open(":memory:")
        try:
            if _version(connection, path) < SCHEMA_VERSION:
                connection = _into_memory(connection)
                migrate(connection)
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection


def _exists(path: Path) -> bool:
    try:
        mode = path.stat().st_mode  # looked at once: another process may be putting it there
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder")
    if not stat.S_ISREG(mode):  # SQLite would wait for a pipe, and for ever
        raise OSError(f"{path} is no file")
    return True


def _inspect(path: Path) -> int:
    """Return the schema version of an existing file, looked at without changing it."""
    with closing(_connect_to_look(path)) as connection:
        version = _version(connection, path)
        try:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            raise _damage_or(error) from error
    if verdict != "ok":
        raise _DamagedError(" ".join(verdict.split()))
    return version


def _version(connection: sqlite3.Connection, path: Path) -> int:
    try:
        version, is_foreign = identify(connection)
    except sqlite3.DatabaseError as error:
        raise _damage_or(error) from error
    if is_foreign:
        raise UserMistakeError(
            f"{path} is another program's SQLite database: name a file of its own with --ledger"
        )
    if version > SCHEMA_VERSION:
        raise UserMistakeError(
            f"{path} is a ledger of schema version {version}, made by a newer pytest-tipbench; "
            f"this one knows version {SCHEMA_VERSION}: upgrade pytest-tipbench, or name another "
            "ledger with --ledger"
        )
    return version


def _damage_or(error: sqlite3.DatabaseError) -> Exception:
    # SQLITE_CORRUPT and SQLITE_NOTADB come as the class itself, a locked or unreadable file as
    # its child OperationalError.
    return _DamagedError(str(error)) if type(error) is sqlite3.DatabaseError else error


def _prepare(path: Path) -> tuple[sqlite3.Connection, tuple[str, ...]]:
    # The switch to WAL does not wait for other processes as a write does, and a damaged file must
    # be set aside by one of them only: hence a lock of our own.
    import filelock

    lock = Path(f"{path}.lock")
    _check_may_be_made(lock)
    try:
        with filelock.FileLock(lock, timeout=BUSY_TIMEOUT_SECONDS):
            notices: tuple[str, ...] = ()
            try:
                if path.exists():
                    _inspect(path)
            except _DamagedError as damage:
                notices = (_set_aside(path, str(damage)),)
            if not path.exists() and not path.with_name(f"{path.name}-wal").exists():
                _make(path)
            connection = _connect(path)
            try:
                migrate(connection)
            except BaseException:
                connection.close()
                raise
            return connection, notices
    except filelock.Timeout as error:
        raise LedgerError(f"ledger {path}: {_LOCKED}") from error


def _check_may_be_made(lock: Path) -> None:
    """Find a folder that takes no file (``/proc``), which filelock takes for a lock of others."""
    try:
        lock.open("x").close()
    except FileNotFoundError:
        raise
    except OSError:
        pass  # it is there already, or filelock says the rest


def _make(path: Path) -> None:
    # Under a name of its own first: SQLite's switch to WAL fails when another process just then
    # looks at the file, and a process that is killed here leaves no half-made ledger.
    new = path.with_name(f"{path.name}.new")
    with closing(_connect(new)) as connection:
        migrate(connection)
    new.replace(path)


def _set_aside(path: Path, damage: str) -> str:
    kept = next(
        candidate
        for number in itertools.count(1)
        if not (candidate := path.with_name(f"{path.name}.damaged-{number}")).exists()
    )
    # Its journal goes with it: a rescue by sqlite3's `.recover` needs both.
    for suffix in ("-wal", "-shm", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return (
        f"the ledger {path} was damaged ({damage}): it is kept as {kept.name}, "
        "and a new one was begun"
    )


def _connect(path: Path) -> sqlite3.Connection:
    connection = _open(path)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        # Without WAL (some network file systems) NORMAL would risk the file when power fails.
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if mode == 'wal' else 'FULL'}")
        # A write-protected file opens without complaint: find out now, not at the first record.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("ROLLBACK")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_to_look(path: Path) -> sqlite3.Connection:
    # A journal that is there (a living session's, a killed one's) must not be written into the
    # file. Where there is none SQLite makes one, which it takes away only if it may write.
    mode = "ro" if path.with_name(f"{path.name}-wal").exists() else "rw"
    return _open(f"{path.absolute().as_uri()}?mode={mode}")


def _connect_for_reading(path: Path) -> sqlite3.Connection:
    connection = _connect_to_look(path)
    try:
        schema_version(connection)
    except sqlite3.OperationalError:
        connection.close()
        return _copy_of(path)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _copy_of(path: Path) -> sqlite3.Connection:
    # In a write-protected folder SQLite cannot make the index that reading a WAL file takes.
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                shutil.copyfile(part, Path(folder, f"ledger.db{suffix}"))
        return _into_memory(_open(Path(folder, "ledger.db")))


def _into_memory(source: sqlite3.Connection) -> sqlite3.Connection:
    memory = _open(":memory:")
    with closing(source):
        source.backup(memory)
    return memory


def _open(database: Path | str) -> sqlite3.Connection:
    # One connection serves the controller and the mirror's thread; Ledger has the lock.
    return sqlite3.connect(
        database,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=isinstance(database, str),
    )
