"""Owns where the controller keeps things: ledger at once, MLflow behind it; imports no pytest."""

from __future__ import annotations

import contextlib
import shlex
import threading
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_tipbench import __version__
from pytest_tipbench.environment import environment
from pytest_tipbench.errors import LedgerError, StoreError, UserMistakeError
from pytest_tipbench.recording import Recording
from pytest_tipbench.records import SessionRecord
from pytest_tipbench.settings import carried_on
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from pytest_tipbench.store.rescue import Rescue, take_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.board_records import Board
    from pytest_tipbench.judgement_records import ApplyRecord, Judgement, Rubric
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.settings import Settings
    from pytest_tipbench.store.base import TrackingStore
    from pytest_tipbench.store.embedded import EmbeddedServer
    from pytest_tipbench.store.mirror import Mirror, Undelivered

EMBEDDED = "embedded"
"""The tracking URI that stands for a server of our own."""

_DELIVERY_SECONDS = 600.0
"""How long the end of a session waits for MLflow as long as runs get through."""
_STALL_SECONDS = 30.0
"""How long it waits while none does; an embedded server may still be starting."""
_HURRIED_SECONDS = 5.0
"""How long after Ctrl-C."""


class _LedgerTroubleError(UserMistakeError):
    """The ledger cannot be opened for writing; it may still be read."""


class Keeper:
    """The ledger and, where a tracking URI is set, the mirror of it in MLflow.

    Made by :meth:`for_cells` or :meth:`for_commands`.
    """

    def __init__(self, settings: Settings, rubric: Rubric, ledger: Ledger) -> None:
        self.ledger = ledger
        self.notices: list[str] = list(ledger.notices)
        """What the user should be told about the store."""
        self._settings = settings
        self._rubric = rubric
        self._session: SessionRecord | None = None
        self._mirror: Mirror | None = None
        self._server: EmbeddedServer | None = None
        self._recording: Recording | None = None
        self._opening = threading.Lock()
        self._runs_page: str | None = None
        self._rescue = Rescue(ledger.path)

    # --- opening ------------------------------------------------------------------------------

    @classmethod
    def for_cells(
        cls, settings: Settings, rubric: Rubric, session_id: str, say: Callable[[str], None]
    ) -> Keeper:
        """Open what a generating session writes to, and begin the session.

        Raises:
            UserMistakeError: the ledger or MLflow cannot be written to, which is told before the
                first cell rather than after the last.
        """
        keeper = cls._open(settings, rubric)
        try:
            session = SessionRecord(
                session_id=session_id,
                experiment=settings.experiment,
                started_at=datetime.now(timezone.utc),
                tipbench_version=__version__,
                environment=environment(settings.root),
            )
            keeper.ledger.add_session(session)
            if settings.record is not None:
                keeper._recording = Recording(settings.record)
            keeper._session = session
            if settings.tracking_target is not None:
                keeper._start_delivering(say, session_id)
            if settings.resume:
                keeper.notices += keeper.pull(settings.experiment)
        except StoreError as error:
            keeper.close()
            raise UserMistakeError(str(error)) from None
        except BaseException:
            keeper.close()
            raise
        return keeper

    @classmethod
    def for_commands(cls, settings: Settings, rubric: Rubric, say: Callable[[str], None]) -> Keeper:
        """Open what the commands of a call without a path need.

        Commands that only read start no server and change no file, unless there is an MLflow server
        to pull from and the ledger can be written.

        Raises:
            UserMistakeError: the ledger cannot be opened, or ``--tracking-sync`` has no target.
        """
        target = settings.tracking_target
        if settings.tracking_sync and target is None:
            raise UserMistakeError(
                f"--tracking-sync has no server to deliver to: {_how_to_name_one(settings)}"
            )
        writes = bool(settings.judge_apply or settings.tracking_sync)
        pulls = target is not None and target != EMBEDDED
        if not writes:
            return cls._open_to_read(settings, rubric, pulls=pulls)
        keeper = cls._open(settings, rubric)
        try:
            if target is not None:
                keeper._start_delivering(say, None, check=settings.tracking_sync)
        except StoreError as error:
            keeper.close()
            raise UserMistakeError(str(error)) from None
        except BaseException:
            keeper.close()
            raise
        return keeper

    @classmethod
    def _open_to_read(cls, settings: Settings, rubric: Rubric, *, pulls: bool) -> Keeper:
        """Open the ledger, for writing only where a pull has something to write."""
        if not pulls:
            return cls._open(settings, rubric, read_only=True)
        try:
            return cls._open(settings, rubric)
        except _LedgerTroubleError as trouble:
            keeper = cls._open(settings, rubric, read_only=True)
            keeper.notices.append(f"not up to date with MLflow: {trouble}")
            return keeper

    @classmethod
    def _open(cls, settings: Settings, rubric: Rubric, *, read_only: bool = False) -> Keeper:
        try:
            keeper = cls(settings, rubric, Ledger.open(settings.ledger, read_only=read_only))
        except LedgerError as error:
            raise _LedgerTroubleError(str(error)) from None
        try:
            if not read_only:
                keeper.notices += take_back(settings.ledger, keeper.ledger.add_run)
        except LedgerError as error:
            keeper.ledger.close()
            raise _LedgerTroubleError(str(error)) from None
        if keeper.ledger.notices and settings.tracking_target is not None:
            keeper.notices.append(
                f"what MLflow has of it comes back with: {keeper._sync_command()}"
            )
        return keeper

    def _start_delivering(
        self, say: Callable[[str], None], session_id: str | None, *, check: bool = True
    ) -> None:
        from pytest_tipbench.store.deliveries import Deliveries, tracking_target
        from pytest_tipbench.store.mirror import Mirror

        uri = self._settings.tracking_target or ""
        if uri == EMBEDDED:
            from pytest_tipbench.store.embedded import DATABASE, EmbeddedServer

            if not (self._settings.root / DATABASE).exists():
                # Somebody removed it: what it had, the next one lacks.
                Deliveries(self.ledger, EMBEDDED).forget()
            self._server = EmbeddedServer(self._settings.root)
            self._server.start()
            say(f"MLflow: {self._server.url} while this session runs")
        elif check:
            self._check_server(say)
        self._mirror = Mirror(
            self.ledger,
            self._open_store,
            tracking_target(uri),
            self._rubric,
            session_id=session_id,
        )
        self._mirror.start()

    def _check_server(self, say: Callable[[str], None]) -> None:
        """Make sure that MLflow takes our calls.

        Raises:
            UserMistakeError: it does not answer, or refuses us.
        """
        from pytest_tipbench.store.deliveries import tracking_target

        try:
            with contextlib.closing(self._open_store()) as store:
                version = store.check()
        except StoreError as error:
            raise UserMistakeError(
                f"{error} (--offline keeps everything in the ledger until --tracking-sync)"
            ) from None
        say(f"MLflow {version}: {tracking_target(self._settings.tracking_target or '')}")

    def _open_store(self) -> TrackingStore:
        from pytest_tipbench.store.mlflow import MlflowStore

        if self._server is not None:
            with self._opening:  # the mirror's thread and a pull may both be waiting for it
                return MlflowStore(self._server.wait_ready(), keep_alive=True)
        return MlflowStore(
            self._settings.tracking_target or "", host_header=self._settings.tracking_host_header
        )

    # --- keeping ------------------------------------------------------------------------------

    def keep(self, record: RunRecord) -> None:
        """Keep a finished cell: in the ledger at once, in MLflow soon.

        A ledger that cannot take it (a full disk) loses nothing: the run waits in a file.
        """
        try:
            self.ledger.add_run(record)
        except LedgerError as error:
            self._rescue.keep(record, str(error))
        else:
            self._notify()
        if self._recording is not None:
            self._recording.add(record)

    def keep_judgements(self, apply: ApplyRecord, judgements: Sequence[Judgement]) -> int:
        """Keep an applied sheet whole; return how many of its judgements were new.

        Raises:
            LedgerError: nothing of it is kept.
        """
        count = self.ledger.add_apply(apply, judgements)
        self._notify()
        return count

    def _notify(self) -> None:
        if self._mirror is not None:
            self._mirror.notify()

    def take_back_rescued(self) -> None:
        """Try once more to put into the ledger what it did not take: the trouble may be over."""
        with contextlib.suppress(LedgerError):
            self.notices += self._rescue.take_back(self.ledger.add_run)
            self._notify()

    # --- reading ------------------------------------------------------------------------------

    def pull(self, experiment: str) -> list[str]:
        """Bring into the ledger what other machines put into the experiment; return what to say."""
        target = self._settings.tracking_target
        if target is None or self.ledger.read_only:
            return []
        if target == EMBEDDED and not self._settings.tracking_sync:
            return []  # nobody else writes to it
        from pytest_tipbench.store.deliveries import tracking_target
        from pytest_tipbench.store.mirror import Mirror
        from pytest_tipbench.store.pulls import Pulls

        mirror = Mirror(self.ledger, self._open_store, tracking_target(target), self._rubric)
        try:
            report = mirror.pull(experiment, now=datetime.now(timezone.utc))
        except StoreError as error:
            pulled_at = Pulls(self.ledger, tracking_target(target)).pulled_at(experiment)
            since = f"{pulled_at.astimezone():%Y-%m-%d %H:%M}" if pulled_at else "never pulled"
            return [f"not up to date with MLflow (as of: {since}): {error}"]
        return list(report.unreadable)

    # --- the end ------------------------------------------------------------------------------

    def finish(self, board: Board | None, *, failed: bool, is_hurried: bool) -> list[str]:
        """Deliver what is left and stop the server; return what went wrong.

        Args:
            board: what the session's parent run in MLflow shows.
            failed: the session did not end well.
            is_hurried: the user is waiting for the prompt (Ctrl-C).
        """
        problems = self._rescue.problems()
        if self._recording is not None and self._recording.problem is not None:
            problems.append(self._recording.problem)
        try:
            if self._session is not None:
                self.ledger.end_session(_ending(self._session.session_id, board, failed=failed))
            undelivered = self._finish_delivering(is_hurried=is_hurried)
        except LedgerError as error:
            problems.append(str(error))
        else:
            if self._settings.tracking_sync and self._mirror is not None:
                self.notices.append(f"MLflow took {self._mirror.delivered_count} records")
            if undelivered is not None:
                problems += self._undelivered_lines(undelivered)
            elif self._mirror is not None and self._session is not None and not is_hurried:
                self._find_runs_page()
        if self._server is not None:
            self._server.stop()
        return problems

    def _undelivered_lines(self, undelivered: Undelivered) -> list[str]:
        line = (
            f"MLflow lacks {undelivered.count} records, which the ledger keeps: "
            f"{undelivered.reason}; deliver them with: {self._sync_command()}"
        )
        return [line, *(reason for reason in undelivered.refused if reason != undelivered.reason)]

    def _sync_command(self) -> str:
        carried = carried_on(self._settings, "tracking_uri", "tracking_host_header", "ledger")
        return shlex.join(["pytest", "--tracking-sync", *carried])

    def _finish_delivering(self, *, is_hurried: bool) -> Undelivered | None:
        if self._mirror is None:
            return None
        self._notify()
        if is_hurried:
            return self._mirror.finish(_HURRIED_SECONDS)
        return self._mirror.finish(_DELIVERY_SECONDS, stall_seconds=_STALL_SECONDS)

    def _find_runs_page(self) -> None:
        if self._server is not None:
            return  # nobody answers there once the session is over
        with contextlib.suppress(StoreError), contextlib.closing(self._open_store()) as store:
            self._runs_page = store.runs_page(self._settings.experiment)

    def afterwards(self) -> list[str]:
        """Return how to look at MLflow once the session is over."""
        if self._server is not None:
            from pytest_tipbench.store.embedded import ui_command

            return [f"see the runs: {ui_command(self._settings.root)}"]
        return [f"see the runs: {self._runs_page}"] if self._runs_page is not None else []

    def close(self) -> None:
        """Stop the server and close the ledger, whatever state they are in; may be called twice."""
        if self._mirror is not None:
            with contextlib.suppress(LedgerError):  # it has been said, and nothing hangs on it now
                self._mirror.finish(0)
            self._mirror = None
        if self._server is not None:
            self._server.stop()
        if self._recording is not None:
            self._recording.close()
        self.ledger.close()


def _how_to_name_one(settings: Settings) -> str:
    steps = []
    if settings.tracking_uri is None:
        steps.append("give --tracking-uri")
    if settings.offline:
        steps.append(
            "leave out --offline"
            if "offline" in settings.named
            else "add -o tipbench_offline=false, as the configuration says tipbench_offline"
        )
    return " and ".join(steps)


def _ending(session_id: str, board: Board | None, *, failed: bool) -> SessionEnding:
    if board is None:
        text = "no board was made\n"
        return SessionEnding(session_id=session_id, board_text=text, metrics={}, failed=failed)
    from pytest_tipbench.reports.terminal import board_lines

    metrics = {
        # Not every MLflow server takes a colon, and the escaped name is hard to read.
        f"{row.model.replace(':', '-')}/{row.prompt_version}/{name}": value
        for row in board.rows
        for name, value in {
            "composite": row.composite,
            "usable_rate": row.usable_rate,
            "median_latency_seconds": row.median_latency_seconds,
            "judged_cells": float(row.judged_cells),
            "cells": float(row.cells),
        }.items()
        if value is not None
    }
    text = "\n".join(board_lines(board, width=120, ascii_only=False)) + "\n"
    return SessionEnding(session_id=session_id, board_text=text, metrics=metrics, failed=failed)
