"""Owns the records that the store's tests share, and a tracking server that fails on demand."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, TypeVar

from pytest_tipbench.judgement_records import ApplyRecord, Criterion, Judgement, Rubric, TipKey
from pytest_tipbench.records import (
    Cell,
    Completion,
    ModelDescription,
    ModelReference,
    Outcome,
    Persona,
    RenderedPrompt,
    RunRecord,
    SamplingOptions,
    Scenario,
    SessionRecord,
    Task,
    TimeSlot,
    sha256_of,
)
from pytest_tipbench.store.base import Pulled, RunScores
from pytest_tipbench.store.ledger import Ledger
from pytest_tipbench.store.ledger_schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

EXPERIMENT = "tip-bench"
START = datetime(2026, 11, 2, 9, 0, tzinfo=timezone.utc)

RUBRIC = Rubric(
    version="tip-v1",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(
        Criterion(name="relevance", weight=2),
        Criterion(name="actionability", weight=2),
        Criterion(name="tone", weight=1),
    ),
    text="What each score means.",
)

Item = TypeVar("Item")


def minutes(count: float) -> datetime:
    """Return the moment so many minutes after the start of all samples."""
    return START + timedelta(minutes=count)


def scenario(scenario_id: str = "monday") -> Scenario:
    return Scenario(
        id=scenario_id,
        persona=Persona(id="zoe", name="Zoë", description="A nurse on early shifts"),
        time_slot=TimeSlot(id="morning", label="Morning", local_time="06:30"),
        tasks=(Task(title="Call the bank", due="16:00", minutes=10, energy="low"),),
    )


def session(session_id: str = "s1", *, experiment: str = EXPERIMENT) -> SessionRecord:
    return SessionRecord(
        session_id=session_id,
        experiment=experiment,
        started_at=START,
        tipbench_version="0.1.0",
        environment={"python": "3.11"},
    )


def run(
    number: int = 1,
    *,
    session_id: str = "s1",
    experiment: str = EXPERIMENT,
    model: str = "qwen2.5:0.5b",
    prompt_version: str = "v1",
    scenario_id: str = "monday",
    fingerprint: str | None = None,
    outcome: Outcome = Outcome.OK,
    tips: tuple[str, ...] | None = None,
    n_tips: int = 2,
    finished_at: datetime | None = None,
    completion_text: str = "[]",
    error: str | None = None,
) -> RunRecord:
    """Return a run; without tips of its own it has two that no other number has."""
    reference = ModelReference(text=model, provider="ollama", name=model)
    if tips is None:
        tips = (f"Tip A of {number}", f"Tip B of {number}") if outcome.is_usable else ()
    given = scenario(scenario_id)
    return RunRecord(
        run_id=f"{number:032x}",
        session_id=session_id,
        experiment=experiment,
        tipbench_version="0.1.0",
        cell=Cell(
            model=reference,
            prompt_version=prompt_version,
            scenario=scenario_id,
            repeat=1,
            repeats=1,
        ),
        fingerprint=fingerprint or sha256_of(number),
        configuration_sha256="c" * 64,
        model=ModelDescription(
            reference=reference, digest="d" * 64, parameter_count=494_032_768, local=True
        ),
        scenario=given,
        scenario_sha256=given.sha256,
        prompt_sha256="e" * 64,
        rubric_version=RUBRIC.version,
        rubric_sha256=RUBRIC.sha256,
        n_tips=n_tips,
        seed=20260427,
        sampling=SamplingOptions(),
        residency="call",
        prompt=RenderedPrompt(system="You are kind.", user="Give two tips."),
        outcome=outcome,
        error=error,
        tips=tips,
        completion=None
        if outcome.is_machine_fault
        else Completion(text=completion_text, latency_seconds=1.5, load_seconds=0.25),
        started_at=finished_at or minutes(number),
        finished_at=finished_at or minutes(number),
    )


def judgement(
    tip: str,
    scores: tuple[int, ...] = (4, 3, 5),
    *,
    judge: str = "ann",
    scenario_id: str = "monday",
    rubric: Rubric = RUBRIC,
    judged_at: datetime = START,
    nonce: str = "sheet-1",
    note: str = "",
) -> Judgement:
    return Judgement(
        judgement_id=sha256_of([tip, list(scores), judge, scenario_id, rubric.sha256, nonce]),
        key=TipKey(
            rubric_sha256=rubric.sha256, scenario_sha256=scenario(scenario_id).sha256, tip=tip
        ),
        judge=judge,
        scores=dict(zip(rubric.criterion_names, scores, strict=True)),
        note=note,
        judged_at=judged_at,
        sheet_nonce=nonce,
    )


def applied(
    judgements: Sequence[Judgement],
    *,
    judge: str = "ann",
    nonce: str = "sheet-1",
    experiment: str = EXPERIMENT,
    applied_at: datetime = START,
) -> ApplyRecord:
    return ApplyRecord(
        apply_id=sha256_of([nonce, judge, sorted(each.judgement_id for each in judgements)]),
        experiment=experiment,
        sheet_nonce=nonce,
        judge=judge,
        rubric_version=RUBRIC.version,
        rubric_sha256=RUBRIC.sha256,
        applied_at=applied_at,
        judgements=len(judgements),
        anchors_scored=0,
    )


def memory_ledger(path: Path) -> Ledger:
    """Return a ledger that is written in memory: the same statements, without the disk."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    migrate(connection)
    return Ledger(path, connection, read_only=False)


# --- a tracking server --------------------------------------------------------------------------


class KilledError(BaseException):
    """The process is gone: nothing of ours may catch this."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a call, before or after the server has done it."""

    when: Literal["before", "after"]
    error: BaseException


@dataclass
class Server:
    """What a tracking server holds, as lists, so that what was made twice is there twice."""

    sessions: list[SessionRecord] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    parents: list[str | None] = field(default_factory=list)
    """Of each run in ``runs``."""
    makers: list[SessionRecord | None] = field(default_factory=list)
    """The session that made each run in ``runs``, as far as it was told."""
    scores: dict[str, list[RunScores]] = field(default_factory=dict)
    """By tracking id, in the order of arrival."""
    applies: list[ApplyRecord] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    boards: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    """Every call by its name and the record's id, failed ones included."""
    fault: Callable[[str], Fault | None] = lambda _call: None
    """Asked for every call, by its name."""

    def open(self) -> TrackingDouble:
        return TrackingDouble(self)

    def latest_scores(self, record: RunRecord) -> RunScores | None:
        given = self.scores.get(f"run-{record.run_id}")
        return given[-1] if given else None


class TrackingDouble:
    """A ``TrackingStore`` over a :class:`Server`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.is_closed = False

    def check(self) -> str:
        return self._call("check", "", lambda: "double")

    def runs_page(self, experiment: str) -> str:
        return self._call("runs_page", "", lambda: f"http://double/{experiment}")

    def put_session(self, session: SessionRecord, *, may_exist: bool) -> str:
        def put() -> str:
            if not (may_exist and session in self._server.sessions):
                self._server.sessions.append(session)
            return f"session-{session.session_id}"

        return self._call("put_session", session.session_id, put)

    def finish_session(
        self, tracking_run_id: str, board_text: str, metrics: Mapping[str, float], *, failed: bool
    ) -> None:
        def put() -> None:
            self._server.boards[tracking_run_id] = f"{board_text} {dict(metrics)} {failed}"

        self._call("finish_session", tracking_run_id, put)

    def put_run(
        self,
        record: RunRecord,
        parent: str | None,
        *,
        session: SessionRecord | None = None,
        may_exist: bool,
    ) -> str:
        def put() -> str:
            if not (may_exist and record in self._server.runs):
                self._server.runs.append(record)
                self._server.parents.append(parent)
                self._server.makers.append(session)
            return f"run-{record.run_id}"

        return self._call("put_run", record.run_id, put)

    def put_scores(self, tracking_run_id: str, scores: RunScores) -> None:
        def put() -> None:
            assert tracking_run_id == f"run-{scores.run_id}"
            assert any(record.run_id == scores.run_id for record in self._server.runs)
            self._server.scores.setdefault(tracking_run_id, []).append(scores)

        self._call("put_scores", scores.run_id, put)

    def put_apply(
        self, apply: ApplyRecord, judgements: Sequence[Judgement], *, may_exist: bool
    ) -> str:
        def put() -> str:
            if not (may_exist and apply in self._server.applies):
                self._server.applies.append(apply)
                self._server.judgements.extend(judgements)
            return f"apply-{apply.apply_id}"

        return self._call("put_apply", apply.apply_id, put)

    def pull(self, experiment: str, cursor: str | None) -> Pulled:
        def read() -> Pulled:
            sessions, runs, applies, judgements = map(int, (cursor or "0 0 0 0").split())
            new_runs = self._server.runs[runs:]
            return Pulled(
                cursor=" ".join(
                    str(len(kept))
                    for kept in (
                        self._server.sessions,
                        self._server.runs,
                        self._server.applies,
                        self._server.judgements,
                    )
                ),
                sessions=tuple(self._server.sessions[sessions:]),
                runs=tuple(new_runs),
                tracking_run_ids={each.run_id: f"run-{each.run_id}" for each in new_runs},
                applies=tuple(self._server.applies[applies:]),
                judgements=tuple(self._server.judgements[judgements:]),
            )

        return self._call("pull", experiment, read)

    def close(self) -> None:
        self.is_closed = True

    def _call(self, name: str, record_id: str, act: Callable[[], Item]) -> Item:
        assert not self.is_closed
        self._server.calls.append(f"{name} {record_id}".strip())
        fault = self._server.fault(name)
        if fault is not None and fault.when == "before":
            raise fault.error
        result = act()
        if fault is not None:
            raise fault.error
        return result
