"""Owns what pytest's items have to do with cells; imports no pytest at run time."""

from __future__ import annotations

from functools import partial
from itertools import dropwhile
from typing import TYPE_CHECKING

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.matrix import cell_id_of
from pytest_tipbench.startup import (
    BENCH,
    ENDS_SESSION,
    MARKER,
    MISTAKE,
    RUN,
    UNSAID,
    heed_termination,
    is_worker,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from pytest_tipbench.records import Cell, RunRecord


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Make one item per cell of every test that asks for ``tip_run`` (or ``tip_cell``).

    A mistake found here is kept for the controller, which ends the session with it before any
    item runs: raised here it would read as a collection error. The controller of workers does not
    see it, and the item that stands for the cells fails with it there.
    """
    if "tip_cell" not in metafunc.fixturenames:
        return
    heed_termination(metafunc.config)
    try:
        cells = metafunc.config.stash[BENCH].cells
    except UserMistakeError as mistake:
        metafunc.config.stash[MISTAKE] = mistake
        metafunc.parametrize("tip_cell", [None], ids=["no-cells"])
        return
    metafunc.parametrize("tip_cell", cells, ids=[cell.id for cell in cells])


def cell_of(item: pytest.Item) -> Cell | None:
    """Return the cell of an item of ours, None for anybody else's."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get("tip_cell")


def cells_of(items: Iterable[pytest.Item]) -> list[Cell]:
    """Return the cells of the items that are ours, in their order.

    Raises:
        UserMistakeError: an item's name does not tell its cell.
    """
    found = []
    for item in items:
        cell = cell_of(item)
        if cell is not None:
            _check_name(item, cell)
            found.append(cell)
    return found


def mark_cells(items: Iterable[pytest.Item]) -> None:
    """Mark the items that are cells, so that ``-m`` tells them from others."""
    for item in items:
        if cell_of(item) is not None:
            item.add_marker(MARKER)


def order_by_model(items: list[pytest.Item]) -> None:
    """Bring our items back into the matrix's order, in the places that they hold together.

    Whatever other plugins shuffled, a model's cells stay together, so that its weights are loaded
    once; everybody else's items keep their places.
    """
    places = [index for index, item in enumerate(items) if cell_of(item) is not None]
    if not places:
        return
    bench = items[places[0]].config.stash[BENCH]
    rank = {model.text: index for index, model in enumerate(bench.models)}
    ours = [items[index] for index in places]
    ours.sort(key=lambda item: rank[_cell(item).model.text])
    for index, item in zip(places, ours, strict=True):
        items[index] = item


def complete(item: pytest.Item, cell: Cell) -> RunRecord:
    """Run the cell and leave its record where the report finds it, also where it is broken off.

    Raises:
        UserMistakeError: there are no cells, or the item's name does not tell which it is.
    """
    if MISTAKE in item.config.stash:
        raise item.config.stash[MISTAKE]
    _check_name(item, cell)
    record = item.config.stash[BENCH].runner.run(
        cell, ends=ENDS_SESSION, keep_broken_off=partial(_keep, item)
    )
    _keep(item, record)
    return record


def _keep(item: pytest.Item, record: RunRecord) -> None:
    from pytest_tipbench.reporting import junit_properties

    item.stash[RUN] = record
    item.user_properties.extend(junit_properties(record))


def attach_run(item: pytest.Item, report: pytest.TestReport) -> None:
    """Send the record with the first report after it was made: nothing later can lose it.

    Where a setup failed before there was one, say so: no selected cell vanishes. A worker sends
    with it what it has to say.
    """
    if report.when == "setup":
        if RUN in item.stash:
            from pytest_tipbench.reporting import attach

            attach(report, item.stash[RUN])
        elif report.failed and cell_of(item) and "tip_run" in getattr(item, "fixturenames", ()):
            from pytest_tipbench.reporting import attach_lack

            attach_lack(report)
    unsaid = item.config.stash.get(UNSAID, None)
    if unsaid:
        from pytest_tipbench.reporting import attach_lines

        attach_lines(report, unsaid)
        unsaid.clear()


def release_after(item: pytest.Item, next_item: pytest.Item | None) -> None:
    """Give a model's memory back where no cell of the same model comes next, among cells."""
    cell = cell_of(item)
    if cell is None:
        return
    next_cell = None if next_item is None else _first_cell_from(next_item)
    if next_cell is None or next_cell.model != cell.model:
        item.config.stash[BENCH].runner.release(cell)


def _first_cell_from(item: pytest.Item) -> Cell | None:
    """Return the first cell that this process runs from the item on.

    A worker is told of one item only; it is given the cells of its host in a row, with nobody
    else's items between.
    """
    cell = cell_of(item)
    if cell is not None or is_worker(item.config):
        return cell
    following = dropwhile(lambda other: other is not item, item.session.items)
    return next((found for found in map(cell_of, following) if found is not None), None)


def _cell(item: pytest.Item) -> Cell:
    cell = cell_of(item)
    assert cell is not None  # noqa: S101 - only called on items of ours
    return cell


def _check_name(item: pytest.Item, cell: Cell) -> None:
    """Refuse an item whose name does not tell its cell: nobody could admit its model or keep it."""
    if cell_id_of(item.nodeid) != cell.id:
        raise UserMistakeError(
            f"{item.nodeid}: a test that asks for tip_run takes no other parameter; "
            "options of the bench (--models, --prompts, --scenarios, --repeats) make its cells"
        )
