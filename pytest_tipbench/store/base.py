"""Owns the protocol of a tracking store beside the ledger; imports records only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pydantic import Field

from pytest_tipbench.judgement_records import ApplyRecord, Judgement
from pytest_tipbench.records import Record, RunRecord, SessionRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RunScores(Record):
    """The scores of one run as they are now, over all its judges."""

    run_id: str
    metrics: dict[str, float]
    """Mean of each criterion over the run's tips (missing ones counted), and ``composite``."""
    judge_pending: bool
    judges: tuple[str, ...]
    rubric_version: str
    rubric_sha256: str
    judgements: tuple[Judgement, ...]
    """Every judge's judgement of every tip of the run: the run's ``scores.json``."""


class Pulled(Record):
    """What a tracking store holds that was written since a cursor."""

    cursor: str
    """Opaque; hand it back to the next pull."""
    runs: tuple[RunRecord, ...] = ()
    tracking_run_ids: dict[str, str] = Field(default_factory=dict)
    """Run id → the store's own id, for each run in ``runs``."""
    judgements: tuple[Judgement, ...] = ()
    applies: tuple[ApplyRecord, ...] = ()
    sessions: tuple[SessionRecord, ...] = ()
    unreadable: tuple[str, ...] = ()
    """One line for each of the store's runs that bears our marks and could not be read."""


class TrackingStore(Protocol):
    """A server that keeps runs for others to see; every write may be repeated and counts once.

    All methods raise ``TrackingUnreachableError`` (come back later) or ``TrackingRefusedError``
    (a human has to mend something), never a third party's exception. Each ``put_`` returns the
    store's own id. ``may_exist`` says that an earlier attempt could have been applied, so that the
    store looks the record up by its id before it makes it again.
    """

    def check(self) -> str:
        """Prove that the server is usable; return its version."""
        ...

    def runs_page(self, experiment: str) -> str:
        """Return the address at which a person sees the experiment's runs."""
        ...

    def put_session(self, session: SessionRecord, *, may_exist: bool) -> str:
        """Make the parent run of a session's cells."""
        ...

    def finish_session(
        self, tracking_run_id: str, board_text: str, metrics: Mapping[str, float], *, failed: bool
    ) -> None:
        """Attach the board to the parent run and end it."""
        ...

    def put_run(
        self,
        record: RunRecord,
        parent: str | None,
        *,
        session: SessionRecord | None = None,
        may_exist: bool,
    ) -> str:
        """Make a cell's run, whole and finished; it bears the git commit of its ``session``."""
        ...

    def put_scores(self, tracking_run_id: str, scores: RunScores) -> None:
        """Write the scores as they are now onto a cell's run."""
        ...

    def put_apply(
        self, apply: ApplyRecord, judgements: Sequence[Judgement], *, may_exist: bool
    ) -> str:
        """Make the judging run of one applied sheet (``tipbench.kind`` = ``judging``)."""
        ...

    def pull(self, experiment: str, cursor: str | None) -> Pulled:
        """Read what was written since ``cursor`` (None = from the beginning)."""
        ...

    def close(self) -> None:
        """Close connections; may be called twice."""
        ...
