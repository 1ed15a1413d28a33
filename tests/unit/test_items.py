from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_tipbench.errors import UnknownNameError, UserMistakeError
from pytest_tipbench.items import (
    attach_run,
    cell_of,
    complete,
    order_by_model,
    parametrize,
    release_after,
)
from pytest_tipbench.reporting import detach, lack_on
from pytest_tipbench.startup import BENCH, MISTAKE, RUN
from tests.unit.bench_samples import a_cell, a_reference
from tests.unit.board_samples import a_run
from tests.unit.test_reporting import a_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.records import Cell, RunRecord

SMALL, OTHER = a_reference("fake/small"), a_reference("fake/other")


class Runner:
    def __init__(self) -> None:
        self.ran: list[Cell] = []
        self.released: list[str] = []
        self.breaks_with: BaseException | None = None

    def run(
        self,
        cell: Cell,
        *,
        ends: tuple[type[BaseException], ...],
        keep_broken_off: Callable[[RunRecord], object],
    ) -> RunRecord:
        self.ran.append(cell)
        record = a_run().model_copy(update={"cell": cell})
        if self.breaks_with is not None:
            if not isinstance(self.breaks_with, ends):
                keep_broken_off(record)
            raise self.breaks_with
        return record

    def release(self, cell: Cell) -> None:
        self.released.append(cell.model.text)


class Bench:
    """As much of the bench as items ask for."""

    def __init__(self, cells: Sequence[Cell] = (), mistake: UserMistakeError | None = None) -> None:
        self.models = (SMALL, OTHER)
        self.runner = Runner()
        self._cells = tuple(cells)
        self._mistake = mistake

    @property
    def cells(self) -> tuple[Cell, ...]:
        if self._mistake is not None:
            raise self._mistake
        return self._cells


def in_one_session(bench: Bench, *cells: Cell | None) -> list[Any]:
    config = a_config(bench)
    items = [an_item(config, cell) for cell in cells]
    for item in items:
        item.session = SimpleNamespace(items=items)
    return items


def a_config(bench: Bench) -> Any:
    stash = pytest.Stash()
    stash[BENCH] = cast("Any", bench)
    return SimpleNamespace(stash=stash)


def an_item(config: Any, cell: Cell | None, name: str | None = None) -> Any:
    made = SimpleNamespace(
        config=config,
        nodeid=f"evals/test_tips.py::{name or f'test_tips[{cell.id if cell else 1}]'}",
        stash=pytest.Stash(),
        user_properties=[],
        fixturenames=["tip_run", "tip_cell"],
    )
    if cell is not None:
        made.callspec = SimpleNamespace(params={"tip_cell": cell})
    return made


class Metafunc:
    def __init__(self, bench: Bench, *fixtures: str) -> None:
        self.config = a_config(bench)
        self.fixturenames = list(fixtures)
        self.calls: list[tuple[str, Sequence[Cell | None], list[str]]] = []

    def parametrize(self, name: str, values: Sequence[Cell | None], *, ids: list[str]) -> None:
        self.calls.append((name, values, ids))


# --- collection -------------------------------------------------------------------------------


def test_one_item_is_made_per_cell() -> None:
    cells = (a_cell(), a_cell(scenario="s02"))
    metafunc = Metafunc(Bench(cells), "tip_run", "tip_cell")
    parametrize(metafunc)  # type: ignore[arg-type]  # a double
    assert metafunc.calls == [("tip_cell", cells, ["fake/small-v1-s01", "fake/small-v1-s02"])]


def test_a_test_that_asks_for_no_cell_is_left_alone() -> None:
    metafunc = Metafunc(Bench(mistake=UserMistakeError("never read")), "tmp_path")
    parametrize(metafunc)  # type: ignore[arg-type]  # a double
    assert metafunc.calls == []


def test_a_mistake_is_kept_for_the_controller() -> None:
    mistake = UnknownNameError("prompt version", "v9", ["v1"])
    metafunc = Metafunc(Bench(mistake=mistake), "tip_cell")
    parametrize(metafunc)  # type: ignore[arg-type]  # a double
    assert metafunc.config.stash[MISTAKE] is mistake
    assert metafunc.calls == [("tip_cell", [None], ["no-cells"])]


def test_a_cell_is_found_on_its_item_alone() -> None:
    config, cell = a_config(Bench()), a_cell()
    assert cell_of(an_item(config, cell)) == cell
    assert cell_of(an_item(config, None)) is None
    other = an_item(config, None)
    other.callspec = SimpleNamespace(params={"x": 1})
    assert cell_of(other) is None


# --- order ------------------------------------------------------------------------------------


def test_a_models_cells_are_brought_together_and_others_keep_their_places() -> None:
    config = a_config(Bench())
    small = [an_item(config, a_cell(model=SMALL, scenario=name)) for name in ("s01", "s02")]
    other = [an_item(config, a_cell(model=OTHER, scenario=name)) for name in ("s01", "s02")]
    stranger, stranger_too = an_item(config, None), an_item(config, None)
    items = [other[0], stranger, small[1], other[1], stranger_too, small[0]]
    order_by_model(items)
    # Among a model's cells the shuffled order stays: only loading is what has to be kept down.
    assert items == [small[1], stranger, small[0], other[0], stranger_too, other[1]]


def test_without_cells_nothing_is_touched() -> None:
    items = [an_item(a_config(Bench()), None), an_item(a_config(Bench()), None)]
    before = list(items)
    order_by_model(items)
    assert items == before
    order_by_model([])


# --- one item ---------------------------------------------------------------------------------


def test_the_record_rides_on_the_setups_report_and_its_facts_on_the_item() -> None:
    cell = a_cell()
    item = an_item(a_config(Bench()), cell)
    record = complete(item, cell)
    assert ("tipbench.scenario", "s01") in item.user_properties
    report = a_report()
    attach_run(item, report)
    assert detach(report) == record == item.stash[RUN]


@pytest.mark.parametrize("when", ["call", "teardown"])
def test_the_record_rides_once(when: str) -> None:
    cell = a_cell()
    item = an_item(a_config(Bench()), cell)
    complete(item, cell)
    report = a_report()
    report.when = when  # type: ignore[assignment]  # one of pytest's own words
    attach_run(item, report)
    assert detach(report) is None


def test_an_item_without_a_record_attaches_none() -> None:
    report = a_report()
    attach_run(an_item(a_config(Bench()), a_cell()), report)
    assert detach(report) is None
    assert lack_on(report) is None


def test_a_broken_off_cells_record_rides_too() -> None:
    bench, cell = Bench(), a_cell()
    bench.runner.breaks_with = pytest.fail.Exception("Timeout")
    item, report = an_item(a_config(bench), cell), a_report()
    with pytest.raises(pytest.fail.Exception, match="Timeout"):
        complete(item, cell)
    attach_run(item, report)
    assert detach(report) == item.stash[RUN]
    assert ("tipbench.scenario", "s01") in item.user_properties


def test_an_end_of_the_session_leaves_no_record() -> None:
    bench, cell = Bench(), a_cell()
    bench.runner.breaks_with = pytest.exit.Exception("enough")
    item = an_item(a_config(bench), cell)
    with pytest.raises(pytest.exit.Exception, match="enough"):
        complete(item, cell)
    assert RUN not in item.stash


def a_failed_setup(longrepr: Any = "no database\nat all \ud800") -> pytest.TestReport:
    report = a_report()
    report.when, report.outcome, report.longrepr = "setup", "failed", longrepr
    return report


CRASHED = SimpleNamespace(reprcrash=SimpleNamespace(message="OSError: no\ndatabase"))


@pytest.mark.parametrize(
    ("longrepr", "words"),
    [
        ("no database\nat all", "no database"),
        ("no \ud800", "no \ud800"),
        (CRASHED, "OSError: no"),
        ("", "it does not say why"),
    ],
)
def test_a_setup_that_failed_before_its_cell_says_so(longrepr: Any, words: str) -> None:
    report = a_failed_setup(longrepr)
    attach_run(an_item(a_config(Bench()), a_cell()), report)
    assert detach(report) is None
    assert lack_on(report) == f"nothing was generated, as the setup failed: {words}"
    assert all(text.isascii() for text in vars(report).values() if "nothing was" in str(text))


def test_nothing_is_said_of_a_setup_that_no_cell_hung_on() -> None:
    config = a_config(Bench())
    of_the_cell_alone = an_item(config, a_cell())
    of_the_cell_alone.fixturenames = ["tip_cell"]
    done = an_item(config, a_cell())
    complete(done, a_cell())
    for item in (an_item(config, None), of_the_cell_alone, done):
        report = a_failed_setup()
        attach_run(item, report)
        assert lack_on(report) is None


@pytest.mark.parametrize(
    "name", ["test_tips[1-fake/small-v1-s01]", "test_tips[fake/small-v1-s01-1]", "test_tips"]
)
def test_an_item_whose_name_does_not_tell_its_cell_is_never_generated(name: str) -> None:
    bench, cell = Bench(), a_cell()
    with pytest.raises(UserMistakeError, match="takes no other parameter"):
        complete(an_item(a_config(bench), cell, name), cell)
    assert bench.runner.ran == []


@pytest.mark.parametrize(
    ("next_cell", "released"),
    [
        (a_cell(scenario="s02"), []),
        (a_cell(model=OTHER), ["fake/small"]),
        (None, ["fake/small"]),
    ],
    ids=["the same model", "another model", "no cell"],
)
def test_a_model_is_given_back_after_its_last_cell(
    next_cell: Cell | None, released: list[str]
) -> None:
    bench = Bench()
    items = in_one_session(bench, a_cell(), next_cell)
    release_after(*items)
    assert bench.runner.released == released


@pytest.mark.parametrize(
    ("later", "released"),
    [
        ((None, None, a_cell(scenario="s02")), []),
        ((None, a_cell(model=OTHER), a_cell(scenario="s02")), ["fake/small"]),
        ((None, None), ["fake/small"]),
    ],
    ids=["the same model", "another model", "no cell"],
)
def test_items_of_others_in_between_are_looked_past(
    later: Sequence[Cell | None], released: list[str]
) -> None:
    bench = Bench()
    earlier = (a_cell(scenario="s02"), None)  # what is done needs no model any more
    items = in_one_session(bench, *earlier, a_cell(), *later)
    release_after(items[2], items[3])
    assert bench.runner.released == released


def test_a_worker_goes_by_the_next_item() -> None:
    """What follows it in the collection may be another worker's."""
    bench = Bench()
    items = in_one_session(bench, a_cell(), None, a_cell(scenario="s02"))
    items[0].config.workerinput = {}
    release_after(items[0], items[1])
    assert bench.runner.released == ["fake/small"]


def test_the_sessions_last_item_gives_back_too_and_a_strangers_nothing() -> None:
    bench = Bench()
    config = a_config(bench)
    release_after(an_item(config, None), an_item(config, a_cell()))
    assert bench.runner.released == []
    release_after(an_item(config, a_cell()), None)
    assert bench.runner.released == ["fake/small"]


def test_a_worker_that_died_leaves_a_lack() -> None:
    report = a_report()
    report.when = "???"  # type: ignore[assignment]  # xdist's own word
    assert lack_on(report) == "the worker that ran it died"
