"""Owns the ledger's tables and how an older ledger becomes a present one; imports no record.

``PRAGMA user_version`` is the number of migrations a file has been through. A migration that users
have run is never edited: a change is a new tuple at the end of :data:`MIGRATIONS`.

Names that a user or a model chose stand in their columns as JSON without its quotes
(``qwen2.5:0.5b``, but ``caf\\u00e9``), and moments as whole microseconds since 1970 in UTC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

APPLICATION_ID = 0x54495042
"""``TIPB`` in the file's header: tells a ledger from any other SQLite file."""

_FIRST = (
    # What many runs share word for word (scenarios, prompts, models, sampling) is kept once.
    "CREATE TABLE parts (sha256 TEXT PRIMARY KEY, record TEXT NOT NULL)",
    """CREATE TABLE sessions (
        number INTEGER PRIMARY KEY,
        session_id TEXT NOT NULL UNIQUE,
        experiment TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    "CREATE TABLE endings (session_id TEXT PRIMARY KEY, record TEXT NOT NULL)",
    """CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        session_id TEXT NOT NULL,
        experiment TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        cell TEXT NOT NULL,
        model TEXT NOT NULL,
        prompt_version TEXT NOT NULL,
        scenario TEXT NOT NULL,
        scenario_sha256 TEXT NOT NULL,
        outcome TEXT NOT NULL,
        measured INTEGER NOT NULL,
        finished_at INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    "CREATE INDEX runs_by_fingerprint ON runs (experiment, fingerprint, measured, finished_at)",
    "CREATE INDEX runs_by_session ON runs (session_id)",
    "CREATE INDEX runs_by_scenario ON runs (scenario_sha256)",
    """CREATE TABLE judgements (
        number INTEGER PRIMARY KEY,
        judgement_id TEXT NOT NULL UNIQUE,
        rubric_sha256 TEXT NOT NULL,
        scenario_sha256 TEXT NOT NULL,
        tip_sha256 TEXT NOT NULL,
        sheet TEXT NOT NULL,
        judged_at INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    "CREATE INDEX judgements_by_tip ON judgements (tip_sha256)",
    "CREATE INDEX judgements_by_sheet ON judgements (sheet)",
    """CREATE TABLE applies (
        number INTEGER PRIMARY KEY,
        apply_id TEXT NOT NULL UNIQUE,
        experiment TEXT NOT NULL,
        applied_at INTEGER NOT NULL,
        judgement_ids TEXT NOT NULL,
        record TEXT NOT NULL
    )""",
    # A row is made before the record is sent: a row that is not delivered may exist over there.
    """CREATE TABLE deliveries (
        kind TEXT NOT NULL,
        record_id TEXT NOT NULL,
        target TEXT NOT NULL,
        delivered INTEGER NOT NULL DEFAULT 0,
        tracking_id TEXT,
        refused TEXT,
        PRIMARY KEY (kind, record_id, target)
    ) WITHOUT ROWID""",
    # The scores a delivered run was last given; `due` = they may have changed since.
    """CREATE TABLE score_deliveries (
        target TEXT NOT NULL,
        run_id TEXT NOT NULL,
        due INTEGER NOT NULL,
        pulled INTEGER NOT NULL,
        scores_sha256 TEXT,
        pending INTEGER NOT NULL DEFAULT 1,
        refused TEXT,
        PRIMARY KEY (target, run_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX scores_due ON score_deliveries (target) WHERE due = 1",
    """CREATE TABLE score_cursors (
        target TEXT PRIMARY KEY,
        rubric_sha256 TEXT NOT NULL,
        judgement_number INTEGER NOT NULL
    )""",
    """CREATE TABLE pulls (
        target TEXT NOT NULL,
        experiment TEXT NOT NULL,
        cursor TEXT NOT NULL,
        pulled_at INTEGER NOT NULL,
        PRIMARY KEY (target, experiment)
    ) WITHOUT ROWID""",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)
"""The statements that lead from version i to version i + 1, by i."""

SCHEMA_VERSION = len(MIGRATIONS)
"""The version this release reads and writes."""


def schema_version(connection: sqlite3.Connection) -> int:
    """Return how many migrations the file has been through; 0 is an empty file."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def identify(connection: sqlite3.Connection) -> tuple[int, bool]:
    """Return the file's schema version, and whether it is some other program's database."""
    # One transaction, because another process may be making it a ledger right now.
    connection.execute("BEGIN")
    try:
        version = schema_version(connection)
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if connection.in_transaction:  # an error may have ended it
            connection.execute("ROLLBACK")
    return version, bool(tables) and application_id != APPLICATION_ID


def migrate(
    connection: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS
) -> None:
    """Bring the file up to date in one transaction; a failure leaves it as it was.

    Raises:
        sqlite3.Error: the file cannot be written, or a statement failed.
    """
    if schema_version(connection) == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Read again under the lock: another session may have migrated it in the meantime.
        for statements in migrations[schema_version(connection) :]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
