"""Owns pytest's hooks, each handing over to a module; imports nothing heavy.

pytest imports it only where the bench is switched on (see ``entry``). The hooks of the module serve
every process; those of ``ControllerHooks`` are registered on the controller alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.entry import add_hookspecs
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.items import (
    attach_run,
    cells_of,
    complete,
    mark_cells,
    order_by_model,
    parametrize,
    release_after,
)
from pytest_tipbench.options import add_options
from pytest_tipbench.reports.printable import readable
from pytest_tipbench.startup import (
    MISTAKE,
    before_main,
    configure,
    finish_worker,
    unconfigure,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Any

    from pytest_tipbench.records import Cell, RunRecord
    from pytest_tipbench.session import BenchSession


@contextmanager
def _in_pytests_words() -> Iterator[None]:
    """Turn a user's mistake into one clean line and exit code 4."""
    try:
        yield
    except UserMistakeError as mistake:
        raise pytest.UsageError(str(mistake)) from None


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    add_hookspecs(pluginmanager)


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | pytest.ExitCode | None:
    with _in_pytests_words():
        return before_main(config)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    with _in_pytests_words():
        controller = configure(config)
    if controller is not None:
        config.pluginmanager.register(ControllerHooks(controller), "tipbench-controller")


def pytest_unconfigure(config: pytest.Config) -> None:
    unconfigure(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize(metafunc)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Generator[None, Any, Any]:
    mark_cells(items)
    result = yield
    order_by_model(items)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    order_by_model(session.items)  # pytest's own --failed-first comes after every other plugin


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    attach_run(item, report)
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    release_after(item, nextitem)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    finish_worker(session.config)


@pytest.fixture
def tip_run(request: pytest.FixtureRequest, tip_cell: Cell) -> RunRecord:
    """The run record of this item's cell: generated now, or taken from the store."""
    with _told_in_one_line():
        record = complete(request.node, tip_cell)
    if not record.is_measured:
        pytest.fail(readable(f"{record.outcome.value}: {record.error}"), pytrace=False)
    return record


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    """Turn a user's mistake that shows at an item into that item's error, without a traceback."""
    try:
        yield
    except UserMistakeError as mistake:
        error = pytest.fail.Exception(str(mistake), pytrace=False)
        raise error from None


def _meant(exit_status: int, config: pytest.Config) -> int:
    """Return the exit status that pytest has without workers."""
    if exit_status == pytest.ExitCode.INTERRUPTED and config.pluginmanager.hasplugin("dsession"):
        from pytest_tipbench.scheduler import stopped_by_failures

        if stopped_by_failures(config):
            return pytest.ExitCode.TESTS_FAILED
    return exit_status


def _unread_reports(config: pytest.Config) -> Iterator[pytest.TestReport]:
    """Yield what workers have reported and an interruption has left lying."""
    if config.pluginmanager.hasplugin("dsession"):
        from pytest_tipbench.scheduler import unread_reports

        yield from unread_reports(config)


class ControllerHooks:
    """The hooks of the process that keeps, judges and reports."""

    def __init__(self, controller: BenchSession) -> None:
        self._controller = controller

    def pytest_report_header(self) -> list[str]:
        return self._controller.header_lines()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        self._controller.configure_worker(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._controller.worker_down(node)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        from pytest_tipbench.scheduler import BenchScheduling

        return BenchScheduling(config, log, self._prepare_nodes, self._controller.host_of)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool | None:
        if not self._controller.command_only:
            return None
        session.items, session.testscollected = [], 0
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed or session.config.option.collectonly:
            return None
        if self._controller.command_only:
            with _in_pytests_words():
                self._controller.run_commands()
            return True
        if not self._controller.distributed:
            with _in_pytests_words():
                if MISTAKE in session.config.stash:
                    raise session.config.stash[MISTAKE]
                self._controller.prepare(cells_of(session.items))
        return None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, Any, Any]:
        self._controller.keep_report(report)
        result = yield
        self._controller.tell_cell(report)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, Any, Any]:
        exit_code = session.exitstatus = self._controller.finish(
            _meant(exitstatus, session.config), _unread_reports(session.config)
        )
        result = yield
        self._controller.add_gates_to_junit(session.config.getoption("xmlpath", None))
        if self._controller.command_only:
            # Some plugins (syrupy) put the code they were called with back: 5, as no test ran.
            session.exitstatus = exit_code
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self) -> Generator[None, Any, Any]:
        result = yield  # pytest's list of what failed, so that the board is not above it
        self._controller.write_summary()
        return result

    def pytest_unconfigure(self) -> None:
        self._controller.close()

    def _prepare_nodes(self, node_ids: Sequence[str]) -> None:
        with _in_pytests_words():
            self._controller.prepare_nodes(node_ids)
