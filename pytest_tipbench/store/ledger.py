"""Owns the ledger, where every run and judgement is kept first; imports no tracking store.

It is the one read path: board, gates, export, apply, resume and reports are computed from it. What
a tracking server has of it is in :mod:`pytest_tipbench.store.deliveries`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_tipbench.judgement_records import ApplyRecord, Judgement
from pytest_tipbench.records import Record, RecordType, SessionRecord, to_json
from pytest_tipbench.store.ledger_file import ledger_errors, open_for_reading, open_for_writing
from pytest_tipbench.store.ledger_rows import Rows, columns, from_column, tip_sha256, to_column
from pytest_tipbench.store.scores import current_judgements

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from pytest_tipbench.records import RunRecord, Selection


class SessionEnding(Record):
    """How a session ended: the board as its parent run in MLflow shows it."""

    session_id: str
    board_text: str
    metrics: dict[str, float]
    failed: bool


class Ledger:
    """The project's SQLite file of sessions, runs, judgements and applied sheets.

    Every ``add_`` is committed when it returns, and adding a record again changes nothing. It may
    be used from several threads, and the file by several processes. Every method raises
    ``LedgerError`` where the file cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        *,
        read_only: bool,
        notices: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.notices = tuple(notices)
        """What the user should be told about the opening, e.g. of a damaged file set aside."""
        self._connection = connection
        self._rows = Rows(connection)
        self._lock = threading.RLock()

    @classmethod
    def open(cls, path: Path, *, read_only: bool = False) -> Ledger:
        """Open the ledger at ``path``, made or migrated where need be; see ``notices``.

        Args:
            path: its file; missing folders are made.
            read_only: change nothing there, not even a missing or an older file: it is then an
                empty ledger, or a migrated copy, in memory.

        Raises:
            UserMistakeError: a newer release's ledger, or no ledger at all; it is as it was.
            LedgerError: it cannot be opened, or another process keeps it locked.
        """
        if read_only:
            return cls(path, open_for_reading(path), read_only=True)
        connection, notices = open_for_writing(path)
        return cls(path, connection, read_only=False, notices=notices)

    def close(self) -> None:
        """Close the file; may be called twice."""
        with self._lock, ledger_errors(self.path):
            self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- writing ------------------------------------------------------------------------------

    def add_session(self, session: SessionRecord) -> bool:
        """Keep a session; return False where it was there already."""
        with self.transaction() as rows:
            return rows.insert_session(session)

    def add_run(self, record: RunRecord) -> bool:
        """Keep a finished cell; return False where it was there already."""
        with self.transaction() as rows:
            return rows.insert_run(record)

    def end_session(self, ending: SessionEnding) -> None:
        """Keep how a session ended; a second ending replaces the first and is delivered again."""
        session_id = to_column(ending.session_id)
        with self.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO endings (session_id, record) VALUES (?, ?)",
                (session_id, to_json(ending)),
            )
            self._connection.execute(
                "DELETE FROM deliveries WHERE kind = 'ending' AND record_id = ?", (session_id,)
            )

    def add_apply(self, apply: ApplyRecord, judgements: Sequence[Judgement]) -> int:
        """Keep an applied sheet, all of it or nothing, and return how many judgements were new."""
        with self.transaction(durable=True) as rows:
            rows.insert_apply(apply, [judgement.judgement_id for judgement in judgements])
            return sum([rows.insert_judgement(judgement) for judgement in judgements])

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Rows]:
        """Commit what the block writes, or, when it raises, nothing of it.

        A block inside another is part of it.

        Args:
            durable: wait until the disk has it, so that it outlives a power failure too.
        """
        with self._lock, ledger_errors(self.path):
            if self._connection.in_transaction:
                yield self._rows
                return
            with self._begun(durable):
                yield self._rows

    @contextmanager
    def _begun(self, durable: bool) -> Iterator[None]:
        with self._synchronous(durable):
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _synchronous(self, durable: bool) -> Iterator[None]:
        if not durable:
            yield
            return
        (usual,) = self._connection.execute("PRAGMA synchronous").fetchone()
        self._connection.execute("PRAGMA synchronous = FULL")
        try:
            yield
        finally:
            self._connection.execute(f"PRAGMA synchronous = {usual}")

    # --- reading ------------------------------------------------------------------------------

    def experiments(self) -> list[str]:
        """Return the names of the experiments that have runs, in the order of their first run."""
        rows = self.execute("SELECT experiment FROM runs GROUP BY experiment ORDER BY min(number)")
        return [from_column(name) for (name,) in rows]

    def sessions(self, experiment: str) -> list[SessionRecord]:
        """Return the experiment's sessions, oldest first."""
        return self.fetch(
            SessionRecord,
            "SELECT record FROM sessions WHERE experiment = ? ORDER BY started_at, number",
            to_column(experiment),
        )

    def runs(self, experiment: str, selection: Selection | None = None) -> list[RunRecord]:
        """Return every finished run of the selection, oldest first."""
        where, parameters = _selected(experiment, selection)
        # `where` is made of our own words; what users wrote is in the parameters.
        query = f"SELECT record FROM runs WHERE {where} ORDER BY finished_at, number"  # noqa: S608
        return self.fetch_runs(query, *parameters)

    def latest_runs(self, experiment: str, selection: Selection | None = None) -> list[RunRecord]:
        """Return the newest finished run of each fingerprint in the selection, oldest first.

        A machine's fault measured nothing: it stands only where no run of its fingerprint was
        measured.
        """
        where, parameters = _selected(experiment, selection)
        return self.fetch_runs(
            # As above.
            f"""
            SELECT record FROM runs WHERE number IN (
                SELECT number FROM (
                    SELECT number, row_number() OVER (
                        PARTITION BY fingerprint
                        ORDER BY measured DESC, finished_at DESC, number DESC
                    ) AS place
                    FROM runs WHERE {where}
                ) WHERE place = 1
            ) ORDER BY finished_at, number
            """,  # noqa: S608
            *parameters,
        )

    def latest_run(self, experiment: str, fingerprint: str) -> RunRecord | None:
        """Return the run of that fingerprint which :meth:`latest_runs` would; None = there is none.

        It may be a machine's fault (``is_measured`` False).
        """
        runs = self.fetch_runs(
            "SELECT record FROM runs WHERE experiment = ? AND fingerprint = ?"
            " ORDER BY measured DESC, finished_at DESC, number DESC LIMIT 1",
            to_column(experiment),
            to_column(fingerprint),
        )
        return runs[0] if runs else None

    def judgements(self, rubric_sha256: str | None = None) -> list[Judgement]:
        """Return all judgements, or those under one rubric, in the order in which they were given.

        Of those given at the same moment, the one kept first comes first.
        """
        where, parameters = (
            ("", ()) if rubric_sha256 is None else ("WHERE rubric_sha256 = ?", (rubric_sha256,))
        )
        query = f"SELECT record FROM judgements {where} ORDER BY judged_at, number"  # noqa: S608 - as above
        return self.fetch(Judgement, query, *map(to_column, parameters))

    def current_judgements(self, rubric_sha256: str) -> list[Judgement]:
        """Return what each judge says of each tip now: the newest of each, oldest first."""
        return current_judgements(self.judgements(rubric_sha256))

    def judgements_of(self, record: RunRecord, rubric_sha256: str) -> list[Judgement]:
        """Return all judgements of one run's tips, in the order in which they were given."""
        return self.fetch(
            Judgement,
            "SELECT record FROM judgements WHERE rubric_sha256 = ?"
            " AND tip_sha256 IN (SELECT value FROM json_each(?)) ORDER BY judged_at, number",
            to_column(rubric_sha256),
            columns(tip_sha256(record.scenario_sha256, tip) for tip in record.tips),
        )

    def applies(self, experiment: str) -> list[ApplyRecord]:
        """Return the experiment's applied sheets, oldest first."""
        return self.fetch(
            ApplyRecord,
            "SELECT record FROM applies WHERE experiment = ? ORDER BY applied_at, number",
            to_column(experiment),
        )

    # --- for the store's own modules ----------------------------------------------------------

    def execute(self, statement: str, *parameters: object) -> list[Any]:
        """Run one SQL statement and return its rows, as they are in the tables."""
        with self._lock, ledger_errors(self.path):
            return self._connection.execute(statement, parameters).fetchall()

    def fetch_runs(self, query: str, *parameters: object) -> list[RunRecord]:
        """Return the runs whose ``record`` column a query selects."""
        with self._lock, ledger_errors(self.path):
            found = self._connection.execute(query, parameters)
            return [self._rows.run(record) for (record,) in found]

    def fetch(
        self, record_type: type[RecordType], query: str, *parameters: object
    ) -> list[RecordType]:
        """Return the records, other than runs, whose ``record`` column a query selects."""
        found = self.execute(query, *parameters)
        return [self._rows.record(record_type, record) for (record,) in found]


def _selected(experiment: str, selection: Selection | None) -> tuple[str, list[str]]:
    """Return the condition, and its parameters, that ``selection.admits`` is for the table."""
    clauses, parameters = ["experiment = ?"], [to_column(experiment)]
    named = (
        {}
        if selection is None
        else {
            "model": selection.models,
            "prompt_version": selection.prompts,
            "scenario": selection.scenarios,
        }
    )
    for column, names in named.items():
        if names is not None:
            # The column is one of the three above.
            clauses.append(f"{column} IN (SELECT value FROM json_each(?))")  # noqa: S608
            parameters.append(columns(names))
    return " AND ".join(clauses), parameters
