"""Owns the life of a session: configure, prepare, keep, finish, say; imports nothing heavy.

Every process has a bench; the controller alone has a ``BenchSession``, which keeps what the cells
report and runs the commands.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_tipbench import __version__
from pytest_tipbench.bench import Bench, Hooked
from pytest_tipbench.console import Console
from pytest_tipbench.entry import find_switching_configuration
from pytest_tipbench.errors import StoreError, UserMistakeError
from pytest_tipbench.matrix import cell_id_of
from pytest_tipbench.progress import Progress
from pytest_tipbench.settings import joined_file_options, login_name, names_a_path, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pytest_tipbench.commands import Commands, Finding
    from pytest_tipbench.keeper import Keeper
    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import Cell, RunRecord
    from pytest_tipbench.safety.serial import MemoryLocks
    from pytest_tipbench.settings import Settings

BENCH = pytest.StashKey[Bench]()
RUN: pytest.StashKey[RunRecord] = pytest.StashKey()
MISTAKE = pytest.StashKey[UserMistakeError]()

_WORKER_KEY = "tipbench"
"""Key of our JSON in a worker's input and output."""


# --- before anything is collected -----------------------------------------------------------------


def before_main(config: pytest.Config) -> int | pytest.ExitCode | None:
    """Act on what must be settled before pytest starts; an exit code ends the run.

    A file of ours outside the project, given after a space, has moved pytest's rootdir: pytest is
    called again with the same arguments, joined.
    """
    if _is_worker(config):
        return None
    if config.getoption("tipbench_judge_schema"):
        from pytest_tipbench.judge.files import sheet_schema

        sys.stdout.write(json.dumps(sheet_schema(), indent=2) + "\n")
        return pytest.ExitCode.OK
    arguments = [str(argument) for argument in config.invocation_params.args]
    joined = joined_file_options(arguments)
    if joined is not None and "-c" not in arguments:
        expected = find_switching_configuration(config.invocation_params.dir)
        if expected is not None and expected != config.inipath:
            return pytest.main(joined)
    if _is_command_only(config, read_settings(config)) and hasattr(config.option, "numprocesses"):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    return None


def configure(config: pytest.Config) -> BenchSession | None:
    """Give this process its bench; return the controller's session, None on a worker.

    Raises:
        UserMistakeError: a mistake that can be seen without collecting anything.
    """
    settings = read_settings(config)
    if _is_worker(config):
        given = json.loads(config.workerinput[_WORKER_KEY])  # type: ignore[attr-defined]  # xdist's
        config.stash[BENCH] = Bench(settings, _hooked(config), say=_say_nothing, **given)
        return None
    console = Console(config)
    bench = Bench(settings, _hooked(config), say=console.say, session_id=uuid.uuid4().hex)
    config.stash[BENCH] = bench
    session = BenchSession(
        bench,
        console,
        command_only=_is_command_only(config, settings),
        distributed=_is_distributed(config),
        is_aimed_at_cells=_is_aimed_at(config, settings.evals),
    )
    session.check_early(dist=getattr(config.option, "dist", "no"))
    return session


def unconfigure(config: pytest.Config) -> None:
    """Give all memory back, on a worker and on the controller alike."""
    bench = config.stash.get(BENCH, None)
    if bench is not None:
        bench.settle()


def finish_worker(config: pytest.Config) -> None:
    """Unload, prove it, and tell the controller what was seen; does nothing elsewhere."""
    if not _is_worker(config):
        return
    bench = config.stash[BENCH]
    told = {"problems": bench.settle(), "evidence": asdict(bench.evidence)}
    config.workeroutput[_WORKER_KEY] = json.dumps(told)  # type: ignore[attr-defined]  # xdist's


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _is_distributed(config: pytest.Config) -> bool:
    return bool(getattr(config.option, "tx", None)) and config.option.dist != "no"


def _is_command_only(config: pytest.Config, settings: Settings) -> bool:
    return settings.has_command and not names_a_path(config)


def _is_aimed_at(config: pytest.Config, folder: Path) -> bool:
    """Say whether a path of this call lies in the folder, or the folder in it."""
    for argument in config.args:
        path = (config.invocation_params.dir / str(argument).split("::")[0]).resolve()
        if path == folder or path in folder.parents or folder in path.parents:
            return True
    return False


def _hooked(config: pytest.Config) -> Hooked:
    def providers() -> dict[str, Callable[[], Provider]]:
        given = config.hook.pytest_tipbench_providers(config=config)
        return {prefix: make for mapping in given for prefix, make in mapping.items()}

    return Hooked(
        scenarios=lambda: chain.from_iterable(config.hook.pytest_tipbench_scenarios(config=config)),
        prompts=lambda: chain.from_iterable(config.hook.pytest_tipbench_prompts(config=config)),
        providers=providers,
    )


def _say_nothing(line: str) -> None:  # noqa: ARG001 - a worker has no terminal
    return None


# --- the controller -------------------------------------------------------------------------------


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
    ) -> None:
        """Make the session.

        Args:
            bench: the controller's.
            console: pytest's terminal.
            command_only: a judge or leaderboard command without a path: no test is collected.
            distributed: workers run the items.
            is_aimed_at_cells: the paths of this call can collect cells, so that mistakes in the
                matrix are told before anything is collected.
        """
        self.bench = bench
        self.settings = bench.settings
        self.command_only = command_only
        self.distributed = distributed
        self._console = console
        self._is_aimed_at_cells = is_aimed_at_cells
        self._locks: MemoryLocks | None = None
        self._keeper: Keeper | None = None
        """None until there is something to keep or to read."""
        self._commands: Commands | None = None
        self._findings: tuple[Finding, ...] = ()
        self._problems: list[str] = []
        self._kept: set[str] = set()
        """Ids of the cells whose record came."""
        self._to_tell: dict[str, RunRecord] = {}
        self._progress: Progress | None = None

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
        return lines

    # --- workers ------------------------------------------------------------------------------

    def configure_worker(self, node: Any) -> None:
        """Tell a worker which session it belongs to and which host it serves."""
        from pytest_tipbench.scheduler import SERVED_HOST

        host_index = self.bench.placement.bind(node.gateway.id)
        node.workerinput[SERVED_HOST] = host_index
        node.workerinput[_WORKER_KEY] = json.dumps(
            {
                "session_id": self.bench.session_id,
                "host_index": host_index or 0,
                "model_names": self.bench.model_names if self._is_aimed_at_cells else None,
            }
        )

    def worker_down(self, node: Any) -> None:
        """Free the host of a worker that is gone, and take what it saw."""
        self.bench.placement.free(node.gateway.id)
        output = getattr(node, "workeroutput", {}).get(_WORKER_KEY)
        if output is not None:
            told = json.loads(output)
            self._problems += told["problems"]
            self.bench.evidence.add(told["evidence"])

    def host_of(self, node_id: str) -> int | None:
        """Return the index of the host whose memory the item's cell needs, None for any other."""
        cell = self._cell_of(node_id)
        return None if cell is None else self.bench.placement.host_of(cell)

    # --- cells --------------------------------------------------------------------------------

    def prepare(self, node_ids: Sequence[str], mistake: UserMistakeError | None) -> None:
        """Make sure, before the first item, that every selected cell may run and be kept.

        Raises:
            UserMistakeError: over the cap, missing, in use, unreachable: before any item.
        """
        if mistake is not None:
            raise mistake
        cells = [cell for cell in map(self._cell_of, node_ids) if cell is not None]
        if not cells:
            return
        from pytest_tipbench.keeper import Keeper
        from pytest_tipbench.preflight import admit_cells

        self._progress = Progress(len(cells))
        self._locks = admit_cells(self.bench, cells, self._console.say)
        self._keeper = Keeper.for_cells(
            self.settings, self.bench.evaluation.rubric, self.bench.session_id, self._console.say
        )

    def keep_report(self, report: pytest.TestReport) -> None:
        """Keep the run record that rides on a report; a dead worker's cell is kept as missing."""
        if self._keeper is None:
            return
        from pytest_tipbench.reporting import detach

        record = detach(report)
        cell = self._cell_of(report.nodeid)
        died = cast("str", report.when) == "???"  # xdist's mark of a worker's death
        if record is None and died and cell is not None and cell.id not in self._kept:
            record = self.bench.runner.missing(cell, "the worker that ran it died")
        if record is not None:
            self._kept.add(record.cell.id)
            self._to_tell[report.nodeid] = record
            self._keeper.keep(record)
            if record.session_id == self.bench.session_id:
                self.bench.evidence.add_run(record)

    def tell_cell(self, node_id: str) -> None:
        """Write a finished cell's line, and its tips, where the user asked for them."""
        record = self._to_tell.pop(node_id, None)
        if record is None or self._progress is None:
            return
        from pytest_tipbench.progress import tip_lines

        is_resumed = record.session_id != self.bench.session_id
        line = self._progress.line(record, is_resumed=is_resumed)
        if self.settings.show_tips or self._console.verbosity > 0:
            self._console.write(f"  {line}")
        if self.settings.show_tips:
            for tip_line in tip_lines(record):
                self._console.write(tip_line)

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
        self._findings = self._commands.run()

    def finish(self, exit_status: int) -> int:
        """Unload, run what was asked for after the cells, deliver; return the exit code.

        What goes wrong here, a failed gate included, turns only 0 into 1 (a user's mistake: 4).
        """
        if self.command_only and exit_status == pytest.ExitCode.NO_TESTS_COLLECTED:
            exit_status = pytest.ExitCode.OK
        if self._keeper is None:
            return exit_status
        worst = pytest.ExitCode.OK
        self._problems += self.bench.settle()
        if self._locks is not None:
            self._locks.release()
        try:
            if self._commands is None:
                self.run_commands_after_cells()
        except UserMistakeError as mistake:
            self._problems.append(str(mistake))
            worst = pytest.ExitCode.USAGE_ERROR
        except StoreError as error:
            self._problems.append(str(error))
        self._problems += self._keeper.finish(
            self._findings[0].board if self._findings else None,
            failed=exit_status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED),
            is_hurried=exit_status == pytest.ExitCode.INTERRUPTED,
        )
        if worst == pytest.ExitCode.OK and (
            self._problems or any(finding.fails for finding in self._findings)
        ):
            worst = pytest.ExitCode.TESTS_FAILED
        return worst if exit_status == pytest.ExitCode.OK else exit_status

    def run_commands_after_cells(self) -> None:
        """Run the commands of a call with a path, on the same experiment."""
        from pytest_tipbench.commands import Commands

        assert self._keeper is not None  # noqa: S101 - prepare opened it
        self._commands = Commands(self.settings, self.bench.evaluation, self._keeper, login_name())
        self._findings = self._commands.run()

    def write_summary(self) -> None:
        """Print the board and what there is to say about it."""
        if self._keeper is None:
            return
        from pytest_tipbench.summary import summary_lines

        self._console.section(f"tipbench: {self.settings.experiment}")
        for line in summary_lines(
            settings=self.settings,
            findings=self._findings,
            told=[*self._keeper.notices, *(self._commands.lines if self._commands else ())],
            evidence=None if self.command_only else self.bench.evidence,
            afterwards=self._keeper.afterwards(),
            problems=self._problems,
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
        if cell_id is None or "cells" not in self.bench.__dict__:
            return None
        return self.bench.cells_by_id.get(cell_id)
