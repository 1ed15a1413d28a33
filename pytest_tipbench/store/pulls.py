"""Owns how what others put into a tracking server comes into the ledger; imports no server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pytest_tipbench.store.deliveries import Deliveries
from pytest_tipbench.store.ledger_rows import (
    columns,
    from_column,
    microseconds,
    moment_of,
    sheet_of,
    tip_sha256,
    to_column,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pytest_tipbench.judgement_records import ApplyRecord
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.store.base import Pulled
    from pytest_tipbench.store.ledger import Ledger

_CHUNK = 1000
"""Records in one transaction: another process's cell waits for no longer than that takes."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class PullReport:
    """What a pull brought that the ledger did not have."""

    runs: int = 0
    judgements: int = 0
    applies: int = 0
    sessions: int = 0
    unreadable: tuple[str, ...] = ()
    """One line for each run over there that bears our marks and could not be read."""


class Pulls:
    """One ledger's pulls from one target.

    A pulled record is one that the target has: it is never made there again.
    """

    def __init__(self, ledger: Ledger, target: str) -> None:
        self._ledger = ledger
        self._target = to_column(target)
        self._deliveries = Deliveries(ledger, target)

    def cursor(self, experiment: str) -> str | None:
        """Return where the next pull begins; None = at the beginning."""
        rows = self._ledger.execute(
            "SELECT cursor FROM pulls WHERE target = ? AND experiment = ?",
            *(self._target, to_column(experiment)),
        )
        return from_column(rows[0][0]) if rows else None

    def pulled_at(self, experiment: str) -> datetime | None:
        """Return when the experiment was last pulled, in UTC; None = never."""
        rows = self._ledger.execute(
            "SELECT pulled_at FROM pulls WHERE target = ? AND experiment = ?",
            *(self._target, to_column(experiment)),
        )
        return moment_of(rows[0][0]) if rows else None

    def merge(
        self, experiment: str, pulled: Pulled, *, rubric_sha256: str, now: datetime
    ) -> PullReport:
        """Keep what was pulled; the cursor moves last, so that a broken-off merge is done again.

        Args:
            experiment: the one that was pulled.
            pulled: what came.
            rubric_sha256: of the rubric in force.
            now: the time of the pull.
        """
        sessions = runs = judgements = applies = 0
        with self._ledger.transaction() as rows:
            for session in pulled.sessions:
                sessions += rows.insert_session(session)
                self._deliveries.found("session", session.session_id, None)
        # Before the judgements, so that those this ledger had already can be told from theirs.
        for some_runs in _chunks(pulled.runs):
            with self._ledger.transaction() as rows:
                for record in some_runs:
                    is_new = rows.insert_run(record)
                    runs += is_new
                    tracking_id = pulled.tracking_run_ids.get(record.run_id)
                    self._found(record, tracking_id, is_new=is_new)
        for some_judgements in _chunks(pulled.judgements):
            with self._ledger.transaction(durable=True) as rows:
                self._deliveries.settle_scores(rubric_sha256)
                judgements += sum([rows.insert_judgement(each) for each in some_judgements])
                self._deliveries.settle_scores(rubric_sha256, pulled=True)
        with self._ledger.transaction() as rows:
            for apply in pulled.applies:
                applies += rows.insert_apply(apply, self._judgement_ids(apply))
                self._deliveries.found("apply", apply.apply_id, None)
            self._ledger.execute(
                "INSERT OR REPLACE INTO pulls (target, experiment, cursor, pulled_at)"
                " VALUES (?, ?, ?, ?)",
                *(self._target, to_column(experiment), to_column(pulled.cursor), microseconds(now)),
            )
        return PullReport(runs, judgements, applies, sessions, pulled.unreadable)

    def _found(self, record: RunRecord, tracking_id: str | None, *, is_new: bool) -> None:
        """Note that a run is over there, and whether this ledger knows of scores it lacks."""
        if tracking_id is not None:
            is_due = not is_new or self._is_judged(record)
            self._deliveries.expect_scores(record.run_id, due=is_due, pulled=is_new)
        self._deliveries.found("run", record.run_id, tracking_id)

    def _is_judged(self, record: RunRecord) -> bool:
        return bool(
            self._ledger.execute(
                "SELECT 1 FROM judgements"
                " WHERE tip_sha256 IN (SELECT value FROM json_each(?)) LIMIT 1",
                columns(tip_sha256(record.scenario_sha256, tip) for tip in record.tips),
            )
        )

    def _judgement_ids(self, apply: ApplyRecord) -> list[str]:
        rows = self._ledger.execute(
            "SELECT judgement_id FROM judgements WHERE sheet = ? ORDER BY number",
            sheet_of(apply.sheet_nonce, apply.judge),
        )
        return [from_column(judgement_id) for (judgement_id,) in rows]


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
