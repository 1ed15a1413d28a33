"""Owns the controller's object: prepare, keep, finish, say; imports nothing heavy.

Built from plain values, it keeps what the cells report and runs the commands.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench import __version__
from pytest_tipbench.errors import StoreError, UserMistakeError
from pytest_tipbench.matrix import cell_id_of
from pytest_tipbench.progress import Progress
from pytest_tipbench.safety.termination import undisturbed
from pytest_tipbench.settings import login_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tipbench.bench import Bench
    from pytest_tipbench.commands import Commands, Finding
    from pytest_tipbench.console import Console
    from pytest_tipbench.keeper import Keeper
    from pytest_tipbench.records import Cell, RunRecord
    from pytest_tipbench.safety.serial import MemoryLocks

WORKER_KEY = "tipbench"
"""Key of our JSON in a worker's input and output."""


_WORKER_END_SECONDS = 20.0
"""How long workers have to unload before they are killed: execnet interrupts one that is amid a
cell after five seconds, and ends it after ten more."""


class BenchSession:
    """What the controller knows and does between its first and its last hook."""

    def __init__(
        self,
        bench: Bench,
        console: Console,
        *,
        command_only: bool,
        distributed: bool,
        is_aimed_at_cells: bool,
        call: Sequence[str] | None,
    ) -> None:
        """Make the session.

        Args:
            bench: the controller's.
            console: pytest's terminal.
            command_only: a judge or leaderboard command without a path: no test is collected.
            distributed: workers run the items.
            is_aimed_at_cells: the paths of this call can collect cells, so that mistakes in the
                matrix are told before anything is collected.
            call: its arguments; None where they do not go on where it was interrupted.
        """
        self.bench = bench
        self.settings = bench.settings
        self.command_only = command_only
        self.distributed = distributed
        self._console = console
        self._is_aimed_at_cells = is_aimed_at_cells
        self._call = call
        self._locks: MemoryLocks | None = None
        self._workers: dict[str, Any] = {}
        """Those that have not said that they are down, by id."""
        self._keeper: Keeper | None = None
        """None until there is something to keep or to read."""
        self._commands: Commands | None = None
        self._findings: tuple[Finding, ...] = ()
        self._problems: list[str] = []
        self._undone: set[str] = set()
        """Ids of the selected cells that have no record yet."""
        self._is_interrupted = False
        self._taken = 0
        """How many records came from the store."""
        self._to_tell: dict[str, RunRecord] = {}
        self._progress: Progress | None = None
        self._has_no_matrix = False

    def check_early(self, *, dist: str) -> None:
        """Tell the mistakes that can be seen before anything is collected.

        Raises:
            UserMistakeError: of any kind.
        """
        if self._is_aimed_at_cells:
            if dist == "each":
                raise UserMistakeError(
                    "--dist each would run each cell on every worker: leave it out, or use -n alone"
                )
            _ = self.bench.cells
        if self._is_aimed_at_cells or self.command_only:
            from pytest_tipbench.commands import check_commands

            check_commands(self.settings, self.bench.evaluation)

    def header_lines(self) -> list[str]:
        """Return what stands under pytest's own header; nothing where no cell can come."""
        if not self._is_aimed_at_cells and not self.command_only:
            return []
        settings = self.settings
        lines = [f"tipbench {__version__}: experiment {settings.experiment}"]
        if self._is_aimed_at_cells:
            lines += self.bench.header_lines()
        return self._console.fitted(lines)

    # --- workers ------------------------------------------------------------------------------

    def configure_worker(self, node: Any) -> None:
        """Tell a worker which session it belongs to and which host it serves."""
        from pytest_tipbench.scheduler import SERVED_HOST

        host_index = self.bench.placement.bind(node.gateway.id)
        self._workers[node.gateway.id] = node
        node.workerinput[SERVED_HOST] = host_index
        node.workerinput[WORKER_KEY] = json.dumps(
            {
                "session_id": self.bench.session_id,
                "host_index": host_index or 0,
                "model_names": self.bench.model_names if self._is_aimed_at_cells else None,
                # None for the first workers; what takes a dead one's place may find its model.
                "inherited": self.bench.local_digests(),
            }
        )

    def worker_down(self, node: Any) -> None:
        """Free the host of a worker that is gone, and take what it saw.

        xdist tells twice of one that was interrupted.
        """
        if self._workers.pop(node.gateway.id, None) is None:
            return
        host_index = self.bench.placement.free(node.gateway.id)
        output = getattr(node, "workeroutput", {}).get(WORKER_KEY)
        if output is not None:
            told = json.loads(output)
            self._problems += told["problems"]
            self._say_all(told["lines"])
            self.bench.evidence.add(told["evidence"])
        elif host_index is not None and self.bench.local_digests():
            self.bench.at_host(host_index).guard.inherit(self.bench.local_digests())

    def _end_workers(self) -> None:
        """End the workers that an interruption has left amid a cell, and take what they saw.

        xdist ends them too, but after us: what they saw would come too late, and nobody would look
        after the model of one that had to be killed.
        """
        for node in list(self._workers.values()):
            node.nodemanager.group.terminate(_WORKER_END_SECONDS)  # all; the next call finds none
            self.worker_down(node)

    def host_of(self, node_id: str) -> int | None:
        """Return the index of the host whose memory the item's cell needs, None for any other."""
        cell = self._cell_of(node_id)
        return None if cell is None else self.bench.placement.host_of(cell)

    # --- cells --------------------------------------------------------------------------------

    def prepare_nodes(self, node_ids: Sequence[str]) -> None:
        """Prepare the cells that the workers have collected; as :meth:`prepare`."""
        self.prepare([cell for cell in map(self._cell_of, node_ids) if cell is not None])

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Make sure, before the first item, that every selected cell may run and be kept.

        Raises:
            UserMistakeError: over the cap, missing, in use, unreachable: before any item.
        """
        if not cells:
            return
        from pytest_tipbench.keeper import Keeper
        from pytest_tipbench.preflight import admit_cells

        self._undone = {cell.id for cell in cells}
        self._progress = Progress(len(cells))
        self._locks = admit_cells(self.bench, cells, self._console.say)
        self._keeper = Keeper.for_cells(
            self.settings, self.bench.evaluation.rubric, self.bench.session_id, self._console.say
        )

    def keep_report(self, report: pytest.TestReport) -> None:
        """Keep the run record that rides on a report; a cell that can have none, as missing."""
        if self._keeper is None:
            return
        from pytest_tipbench.reporting import detach, detach_lines, lack_on

        self._say_all(detach_lines(report))
        record = detach(report)
        cell = self._cell_of(report.nodeid)
        lack = lack_on(report)
        if record is None and lack is not None and cell is not None and cell.id in self._undone:
            record = self.bench.runner.missing(cell, lack)
        if record is not None:
            self._undone.discard(record.cell.id if cell is None else cell.id)
            self._to_tell[report.nodeid] = record
            self._keeper.keep(record)
            if record.session_id == self.bench.session_id:
                self.bench.evidence.add_run(record)
            else:
                self._taken += 1

    def _say_all(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._console.say(line)

    def tell_cell(self, report: pytest.TestReport) -> None:
        """Write a finished cell's line, and its tips, where the user asked for them.

        They stand under what pytest has just written of the item: for a setup that went well it
        writes nothing, and workers' reports come interleaved.
        """
        if self._progress is None or (report.when == "setup" and report.passed):
            return
        record = self._to_tell.pop(report.nodeid, None)
        if record is None:
            return
        is_resumed = record.session_id != self.bench.session_id
        self._progress.count(record, is_resumed=is_resumed)
        if not (self.settings.show_tips or self._console.lists_items):
            return
        from pytest_tipbench.progress import tip_lines

        width, ascii_only = self._console.width, self._console.knows_ascii_alone
        lines = self._progress.lines(
            record, is_resumed=is_resumed, width=width, ascii_only=ascii_only
        )
        if self.settings.show_tips:
            lines += tip_lines(record, width=width, ascii_only=ascii_only)
        self._console.write_under_item(lines)

    # --- the end ------------------------------------------------------------------------------

    def run_commands(self) -> None:
        """Run the commands of a call without a path.

        Raises:
            UserMistakeError: nothing was written.
        """
        from pytest_tipbench.commands import Commands
        from pytest_tipbench.keeper import Keeper

        self._keeper = Keeper.for_commands(
            self.settings, self.bench.evaluation.rubric, self._console.say
        )
        self._commands = Commands(self.settings, self.bench.evaluation, self._keeper, login_name())
        try:
            self._findings = self._commands.run()
        except StoreError as error:
            self._problems.append(str(error))
        self._problems += self._commands.problems

    def finish(self, exit_status: int, unread_reports: Iterable[pytest.TestReport] = ()) -> int:
        """Unload, run what was asked for after the cells, deliver; return the exit code.

        What goes wrong here, a failed gate included, turns only 0 into 1; a user's mistake turns
        both into 4.

        Args:
            exit_status: pytest's.
            unread_reports: those of workers that nobody has read, once the workers have ended.
        """
        if self.command_only and exit_status == pytest.ExitCode.NO_TESTS_COLLECTED:
            exit_status = pytest.ExitCode.OK
        if self._keeper is None:
            return exit_status
        with undisturbed() as signals:
            self._end_workers()
            for report in unread_reports:
                self.keep_report(report)
            self._problems += self.bench.settle()
            if self._locks is not None:
                self._locks.release()
        if signals:
            exit_status = pytest.ExitCode.INTERRUPTED
        self._is_interrupted = exit_status == pytest.ExitCode.INTERRUPTED
        try:
            return self._conclude(self._keeper, exit_status)
        except KeyboardInterrupt:
            self._problems.append("interrupted at its end; the ledger has every finished cell")
            return pytest.ExitCode.INTERRUPTED

    def _conclude(self, keeper: Keeper, exit_status: int) -> int:
        worst = pytest.ExitCode.OK
        keeper.take_back_rescued()
        try:
            if self._commands is None:
                self._tell_resumed()
                self.run_commands_after_cells()
        except UserMistakeError as mistake:
            self._problems += str(mistake).splitlines()
            worst = pytest.ExitCode.USAGE_ERROR
        except StoreError as error:
            self._problems.append(str(error))
        except Exception as error:  # noqa: BLE001 - what was generated is delivered all the same
            self._problems.append(f"no board: {type(error).__name__}: {error}")
        self._problems += keeper.finish(
            self._findings[0].board if self._findings else None,
            failed=exit_status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED),
            is_hurried=self._is_interrupted,
        )
        if worst == pytest.ExitCode.OK and (
            self._problems or any(finding.fails for finding in self._findings)
        ):
            worst = pytest.ExitCode.TESTS_FAILED
        if exit_status == pytest.ExitCode.OK or (
            exit_status == pytest.ExitCode.TESTS_FAILED and worst == pytest.ExitCode.USAGE_ERROR
        ):
            return worst
        return exit_status

    def run_commands_after_cells(self) -> None:
        """Run the commands of a call with a path, on the same experiment."""
        from pytest_tipbench.commands import Commands

        assert self._keeper is not None  # noqa: S101 - prepare opened it
        self._commands = Commands(
            self.settings,
            self.bench.evaluation,
            self._keeper,
            login_name(),
            cells=self.bench.cells,
        )
        try:
            self._findings = self._commands.run()
        except UserMistakeError:
            # A faulty sheet takes nothing from what the cells have earned.
            self._findings = (self._commands.find(self.settings.experiment),)
            raise
        finally:
            self._problems += self._commands.problems

    def _tell_resumed(self) -> None:
        if not self.settings.resume:
            return
        from pytest_tipbench.fingerprints import resume_lines

        assert self._keeper is not None  # noqa: S101 - prepare opened it
        runs = self._keeper.ledger.runs(self.settings.experiment)
        self._keeper.notices += resume_lines(runs, self.bench.session_id, taken=self._taken)

    def add_gates_to_junit(self, xml_path: str | None) -> None:
        """Put the verdicts into the JUnit file that pytest has just written, if it has."""
        verdicts = [(f.board.experiment, v) for f in self._findings for v in f.verdicts]
        if xml_path is None or not verdicts:
            return
        from pytest_tipbench.junit import add_gates

        try:
            add_gates(Path(os.path.expandvars(xml_path)).expanduser(), verdicts)  # as pytest does
        except (OSError, ValueError) as error:
            self._console.say(f"the gates are not in the JUnit file: {error}")

    def write_summary(self) -> None:
        """Print the board and what there is to say about it."""
        if self._keeper is None:
            return
        from pytest_tipbench.summary import resume_step, summary_lines

        self._console.section(f"tipbench: {self.settings.experiment}")
        for line in summary_lines(
            settings=self.settings,
            findings=self._findings,
            told=[*self._keeper.notices, *(self._commands.lines if self._commands else ())],
            evidence=None if self.command_only else self.bench.evidence,
            afterwards=self._keeper.afterwards(),
            problems=self._problems,
            to_resume=resume_step(self._call, len(self._undone)) if self._is_interrupted else None,
            width=self._console.width,
            ascii_only=self._console.knows_ascii_alone,
            verbose=self._console.verbosity > 0,
        ):
            self._console.write(line)

    def close(self) -> None:
        """Let everything go that is still held, after a session that ended early."""
        if self._locks is not None:
            self._locks.release()
        if self._keeper is not None:
            self._keeper.close()

    def _cell_of(self, node_id: str) -> Cell | None:
        cell_id = cell_id_of(node_id)
        if cell_id is None or self._has_no_matrix:
            return None
        try:
            return self.bench.cells_by_id.get(cell_id)
        except UserMistakeError:  # told before, where cells were meant; here it is another's item
            self._has_no_matrix = True
            return None
