"""Owns what has changed since a baseline as lines of plain text; imports the board's records only.

Rows have the letters that the HTML report gives them too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.reports.change_text import p_value, signed, with_interval
from pytest_tipbench.reports.charts import letters
from pytest_tipbench.reports.printable import printable
from pytest_tipbench.reports.text_layout import (
    GAP,
    Column,
    fitted_table,
    number,
    shortened,
    widest,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison, RowChange, ScenarioChange


def comparison_lines(
    comparison: BaselineComparison, *, width: int, ascii_only: bool, verbose: bool
) -> list[str]:
    """Return each row's change since the baseline, then the scenarios', then what to know of them.

    Where a column for each row does not fit the width, each scenario's mean, lowest and highest
    change stand for them; ``verbose`` has all of them, in several tables if need be.
    """
    title = f"compared with {comparison.name}, after − before by scenario: {comparison.outcome}"
    lines = [*wrapped([title], width, ascii_only=ascii_only)]
    rows = dict(zip(letters(len(comparison.rows)), comparison.rows, strict=True))
    rows = {letter: row for letter, row in rows.items() if row.standing == "compared"}
    words = [*comparison.notices]
    if rows:
        table, left_out = fitted_table(_row_columns(rows), width, ascii_only=ascii_only)
        lines += ["", *table, ""]
        words = [_on_columns(comparison), *words]
        if left_out:
            words.insert(1, f"left out at {width} columns: {', '.join(left_out)}")
        tables, said = _scenario_tables(
            comparison, rows, width, ascii_only=ascii_only, verbose=verbose
        )
        for table in tables:
            lines += [*table, ""]
        words += said
    return [*lines, *wrapped(words, width, ascii_only=ascii_only)]


def _on_columns(comparison: BaselineComparison) -> str:
    places = "a letter is the row's place on the board; " if len(comparison.compared) > 1 else ""
    return (
        f"{places}before and after are composites over the paired scenarios; change ± half of its "
        "95 % interval (Student t); p of the sign-flip test"
    )


# --- rows -------------------------------------------------------------------------------------


def _row_columns(rows: Mapping[str, RowChange]) -> list[Column]:
    changes = rows.values()
    columns = [
        Column("model", [row.model for row in changes], "left"),
        Column("prompt", [row.prompt_version for row in changes], "left"),
        Column("before", [number(row.composite_before, 2) for row in changes], drop_rank=2),
        Column("after", [number(row.composite_after, 2) for row in changes], drop_rank=2),
        Column("change", [with_interval(row.difference) for row in changes]),
        Column("p", [p_value(row.difference) for row in changes], drop_rank=3, name="sign-flip p"),
        Column("pairs", [str(len(row.paired)) for row in changes], drop_rank=1),
    ]
    return columns if len(rows) == 1 else [Column("", [*rows]), *columns]


# --- scenarios --------------------------------------------------------------------------------


def _scenario_tables(
    comparison: BaselineComparison,
    rows: Mapping[str, RowChange],
    width: int,
    *,
    ascii_only: bool,
    verbose: bool,
) -> tuple[list[list[str]], list[str]]:
    """Return the tables of the scenarios that any row pairs, and what to say of them."""
    means = comparison.scenario_means
    by_scenario = {
        letter: {change.scenario: change for change in row.paired}
        for letter, row in rows.items()
        if row.paired
    }
    names = [*means]
    if not names:
        return [], []
    scenario = Column("scenario", names, "left")
    if len(rows) == 1:
        (changes,) = by_scenario.values()
        table, _ = fitted_table(
            [scenario, *_one_row([changes[name] for name in names])], width, ascii_only=ascii_only
        )
        return [table], []
    columns = [
        Column(letter, [signed(_difference(changes.get(name))) for name in names])
        for letter, changes in by_scenario.items()
    ]
    columns.append(Column("mean", [signed(means[name]) for name in names]))
    blocks = _blocks(scenario, columns, width, ascii_only=ascii_only)
    if len(blocks) == 1 or verbose:
        return [fitted_table(block, width, ascii_only=ascii_only)[0] for block in blocks], []
    table, _ = fitted_table(
        [scenario, columns[-1], *_extremes(by_scenario, names)], width, ascii_only=ascii_only
    )
    return [table], [f"the change of every row in every scenario ({len(rows)} rows): -v"]


def _difference(change: ScenarioChange | None) -> float | None:
    return None if change is None else change.difference


def _one_row(changes: Sequence[ScenarioChange]) -> list[Column]:
    return [
        Column("before", [number(change.before, 2) for change in changes], drop_rank=1),
        Column("after", [number(change.after, 2) for change in changes], drop_rank=1),
        Column("change", [signed(change.difference) for change in changes]),
    ]


def _extremes(
    by_scenario: Mapping[str, Mapping[str, ScenarioChange]], names: Sequence[str]
) -> list[Column]:
    """Return the lowest and the highest change in each scenario, with the letter of its row."""
    lowest: list[str] = []
    highest: list[str] = []
    for name in names:
        found = [
            (change.difference or 0.0, letter)
            for letter, changes in by_scenario.items()
            if (change := changes.get(name)) is not None
        ]
        for texts, (difference, letter) in (
            (lowest, min(found, key=lambda pair: pair[0])),
            (highest, max(found, key=lambda pair: pair[0])),
        ):
            texts.append(f"{signed(difference)} {letter}")
    return [Column("lowest", lowest), Column("highest", highest)]


def _blocks(
    scenario: Column, columns: Sequence[Column], width: int, *, ascii_only: bool
) -> list[list[Column]]:
    """Put as many columns as fit beside the scenarios' names, the others in further tables.

    A name takes no more than half of the width.
    """
    names = [
        shortened(printable(name, ascii_only=ascii_only), width // 2, ascii_only=ascii_only)
        for name in scenario.texts
    ]
    beside = scenario._replace(texts=names)
    left = width - widest([scenario.header, *names])
    of_column = widest(text for column in columns for text in (column.header, *column.texts))
    count = max(left // (GAP + of_column), 1)
    return [[beside, *columns[start : start + count]] for start in range(0, len(columns), count)]
