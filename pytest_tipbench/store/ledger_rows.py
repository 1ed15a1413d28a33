"""Owns the way of a record into the ledger's tables and back; imports records and errors only."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pytest_tipbench.errors import LedgerError
from pytest_tipbench.records import (
    ModelDescription,
    Record,
    RecordType,
    RenderedPrompt,
    RunRecord,
    SamplingOptions,
    Scenario,
    SessionRecord,
    from_json,
    jsonable,
    sha256_of,
    to_json,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from pytest_tipbench.judgement_records import ApplyRecord, Judgement

_PARTS: dict[str, type[Record]] = {
    "scenario": Scenario,
    "prompt": RenderedPrompt,
    "model": ModelDescription,
    "sampling": SamplingOptions,
}
"""Fields of a run that many runs share: kept once, and one object in memory."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def to_column(text: str) -> str:
    """Return any text, NUL and lone surrogates too, as the ASCII that its column holds."""
    return json.dumps(text)[1:-1]


def from_column(column: str) -> str:
    """Read back what :func:`to_column` made."""
    return str(json.loads(f'"{column}"'))


def columns(texts: Iterable[str]) -> str:
    """Return texts as the JSON list of columns that ``json_each`` takes."""
    return json.dumps([to_column(text) for text in texts])


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970; a moment without a zone is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds_since_epoch: int) -> datetime:
    """Read back what :func:`microseconds` made, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds_since_epoch)


def tip_sha256(scenario_sha256: str, tip: str) -> str:
    """Return a tip's identity under any rubric, as the column of a judgement."""
    return sha256_of([scenario_sha256, tip])


def sheet_of(nonce: str, judge: str) -> str:
    """Return the identity of one judge's sheet, as the column of a judgement."""
    return sha256_of([nonce, judge])


class Rows:
    """Writes records into rows, each once by its id, and reads them back.

    It remembers the parts that it has read, so that runs which share a scenario share the object.
    It is as safe between threads as its connection's lock makes it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._parts: dict[str, Record] = {}

    def insert_session(self, session: SessionRecord) -> bool:
        """Keep a session; return False where its id was there already."""
        return self._insert(
            "sessions",
            session_id=to_column(session.session_id),
            experiment=to_column(session.experiment),
            started_at=microseconds(session.started_at),
            record=to_json(session),
        )

    def insert_run(self, record: RunRecord) -> bool:
        """Keep a run; return False where its id was there already."""
        values: dict[str, Any] = jsonable(record)
        for name in _PARTS:
            if values[name] is not None:
                values[name] = self._insert_part(values[name])
        return self._insert(
            "runs",
            run_id=to_column(record.run_id),
            session_id=to_column(record.session_id),
            experiment=to_column(record.experiment),
            fingerprint=to_column(record.fingerprint),
            cell=to_column(record.cell.id),
            model=to_column(record.cell.model.text),
            prompt_version=to_column(record.cell.prompt_version),
            scenario=to_column(record.cell.scenario),
            scenario_sha256=to_column(record.scenario_sha256),
            outcome=record.outcome.value,
            measured=record.is_measured,
            finished_at=microseconds(record.finished_at),
            record=_json(values),
        )

    def insert_judgement(self, judgement: Judgement) -> bool:
        """Keep a judgement; return False where its id was there already."""
        return self._insert(
            "judgements",
            judgement_id=to_column(judgement.judgement_id),
            rubric_sha256=to_column(judgement.key.rubric_sha256),
            scenario_sha256=to_column(judgement.key.scenario_sha256),
            tip_sha256=tip_sha256(judgement.key.scenario_sha256, judgement.key.tip),
            sheet=sheet_of(judgement.sheet_nonce, judgement.judge),
            judged_at=microseconds(judgement.judged_at),
            record=to_json(judgement),
        )

    def insert_apply(self, apply: ApplyRecord, judgement_ids: Iterable[str]) -> bool:
        """Keep an applied sheet and which judgements it gave; False where it was there already."""
        return self._insert(
            "applies",
            apply_id=to_column(apply.apply_id),
            experiment=to_column(apply.experiment),
            applied_at=microseconds(apply.applied_at),
            judgement_ids=columns(judgement_ids),
            record=to_json(apply),
        )

    def run(self, text: str) -> RunRecord:
        """Return the run that :meth:`insert_run` kept.

        Raises:
            LedgerError: the row is not one.
        """
        try:
            values = json.loads(text)
            for name, part_type in _PARTS.items():
                if values[name] is not None:
                    values[name] = self._part(part_type, values[name])
            return RunRecord.model_validate(values)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable("run", text, error) from error

    def record(self, record_type: type[RecordType], text: str) -> RecordType:
        """Return any other record.

        Raises:
            LedgerError: the row is not one.
        """
        try:
            return from_json(record_type, text)
        except ValueError as error:
            raise _unreadable(record_type.__name__, text, error) from error

    def _insert(self, table: str, **values: object) -> bool:
        names, places = ", ".join(values), ", ".join("?" * len(values))
        cursor = self._connection.execute(
            # Table and columns are named here, never by data.
            f"INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT DO NOTHING",  # noqa: S608
            tuple(values.values()),
        )
        return cursor.rowcount == 1

    def _insert_part(self, values: object) -> str:
        text = _json(values)
        sha256 = hashlib.sha256(text.encode("ascii")).hexdigest()
        self._insert("parts", sha256=sha256, record=text)
        return sha256

    def _part(self, part_type: type[Record], sha256: str) -> Record:
        part = self._parts.get(sha256)
        if not isinstance(part, part_type):
            (text,) = self._connection.execute(
                "SELECT record FROM parts WHERE sha256 = ?", (sha256,)
            ).fetchone()
            part = self._parts[sha256] = from_json(part_type, text)
        return part


def _json(values: object) -> str:
    return json.dumps(values, separators=(",", ":"))


def _unreadable(what: str, text: str, error: Exception) -> LedgerError:
    reason = " ".join(str(error).split())
    return LedgerError(f"a {what} of the ledger cannot be read: {reason} (in {text[:120]}…)")
