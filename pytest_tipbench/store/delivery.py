"""Owns one pass of delivering: all that a tracking store lacks, in order, each record once.

Imports the ledger's side and the store's protocol; knows no threads and no server.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from pytest_tipbench.errors import LedgerError, TrackingRefusedError, TrackingUnreachableError
from pytest_tipbench.records import jsonable, sha256_of
from pytest_tipbench.store.deliveries import Deliveries
from pytest_tipbench.store.scores import run_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_tipbench.judgement_records import Rubric
    from pytest_tipbench.records import RunRecord, SessionRecord
    from pytest_tipbench.store.base import TrackingStore
    from pytest_tipbench.store.deliveries import DueScores, Kind
    from pytest_tipbench.store.ledger import Ledger, SessionEnding

_Key: TypeAlias = tuple[Literal["session", "run", "scores", "ending", "apply"], str]
"""What a record is, and its id."""

_BATCH = 20
"""Records in memory at once, and how often the current session's are looked for in a backlog."""
_FAILURES_IN_A_ROW = 3
"""So many records that fail while the server answers are the server's trouble, not theirs."""


class DeliveryStoppedError(Exception):
    """The pass was asked to end before it was through."""


class Delivery:
    """Brings one tracking store up to date with the ledger, pass by pass.

    Of each session the parent run comes before its cells, a run before its scores, both before the
    parent run's end; an applied sheet comes last, so that whoever pulls its judgements finds them
    on the runs already. The current session goes before what earlier ones left.

    A record is marked before it is sent and after it was taken. After a process was
    killed in between, the next pass looks it up before making it again. No two passes may run at
    once, in whatever process.
    """

    def __init__(
        self,
        ledger: Ledger,
        target: str,
        rubric: Rubric,
        *,
        session_id: str | None = None,
        on_progress: Callable[[], None] = lambda: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make the delivery of a ledger to a target.

        Args:
            ledger: open for writing.
            target: the server's identity, see ``tracking_target``.
            rubric: the one in force; runs are delivered with their scores under it.
            session_id: the current session's, None where none generates.
            on_progress: called after every record that the store has taken.
            should_stop: asked before every record.
        """
        self.refused: dict[_Key, str] = {}
        """(kind, id) of what the store refused, with its reason; not tried again by this object."""
        self._ledger = ledger
        self._deliveries = Deliveries(ledger, target)
        self._rubric = rubric
        self._rubric_sha256 = rubric.sha256
        self._session_id = session_id
        self._on_progress = on_progress
        self._should_stop = should_stop
        self._put_off: dict[_Key, str] = {}
        self._failures_in_a_row = 0
        self._after: dict[str | None, int] = {}

    def run(self, store: TrackingStore) -> None:
        """Deliver everything that the store lacks.

        A record that the store refuses while it takes others is noted in ``refused``, and the rest
        goes on.

        Raises:
            TrackingUnreachableError: it does not answer (or not to some record, when all others are
                through); call again later.
            TrackingRefusedError: it refuses everything, e.g. the credentials.
            LedgerError: the ledger cannot be read or written.
            DeliveryStoppedError: ``should_stop`` said so.
        """
        if self._put_off:
            self._put_off.clear()
            self._after.clear()
        self._failures_in_a_row = 0
        for session in self._deliveries.sessions():
            self._put_session(store, session)
        while self._put_some_runs(store):
            pass
        self._put_all_scores(store)
        for ending in self._deliveries.endings():
            self._put_ending(store, ending)
        for apply in self._deliveries.applies():
            judgements = self._deliveries.judgements_of(apply)
            self._put(store, "apply", apply.apply_id, partial(store.put_apply, apply, judgements))
        if self._put_off:
            raise TrackingUnreachableError(next(iter(self._put_off.values())))

    # --- one kind each ------------------------------------------------------------------------

    def _put_session(self, store: TrackingStore, session: SessionRecord) -> bool:
        return self._put(store, "session", session.session_id, partial(store.put_session, session))

    def _put_some_runs(self, store: TrackingStore) -> bool:
        """Deliver the next few runs, the current session's first; return False with none left."""
        for session_id in dict.fromkeys((self._session_id, None)):
            after = self._after.get(session_id, 0)
            runs = self._deliveries.runs(after=after, limit=_BATCH, session_id=session_id)
            for number, record in runs:
                self._put_run(store, record)
                self._after[session_id] = number
            if runs:
                return True
        return False

    def _put_run(self, store: TrackingStore, record: RunRecord) -> None:
        if self._has_parent(store, ("run", record.run_id), record.session_id):
            parent = self._parent(record.session_id)
            session = self._deliveries.session(record.session_id)
            put = partial(store.put_run, record, parent, session=session)
            self._put(store, "run", record.run_id, put)

    def _put_ending(self, store: TrackingStore, ending: SessionEnding) -> None:
        def finish(parent: str, *, may_exist: bool) -> str:  # noqa: ARG001 - may be repeated anyway
            store.finish_session(parent, ending.board_text, ending.metrics, failed=ending.failed)
            return parent

        if self._has_parent(store, ("ending", ending.session_id), ending.session_id):
            parent = self._parent(ending.session_id)
            if parent is not None:
                self._put(store, "ending", ending.session_id, partial(finish, parent))

    def _put_all_scores(self, store: TrackingStore) -> None:
        self._deliveries.settle_scores(self._rubric_sha256)
        after = 0
        while batch := self._deliveries.due_scores(after=after, limit=_BATCH):
            for due in batch:
                self._attempt(store, ("scores", due.run_id), partial(self._put_scores, store, due))
                after = due.number

    def _put_scores(self, store: TrackingStore, due: DueScores) -> None:
        record = self._deliveries.run(due.number)
        judgements = self._ledger.judgements_of(record, self._rubric_sha256)
        scores = run_scores(record, judgements, self._rubric)
        sha256, pending = due.scores_sha256, due.pending
        # Whole scores, be they of an older rubric, stand until whole ones replace them.
        if scores is not None and (pending or not scores.judge_pending):
            sha256 = sha256_of(jsonable(scores))
            if sha256 != due.scores_sha256:
                store.put_scores(due.tracking_id, scores)
                self._on_progress()
            pending = scores.judge_pending
        self._deliveries.succeed_scores(due.run_id, sha256, pending=pending)

    # --- parents ------------------------------------------------------------------------------

    def _parent(self, session_id: str) -> str | None:
        delivered = self._deliveries.delivered("session", session_id)
        return delivered.tracking_id if delivered else None

    def _has_parent(self, store: TrackingStore, key: _Key, session_id: str) -> bool:
        """See to a session's parent run; where it cannot be made, hold the record back."""
        session = self._deliveries.session(session_id)
        if session is None or self._parent(session_id) is not None:
            return True
        if self._put_session(store, session):
            return True
        parent_key: _Key = ("session", session_id)
        held = self.refused if parent_key in self.refused else self._put_off
        held[key] = held[parent_key]
        return False

    # --- one record ---------------------------------------------------------------------------

    def _put(
        self, store: TrackingStore, kind: Kind, record_id: str, put: Callable[..., str]
    ) -> bool:
        """Make a record over there; return False where it was refused or put off."""

        def act() -> None:
            may_exist = self._deliveries.begin(kind, record_id)
            tracking_id = put(may_exist=may_exist)
            self._deliveries.succeed(kind, record_id, tracking_id)
            self._on_progress()

        return self._attempt(store, (kind, record_id), act)

    def _attempt(self, store: TrackingStore, key: _Key, act: Callable[[], None]) -> bool:
        if self._should_stop():
            raise DeliveryStoppedError
        if key in self.refused or key in self._put_off:
            return False
        try:
            act()
        except LedgerError:
            raise
        except Exception as error:  # noqa: BLE001 - one record's fault must not hold the others back
            self._handle(store, key, error)
            return False
        self._failures_in_a_row = 0
        return True

    def _handle(self, store: TrackingStore, key: _Key, error: Exception) -> None:
        """Put a record off or give it up; raise where the store would take no other either."""
        if self._should_stop():
            raise DeliveryStoppedError from error  # the store was closed under our hands
        if isinstance(error, TrackingUnreachableError):
            store.check()  # raises where the server is away
            self._failures_in_a_row += 1
            if self._failures_in_a_row == _FAILURES_IN_A_ROW:
                raise error
            self._put_off[key] = str(error)
        elif isinstance(error, TrackingRefusedError):
            store.check()  # raises where everything is refused
            self._refuse(key, str(error))
        else:
            self._refuse(key, f"{type(error).__name__}: {error}")

    def _refuse(self, key: _Key, reason: str) -> None:
        self.refused[key] = reason
        kind, record_id = key
        if kind == "scores":
            self._deliveries.refuse_scores(record_id, reason)
        else:
            self._deliveries.refuse(kind, record_id, reason)
