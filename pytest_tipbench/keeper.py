"""Owns where the controller keeps things: ledger at once, MLflow behind it; imports no pytest."""

from __future__ import annotations

import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, TextIO

from pytest_tipbench import __version__
from pytest_tipbench.environment import environment
from pytest_tipbench.errors import LedgerError, StoreError, UserMistakeError
from pytest_tipbench.records import SessionRecord
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from pytest_tipbench.store.rescue import rescue, take_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
        self._recording: TextIO | None = None

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
                keeper._recording = _open_recording(settings.record)
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
        to pull from.

        Raises:
            UserMistakeError: the ledger cannot be opened, or ``--tracking-sync`` has no target.
        """
        target = settings.tracking_target
        if settings.tracking_sync and target is None:
            raise UserMistakeError(
                "--tracking-sync has no server to deliver to: give --tracking-uri "
                "(and leave out --offline)"
            )
        writes = bool(settings.judge_apply or settings.tracking_sync)
        pulls = target is not None and target != EMBEDDED
        keeper = cls._open(settings, rubric, read_only=not writes and not pulls)
        if writes and target is not None:
            try:
                keeper._start_delivering(say, None, check=settings.tracking_sync)
            except BaseException:
                keeper.close()
                raise
        return keeper

    @classmethod
    def _open(cls, settings: Settings, rubric: Rubric, *, read_only: bool = False) -> Keeper:
        try:
            ledger = Ledger.open(settings.ledger, read_only=read_only)
            keeper = cls(settings, rubric, ledger)
            if not read_only:
                keeper.notices += take_back(settings.ledger, ledger.add_run)
        except LedgerError as error:
            raise UserMistakeError(str(error)) from None
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
        try:
            store = self._open_store()
            version = store.check()
            store.close()
        except StoreError as error:
            raise UserMistakeError(
                f"{error} (--offline keeps everything in the ledger until --tracking-sync)"
            ) from None
        say(f"MLflow {version}: {self._settings.tracking_target}")

    def _open_store(self) -> TrackingStore:
        from pytest_tipbench.store.mlflow import MlflowStore

        if self._server is not None:
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
            self._rescue(record, error)
        else:
            self._notify()
        if self._recording is not None and record.completion is not None:
            from pytest_tipbench.providers.replay import recorded_line

            self._recording.write(recorded_line(record) + "\n")
            self._recording.flush()

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

    def _rescue(self, record: RunRecord, error: LedgerError) -> None:
        path = rescue(self.ledger.path, record)
        kept = f"is kept in {path} for the next session" if path else "could be kept nowhere"
        self.notices.append(f"{record.cell.id} {kept}: {error}")

    # --- reading ------------------------------------------------------------------------------

    def pull(self, experiment: str) -> list[str]:
        """Bring into the ledger what other machines put into the experiment; return what to say."""
        target = self._settings.tracking_target
        if target is None or target == EMBEDDED or self.ledger.read_only:
            return []
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
        problems: list[str] = []
        try:
            if self._session is not None and board is not None:
                self.ledger.end_session(_ending(self._session.session_id, board, failed=failed))
            undelivered = self._finish_delivering(is_hurried=is_hurried)
        except LedgerError as error:
            problems.append(str(error))
        else:
            if undelivered is not None:
                problems += _undelivered_lines(undelivered)
        if self._server is not None:
            self._server.stop()
        return problems

    def _finish_delivering(self, *, is_hurried: bool) -> Undelivered | None:
        if self._mirror is None:
            return None
        self._notify()
        if is_hurried:
            return self._mirror.finish(_HURRIED_SECONDS)
        return self._mirror.finish(_DELIVERY_SECONDS, stall_seconds=_STALL_SECONDS)

    def afterwards(self) -> list[str]:
        """Return how to look at MLflow once the session is over."""
        if self._server is None:
            return []
        from pytest_tipbench.store.embedded import ui_command

        return [f"see the runs: {ui_command(self._settings.root)}"]

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


def _open_recording(path: Path) -> TextIO:
    """Begin a replay file.

    Raises:
        UserMistakeError: there is a file already, or none can be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("x", encoding="ascii")
    except FileExistsError:
        raise UserMistakeError(
            f"--record {path}: exists and is not overwritten: name another file"
        ) from None
    except OSError as error:
        raise UserMistakeError(f"--record {path}: cannot be written: {error.strerror}") from None


def _ending(session_id: str, board: Board, *, failed: bool) -> SessionEnding:
    from pytest_tipbench.reports.terminal import board_lines

    metrics = {
        f"{row.model}/{row.prompt_version}/{name}": value
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


def _undelivered_lines(undelivered: Undelivered) -> list[str]:
    line = (
        f"MLflow lacks {undelivered.count} records, which the ledger keeps: {undelivered.reason}; "
        "deliver them with: pytest --tracking-sync"
    )
    return [line, *undelivered.refused[1:]]
