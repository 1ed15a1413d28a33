"""Owns what the ledger knows of a tracking server: what it has and what it lacks.

Imports the ledger, no tracking store. A target is the identity of one server, see
:func:`tracking_target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pytest_tipbench.judgement_records import ApplyRecord, Judgement
from pytest_tipbench.records import RecordType, SessionRecord
from pytest_tipbench.store.ledger import SessionEnding
from pytest_tipbench.store.ledger_rows import from_column, to_column

if TYPE_CHECKING:
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.store.ledger import Ledger

Kind = Literal["session", "run", "ending", "apply"]

_TABLES: dict[Kind, tuple[str, str]] = {
    "session": ("sessions", "session_id"),
    "run": ("runs", "run_id"),
    "ending": ("endings", "session_id"),
    "apply": ("applies", "apply_id"),
}

_LOOPBACK = ("localhost", "::1", "0.0.0.0", "::")  # noqa: S104 - names compared, nothing is bound
_DEFAULT_PORTS = {"http": 80, "https": 443}


def tracking_target(tracking_uri: str) -> str:
    """Return the identity of the server at a URI: no credentials, one spelling.

    What is no URL, ``embedded`` for one, is its own identity.
    """
    uri = tracking_uri.strip()
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        return uri
    if not host:
        return uri
    host = "127.0.0.1" if host in _LOOPBACK else host
    address = f"[{host}]" if ":" in host else host
    port = port or _DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{address}:{port}{parts.path.rstrip('/')}"


@dataclass(frozen=True)
class Delivered:
    """A record that the target has; its id over there is None where a pull did not tell it."""

    tracking_id: str | None


@dataclass(frozen=True)
class DueScores:
    """A delivered run whose scores may have changed, and what the target was given last."""

    number: int
    run_id: str
    tracking_id: str
    scores_sha256: str | None
    """Hash of the scores given last; None = none were."""
    pending: bool
    """False once whole scores were given."""


class Deliveries:
    """One ledger's bookkeeping for one target; what a method changes is committed at its end.

    Every method raises ``LedgerError`` where the file cannot be read or written.
    """

    def __init__(self, ledger: Ledger, target: str) -> None:
        self._ledger = ledger
        self._target = to_column(target)

    # --- what is to be delivered --------------------------------------------------------------

    def sessions(self) -> list[SessionRecord]:
        """Return the sessions that the target lacks, oldest first."""
        return self._undelivered(SessionRecord, "session")

    def session(self, session_id: str) -> SessionRecord | None:
        """Return a session, delivered or not; None where the ledger has no record of it."""
        found = self._ledger.fetch(
            SessionRecord,
            "SELECT record FROM sessions WHERE session_id = ?",
            to_column(session_id),
        )
        return found[0] if found else None

    def runs(
        self, *, after: int, limit: int, session_id: str | None = None
    ) -> list[tuple[int, RunRecord]]:
        """Return runs that the target lacks, each with its number, in the order of the numbers.

        Args:
            after: only runs with a higher number; the ledger's next run has the highest.
            limit: how many at most.
            session_id: only this session's; None = any session's.
        """
        query, *parameters = self._lacking("run", "number")
        if session_id is not None:
            query, parameters = f"{query} AND session_id = ?", [*parameters, to_column(session_id)]
        found = self._ledger.execute(
            f"{query} AND number > ? ORDER BY number LIMIT ?", *parameters, after, limit
        )
        return [(number, self.run(number)) for (number,) in found]

    def run(self, number: int) -> RunRecord:
        """Return the run of that number, which must exist."""
        return self._ledger.fetch_runs("SELECT record FROM runs WHERE number = ?", number)[0]

    def endings(self) -> list[SessionEnding]:
        """Return the endings of sessions that the target lacks, oldest first."""
        return self._undelivered(SessionEnding, "ending")

    def applies(self) -> list[ApplyRecord]:
        """Return the applied sheets that the target lacks, oldest first."""
        return self._undelivered(ApplyRecord, "apply")

    def judgements_of(self, apply: ApplyRecord) -> list[Judgement]:
        """Return the judgements that an applied sheet gave."""
        return self._ledger.fetch(
            Judgement,
            """
            SELECT judgements.record FROM applies, json_each(judgement_ids)
            JOIN judgements ON judgement_id = value WHERE apply_id = ? ORDER BY judgements.number
            """,
            to_column(apply.apply_id),
        )

    def count(self) -> int:
        """Return how many records the target lacks: sessions, runs, sheets, endings and scores."""
        due = "SELECT 1 FROM score_deliveries WHERE target = ? AND due = 1"
        queries = [(due, self._target), *(self._lacking(kind, "1") for kind in _TABLES)]
        return sum(len(self._ledger.execute(*query)) for query in queries)

    def refusals(self) -> list[str]:
        """Return why the target did not take what it still lacks: each reason once."""
        rows = self._ledger.execute(
            """
            SELECT refused FROM deliveries WHERE target = ? AND NOT delivered AND refused NOTNULL
            UNION SELECT refused FROM score_deliveries
            WHERE target = ? AND due = 1 AND refused NOTNULL ORDER BY 1
            """,
            *(self._target, self._target),
        )
        return [from_column(reason) for (reason,) in rows]

    def _undelivered(self, record_type: type[RecordType], kind: Kind) -> list[RecordType]:
        query, *parameters = self._lacking(kind)
        return self._ledger.fetch(record_type, f"{query} ORDER BY rowid", *parameters)

    def _lacking(self, kind: Kind, column: str = "record") -> tuple[str, str, str]:
        table, name = _TABLES[kind]
        # Every name in it is one of the module's own.
        query = f"""
            SELECT {column} FROM {table} WHERE NOT EXISTS (
                SELECT 1 FROM deliveries AS d
                WHERE d.kind = ? AND d.record_id = {table}.{name} AND d.target = ? AND d.delivered
            )
            """  # noqa: S608
        return query, kind, self._target

    # --- what becomes of it -------------------------------------------------------------------

    def delivered(self, kind: Kind, record_id: str) -> Delivered | None:
        """Return what is known of a record over there; None where it is not known to be there."""
        rows = self._ledger.execute(
            "SELECT tracking_id FROM deliveries"
            " WHERE kind = ? AND record_id = ? AND target = ? AND delivered",
            *(kind, to_column(record_id), self._target),
        )
        if not rows:
            return None
        (tracking_id,) = rows[0]
        return Delivered(None if tracking_id is None else from_column(tracking_id))

    def begin(self, kind: Kind, record_id: str) -> bool:
        """Note that the record is about to be sent; return whether it may exist over there.

        It may after an earlier attempt that was not seen to succeed, and where another target has
        it or may have it: two names of one server are two targets.
        """
        with self._ledger.transaction():
            seen = self._ledger.execute(
                "SELECT 1 FROM deliveries WHERE kind = ? AND record_id = ? LIMIT 1",
                *(kind, to_column(record_id)),
            )
            self._ledger.execute(
                "INSERT INTO deliveries (kind, record_id, target) VALUES (?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                *(kind, to_column(record_id), self._target),
            )
        return bool(seen)

    def succeed(self, kind: Kind, record_id: str, tracking_id: str) -> None:
        """Note that the target has taken the record; a run's scores are due from then on."""
        with self._ledger.transaction():
            self.found(kind, record_id, tracking_id)
            if kind == "run":
                self.expect_scores(record_id, due=True, pulled=False)

    def found(self, kind: Kind, record_id: str, tracking_id: str | None) -> None:
        """Note that the target has the record; None = under an id that is not known here."""
        self._ledger.execute(
            """
            INSERT INTO deliveries (kind, record_id, target, delivered, tracking_id)
            VALUES (?, ?, ?, 1, ?) ON CONFLICT (kind, record_id, target) DO UPDATE SET
            delivered = 1, tracking_id = coalesce(excluded.tracking_id, tracking_id),
            refused = NULL
            """,
            *(kind, to_column(record_id), self._target),
            None if tracking_id is None else to_column(tracking_id),
        )

    def refuse(self, kind: Kind, record_id: str, reason: str) -> None:
        """Note why the target did not take the record; it stays undelivered."""
        self._ledger.execute(
            "UPDATE deliveries SET refused = ? WHERE kind = ? AND record_id = ? AND target = ?",
            *(to_column(reason), kind, to_column(record_id), self._target),
        )

    def forget(self) -> None:
        """Hold nothing for delivered any more, e.g. after the server's database was deleted.

        Everything is then delivered anew, looked up before it is made, and pulled anew.
        """
        with self._ledger.transaction():
            self._ledger.execute(
                "UPDATE deliveries SET delivered = 0, tracking_id = NULL WHERE target = ?",
                self._target,
            )
            self._ledger.execute("DELETE FROM score_deliveries WHERE target = ?", self._target)
            self._ledger.execute("DELETE FROM pulls WHERE target = ?", self._target)

    # --- scores -------------------------------------------------------------------------------

    def expect_scores(self, run_id: str, *, due: bool, pulled: bool) -> None:
        """Follow a delivered run's scores from now on; changes nothing where they are already.

        Args:
            run_id: the run's.
            due: the target may lack them.
            pulled: the run is another ledger's, which brings its first scores itself.
        """
        self._ledger.execute(
            "INSERT INTO score_deliveries (target, run_id, due, pulled) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            *(self._target, to_column(run_id), due, pulled),
        )

    def settle_scores(self, rubric_sha256: str, *, pulled: bool = False) -> None:
        """Mark as due what new judgements, or another rubric than the last time, may change.

        Args:
            rubric_sha256: of the rubric in force.
            pulled: the new judgements came by a pull. The ledger that they were given to brings
                them to the runs; this one only to those that it has given scores as well, so that
                of two judges' words none is lost, whichever of them writes last.
        """
        with self._ledger.transaction():
            rows = self._ledger.execute(
                "SELECT rubric_sha256, judgement_number FROM score_cursors WHERE target = ?",
                self._target,
            )
            settled_rubric, settled_number = rows[0] if rows else (None, 0)
            newest_number = self._newest_judgement()
            if settled_rubric != to_column(rubric_sha256):
                self._ledger.execute(
                    "UPDATE score_deliveries SET due = 1"
                    " WHERE target = ? AND NOT (pulled AND scores_sha256 ISNULL)",
                    self._target,
                )
            elif newest_number == settled_number:
                return
            self._ledger.execute(
                """
                UPDATE score_deliveries SET due = 1
                WHERE target = ? AND (scores_sha256 NOTNULL OR NOT ?) AND run_id IN (
                    SELECT run_id FROM runs WHERE scenario_sha256 IN (
                        SELECT scenario_sha256 FROM judgements WHERE number > ?
                    )
                )
                """,
                *(self._target, pulled, settled_number),
            )
            self._ledger.execute(
                "INSERT OR REPLACE INTO score_cursors (target, rubric_sha256, judgement_number)"
                " VALUES (?, ?, ?)",
                *(self._target, to_column(rubric_sha256), newest_number),
            )

    def _newest_judgement(self) -> int:
        ((number,),) = self._ledger.execute("SELECT coalesce(max(number), 0) FROM judgements")
        return int(number)

    def due_scores(self, *, after: int, limit: int) -> list[DueScores]:
        """Return runs whose scores are due, in the order of their numbers, from ``after`` on."""
        rows = self._ledger.execute(
            """
            SELECT number, run_id, tracking_id, scores_sha256, pending
            FROM score_deliveries AS s JOIN runs USING (run_id) JOIN deliveries AS d
                ON d.kind = 'run' AND d.record_id = run_id AND d.target = s.target
            WHERE s.target = ? AND s.due = 1 AND number > ? ORDER BY number LIMIT ?
            """,
            *(self._target, after, limit),
        )
        return [
            DueScores(number, from_column(run_id), from_column(tracking_id), sha256, bool(pending))
            for number, run_id, tracking_id, sha256, pending in rows
        ]

    def succeed_scores(self, run_id: str, scores_sha256: str | None, *, pending: bool) -> None:
        """Note which scores the target has now (None = none); they are no longer due."""
        self._ledger.execute(
            "UPDATE score_deliveries SET due = 0, scores_sha256 = ?, pending = ?, refused = NULL"
            " WHERE target = ? AND run_id = ?",
            *(scores_sha256, pending, self._target, to_column(run_id)),
        )

    def refuse_scores(self, run_id: str, reason: str) -> None:
        """Note why the target did not take a run's scores; they stay due."""
        self._ledger.execute(
            "UPDATE score_deliveries SET refused = ? WHERE target = ? AND run_id = ?",
            *(to_column(reason), self._target, to_column(run_id)),
        )
