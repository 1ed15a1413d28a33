"""Owns the background thread that delivers the ledger to a tracking store, and the pull back.

Imports the ledger's side and the store's protocol; which store it is, its caller says.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.errors import (
    LedgerError,
    TipbenchError,
    TrackingRefusedError,
    TrackingUnreachableError,
)
from pytest_tipbench.store.deliveries import Deliveries
from pytest_tipbench.store.delivery import Delivery, DeliveryStoppedError
from pytest_tipbench.store.ledger_file import ledger_errors
from pytest_tipbench.store.pulls import Pulls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from pytest_tipbench.judgement_records import Rubric
    from pytest_tipbench.store.base import TrackingStore
    from pytest_tipbench.store.ledger import Ledger
    from pytest_tipbench.store.pulls import PullReport

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
"""Pauses before an unreachable store is tried again; the last one repeats."""
_BUSY_SECONDS = 0.2


@dataclass(frozen=True)
class Undelivered:
    """What a tracking store did not get; the ledger has it."""

    count: int
    """Records: sessions, runs, scores of runs, applied sheets."""
    reason: str
    refused: tuple[str, ...] = ()
    """One reason for each record that the store refused while it took others."""


class _BusyError(Exception):
    """Another session is delivering from this ledger right now."""


class Mirror:
    """Delivers what a tracking store lacks, in the background or at once; see ``Delivery``.

    The thread never holds up its caller, and outlives nothing: what it has not delivered when the
    process ends, the next one delivers.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_store: Callable[[], TrackingStore],
        target: str,
        rubric: Rubric,
        *,
        session_id: str | None = None,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        """Make the mirror of a ledger; nothing is sent before ``start`` or ``deliver_all``.

        Args:
            ledger: open for writing; closed by its owner after ``finish``.
            open_store: makes the store, called on the thread that uses it; it may wait for a
                server that is starting, and raise what the store's methods raise.
            target: the server's identity, see ``tracking_target``.
            rubric: the one in force.
            session_id: the generating session's, whose records go first.
            retry_seconds: pauses before an unreachable store is tried again; the last one repeats.
        """
        self._ledger = ledger
        self._open_store = open_store
        self._target = target
        self._rubric = rubric
        self._retry_seconds = tuple(retry_seconds)
        self._delivery = Delivery(
            ledger,
            target,
            rubric,
            session_id=session_id,
            on_progress=self._moved,
            should_stop=lambda: self._stopped,
        )
        self._store: TrackingStore | None = None
        self._thread: threading.Thread | None = None
        self._condition = threading.Condition()
        # All below are read and written under the condition.
        self._news = False
        self._hurry = False
        self._finishing = False
        self._stopped = False
        self._is_through = False
        self._count = 0
        self._trouble: str | None = None
        self._on_progress: Callable[[int], None] | None = None

    @property
    def trouble(self) -> str | None:
        """Why nothing gets through right now; None while all is well."""
        with self._condition:
            return self._trouble

    @property
    def delivered_count(self) -> int:
        """How many records the store has taken from this object."""
        with self._condition:
            return self._count

    # --- in the background --------------------------------------------------------------------

    def start(self) -> None:
        """Begin to deliver, what earlier sessions left included."""
        self._thread = threading.Thread(target=self._work, name="tipbench-mirror", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Say that the ledger has something new; returns at once."""
        with self._condition:
            self._news = True
            self._condition.notify_all()

    def finish(
        self, deadline_seconds: float, *, stall_seconds: float | None = None
    ) -> Undelivered | None:
        """Wait until everything is delivered, then end the thread.

        Args:
            deadline_seconds: how long at most; an unreachable store is tried again until then.
            stall_seconds: give up earlier, when nothing has got through for so long.

        Returns:
            What was not delivered, None where all was.
        """
        with self._condition:
            # News, too: a pass that is under way may have looked before the last record was kept.
            self._finishing = self._hurry = self._news = True
            self._condition.notify_all()
            try:
                self._wait_for_the_end(deadline_seconds, stall_seconds or deadline_seconds)
            finally:
                self._stopped = True
                self._condition.notify_all()
            store = self._store
        if store is not None:
            store.close()  # cuts short what is still being waited for
        return self._undelivered(f"not all got through in {deadline_seconds:g} s")

    def _wait_for_the_end(self, deadline_seconds: float, stall_seconds: float) -> None:
        now = time.monotonic()
        deadline, stalled = now + deadline_seconds, now + stall_seconds
        count = self._count
        while self._thread is not None and now < min(deadline, stalled):
            self._condition.wait(min(deadline, stalled) - now)
            now = time.monotonic()
            if self._count != count:
                count, stalled = self._count, now + stall_seconds

    def _work(self) -> None:
        failures = 0
        try:
            while True:
                with self._condition:
                    # What is kept from now on may be missed by the pass, and is news again.
                    self._news = self._hurry = False
                pause: float | None = None
                try:
                    self._pass()
                    failures = 0
                except _BusyError as error:
                    self._is_troubled(str(error))
                    pause = _BUSY_SECONDS
                except (TrackingUnreachableError, LedgerError) as error:
                    self._is_troubled(str(error))
                    pause = self._retry_seconds[min(failures, len(self._retry_seconds) - 1)]
                    failures += 1
                if not self._goes_on(pause):
                    return
        except DeliveryStoppedError:
            pass
        except TipbenchError as error:
            self._is_troubled(str(error))
        except Exception as error:  # noqa: BLE001 - a thread that dies unheard would lose its reason
            self._is_troubled(f"{type(error).__name__}: {error}")
        finally:
            self._close_store()
            with self._condition:
                self._thread = None
                self._condition.notify_all()

    def _goes_on(self, pause: float | None) -> bool:
        """Wait for work, or for a pause to pass; return False where there is nothing left to do."""
        with self._condition:
            if pause is None and self._finishing and not self._news:
                return False
            self._condition.wait_for(
                lambda: (
                    self._stopped
                    or self._hurry
                    or (pause is None and (self._news or self._finishing))
                ),
                timeout=pause,
            )
            return not self._stopped

    # --- at once ------------------------------------------------------------------------------

    def deliver_all(
        self,
        *,
        on_progress: Callable[[int], None] | None = None,
        lock_timeout_seconds: float = 30.0,
    ) -> Undelivered | None:
        """Deliver everything on the caller's thread; instead of ``start``, not beside it.

        Args:
            on_progress: called with the number of records delivered so far.
            lock_timeout_seconds: how long another session that is delivering is waited for.

        Returns:
            What was not delivered, None where all was.

        Raises:
            LedgerError: the ledger cannot be read or written.
            UserMistakeError: ``open_store`` raised it.
        """
        self._on_progress = on_progress
        try:
            self._pass(lock_timeout_seconds)
        except (_BusyError, TrackingUnreachableError, TrackingRefusedError) as error:
            self._is_troubled(str(error))
        finally:
            self._close_store()
        return self._undelivered("not all got through")

    def pull(self, experiment: str, *, now: datetime) -> PullReport:
        """Bring what others put into the experiment since the last pull into the ledger.

        Raises:
            TrackingUnreachableError: the store does not answer; ``Pulls.pulled_at`` says as of when
                the ledger is.
            TrackingRefusedError: the store refused.
            LedgerError: the ledger cannot be written.
        """
        pulls = Pulls(self._ledger, self._target)
        with closing(self._open_store()) as store:
            pulled = store.pull(experiment, pulls.cursor(experiment))
        return pulls.merge(experiment, pulled, rubric_sha256=self._rubric.sha256, now=now)

    # --- both ---------------------------------------------------------------------------------

    def _pass(self, lock_timeout_seconds: float = 0.0) -> None:
        with self._condition:
            self._is_through = False
        if self._store is None:
            self._store = self._open_store()
        with self._alone(lock_timeout_seconds):
            self._delivery.run(self._store)
        with self._condition:
            self._is_through = True
            self._trouble = None

    @contextmanager
    def _alone(self, timeout_seconds: float) -> Iterator[None]:
        """Keep other sessions on this ledger from delivering the same records meanwhile."""
        import filelock

        lock = filelock.FileLock(f"{self._ledger.path}.delivery.lock")
        with ledger_errors(self._ledger.path):
            try:
                lock.acquire(timeout=timeout_seconds)
            except filelock.Timeout as error:
                raise _BusyError("another session is delivering from the same ledger") from error
        try:
            yield
        finally:
            lock.release()

    def _moved(self) -> None:
        with self._condition:
            self._count += 1
            self._trouble = None
            self._condition.notify_all()
        if self._on_progress is not None:
            self._on_progress(self._count)

    def _is_troubled(self, reason: str) -> None:
        with self._condition:
            self._trouble = reason

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _undelivered(self, otherwise: str) -> Undelivered | None:
        refused = [
            f"{kind} {record_id}: {reason}"
            for (kind, record_id), reason in self._delivery.refused.copy().items()
        ]
        with self._condition:
            is_through, trouble = self._is_through, self._trouble
        # Once all is through, what else the ledger holds is another session's, which sees to it.
        count = len(refused) if is_through else Deliveries(self._ledger, self._target).count()
        if count == 0:
            return None
        reason = trouble or (refused[0] if is_through else otherwise)
        return Undelivered(count, reason, tuple(refused))
