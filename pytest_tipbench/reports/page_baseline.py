"""Owns what the page shows of the changes since a baseline; imports the charts and records.

Numbers and words in, coordinates and class names out: the template has the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pytest_tipbench.reports import charts
from pytest_tipbench.reports.change_text import in_print, signed

if TYPE_CHECKING:
    from pytest_tipbench.reports.report_records import (
        Report,
        ReportBaseline,
        ReportRowChange,
        ReportScenarioChange,
    )


class ChangeCell(NamedTuple):
    """One row in one scenario, as the map of changes shows it."""

    text: str
    style: str
    """A class name: the change's shade, or what stands in its place."""
    told: str
    """The same in words."""


class RowOfChanges(NamedTuple):
    """A row that both experiments have."""

    letter: str
    """Its name on the whole page."""
    row: ReportRowChange
    bar: charts.IntervalBar | None
    """None where too little is paired."""
    cells: list[ChangeCell]


class ChangesView(NamedTuple):
    """All that the page's section on a baseline needs."""

    comparison: ReportBaseline
    rows: list[RowOfChanges]
    scenarios: list[str]
    """Those that any row pairs, in the board's order."""
    ticks: list[charts.Tick]
    """Of the intervals' axis: its ends, and 0 between them."""


def changes_view(report: Report) -> ChangesView | None:
    """Return what to show of the report's comparison; None where there is none."""
    comparison = report.comparison
    if comparison is None:
        return None
    letters = charts.letters(len(comparison.rows))
    compared = [
        (letter, row)
        for letter, row in zip(letters, comparison.rows, strict=True)
        if row.standing == "compared"
    ]
    axis = charts.about_zero(
        end
        for _, row in compared
        if row.difference
        for end in (row.difference.low, row.difference.high)
        if end is not None
    )
    scenarios = [*comparison.scenario_means]
    return ChangesView(
        comparison,
        [
            RowOfChanges(letter, row, _bar(row, axis), _cells(row, scenarios, report.rubric.scale))
            for letter, row in compared
        ],
        scenarios,
        [
            charts.Tick(charts.on_scale(mark, axis), in_print(f"{mark:+g}" if mark else "0"))
            for mark in (axis[0], 0, axis[1])
        ],
    )


def _bar(row: ReportRowChange, axis: tuple[float, float]) -> charts.IntervalBar | None:
    if row.difference is None:
        return None
    return charts.interval_bar(row.difference.mean, row.difference.low, row.difference.high, axis)


def _cells(row: ReportRowChange, scenarios: list[str], scale: tuple[int, int]) -> list[ChangeCell]:
    changes = {change.scenario: change for change in row.scenarios}
    return [_cell(changes[name], scale) for name in scenarios]


def _cell(change: ReportScenarioChange, scale: tuple[int, int]) -> ChangeCell:
    if change.difference is None:
        return ChangeCell("–", "none", f"not paired, {change.left_out_because}")
    # Half of the rubric's scale has the strongest shade, so that two reports can be compared.
    half = (scale[1] - scale[0]) / 2
    return ChangeCell(
        in_print(signed(change.difference)),
        f"d{charts.step(change.difference, (-half, half))}",
        f"{change.before:.2f} before, {change.after:.2f} after",
    )
