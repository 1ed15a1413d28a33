"""Owns how a board differs from the board of another experiment: by row and by scenario, paired.

Pure: imports records, estimates and the other ``board_`` modules; nothing of gates or reports. What
a gate says of a change, and what the terminal and the reports show of it, all come from here.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Literal

from pytest_tipbench.board_notices import configuration_changes, counted_noun, listed
from pytest_tipbench.board_records import Board, BoardRow
from pytest_tipbench.estimates import (
    MINIMUM_SHARED_SCENARIOS,
    PairedDifference,
    paired_difference,
)
from pytest_tipbench.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Standing = Literal["compared", "new", "gone", "other_prompt"]

_ROUNDING_DIGITS = 9
"""An end of an interval that is 0 on paper differs from it by the order of adding."""


class ScenarioChange(Record):
    """One scenario of a row, and of the same row of the baseline."""

    scenario: str
    before: float | None
    """The baseline's composite; None where nothing of it is judged there."""
    after: float | None
    left_out_because: str | None
    """In words; None where the two are paired."""

    @property
    def difference(self) -> float | None:
        """``after`` − ``before``; None where the two are not paired."""
        if self.left_out_because or self.before is None or self.after is None:
            return None
        return self.after - self.before


class RowChange(Record):
    """One (model, prompt version) of either board."""

    model: str
    prompt_version: str
    before: BoardRow | None
    """None: the row is new."""
    after: BoardRow | None
    """None: the row is gone."""
    composite_before: float | None
    """Over the paired scenarios; of a row that is not compared, over all that it has."""
    composite_after: float | None
    difference: PairedDifference | None
    """After − before; None with fewer than 3 paired scenarios, which tell nothing of their mean."""
    configuration_changes: tuple[str, ...]
    """What else differs between the two, in words; empty unless the row is compared."""
    scenarios: tuple[ScenarioChange, ...]
    """All of either board, with why one is left out; empty unless the row is compared."""

    @property
    def label(self) -> str:
        """``MODEL × PROMPT``."""
        return f"{self.model} × {self.prompt_version}"

    @property
    def standing(self) -> Standing:
        """Whether there are two rows under one name, made with one text of the prompt."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        return "compared" if _have_one_prompt(self.before, self.after) else "other_prompt"

    @property
    def direction(self) -> Literal["rose", "fell"] | None:
        """Where the 95 % interval lies wholly on one side of 0, which; None: it cannot be told."""
        if self.difference is None:
            return None
        # With 3 scenarios or more there always is an interval.
        low, high = self.difference.low or 0.0, self.difference.high or 0.0
        if round(low, _ROUNDING_DIGITS) > 0:
            return "rose"
        return "fell" if round(high, _ROUNDING_DIGITS) < 0 else None

    @property
    def paired(self) -> tuple[ScenarioChange, ...]:
        """The scenarios that are judged in both, with one text."""
        return tuple(change for change in self.scenarios if change.left_out_because is None)

    @property
    def changed_texts(self) -> tuple[str, ...]:
        """Scenarios that are judged in both, and are not paired because their text differs."""
        return tuple(
            change.scenario
            for change in self.scenarios
            if change.left_out_because and None not in (change.before, change.after)
        )


class BaselineComparison(Record):
    """What has changed since a baseline: every row of the board, then those that it has lost."""

    baseline: str
    """The experiment compared with; empty where it has no run."""
    rows: tuple[RowChange, ...]
    """In the board's order."""
    notices: tuple[str, ...]
    """What a reader has to know beside the numbers, in words."""

    @property
    def name(self) -> str:
        """What to call the baseline in a sentence."""
        return self.baseline or "the baseline"

    @property
    def compared(self) -> tuple[RowChange, ...]:
        """The rows that both boards have."""
        return tuple(row for row in self.rows if row.standing == "compared")

    @property
    def scenario_means(self) -> dict[str, float]:
        """By scenario, in the board's order, the mean difference of the rows that pair it."""
        differences: dict[str, list[float]] = {}
        for row in self.compared:
            for change in row.scenarios:
                of_scenario = differences.setdefault(change.scenario, [])
                if change.difference is not None:
                    of_scenario.append(change.difference)
        return {name: statistics.fmean(values) for name, values in differences.items() if values}

    @property
    def outcome(self) -> str:
        """How many rows rose, fell, or did neither for certain, in words."""
        directions = [row.direction for row in self.compared if row.difference]
        if not directions:
            return "no row can be compared"
        counts = {
            "rose": directions.count("rose"),
            "fell": directions.count("fell"),
            "cannot be told apart from before": directions.count(None),
        }
        said = [f"{counted_noun(count, 'row')} {what}" for what, count in counts.items() if count]
        return f"{', '.join(said)} (95 % interval of each)"


def compare_with_baseline(board: Board, baseline: Board) -> BaselineComparison:
    """Return what has changed from the baseline to the board, both made under one rubric.

    Rows meet their like by model and prompt version, and are compared where the prompt's text is
    the same. Scenarios are paired where both rows are judged in them and their text is the same.
    """
    earlier = {_name(row): row for row in baseline.rows}
    kept = {_name(row) for row in board.rows}
    rows = [
        _compared(before, row, board, baseline)
        if (before := earlier.get(_name(row))) and _have_one_prompt(before, row)
        else _alone(row, before, row)
        for row in board.rows
    ]
    rows += [_alone(row, row, None) for row in baseline.rows if _name(row) not in kept]
    made = BaselineComparison(baseline=baseline.experiment, rows=tuple(rows), notices=())
    notices = [
        *_on_judges(board.judges, baseline.judges, made.name),
        *_on_rows(made),
        *_on_scenarios(made.compared),
    ]
    return made.model_copy(update={"notices": tuple(notices)})


def _name(row: BoardRow) -> tuple[str, str]:
    return row.model, row.prompt_version


def _have_one_prompt(before: BoardRow, after: BoardRow) -> bool:
    return before.prompt_sha256 == after.prompt_sha256


# --- rows and their scenarios -----------------------------------------------------------------


def _compared(before: BoardRow, after: BoardRow, board: Board, baseline: Board) -> RowChange:
    scenarios = [
        ScenarioChange(
            scenario=name,
            before=before.scenario_composites.get(name),
            after=after.scenario_composites.get(name),
            left_out_because=_why_left_out(name, (before, after), (baseline, board)),
        )
        for name in dict.fromkeys([*board.scenarios, *baseline.scenarios])
    ]
    paired = [change.scenario for change in scenarios if change.left_out_because is None]
    afterwards = [after.scenario_composites[name] for name in paired]
    beforehand = [before.scenario_composites[name] for name in paired]
    is_enough = len(paired) >= MINIMUM_SHARED_SCENARIOS
    return RowChange(
        model=after.model,
        prompt_version=after.prompt_version,
        before=before,
        after=after,
        composite_before=statistics.fmean(beforehand) if paired else None,
        composite_after=statistics.fmean(afterwards) if paired else None,
        difference=paired_difference(afterwards, beforehand) if is_enough else None,
        configuration_changes=configuration_changes(before, after),
        scenarios=tuple(scenarios),
    )


def _alone(row: BoardRow, before: BoardRow | None, after: BoardRow | None) -> RowChange:
    return RowChange(
        model=row.model,
        prompt_version=row.prompt_version,
        before=before,
        after=after,
        composite_before=before and before.composite,
        composite_after=after and after.composite,
        difference=None,
        configuration_changes=(),
        scenarios=(),
    )


def _why_left_out(
    name: str, rows: tuple[BoardRow, BoardRow], boards: tuple[Board, Board]
) -> str | None:
    """Say why the scenario is not paired; rows and boards are the baseline's and the newer one."""
    before, after = (_lack(name, row, board) for row, board in zip(rows, boards, strict=True))
    texts = [board.scenarios[name] for board in boards if name in board.scenarios]
    if len(set(texts)) > 1:
        return "another text in the baseline"
    if before == after:
        return before and f"{before} in either"
    sides = [after and f"{after} here", before and f"{before} in the baseline"]
    return ", ".join(filter(None, sides))


def _lack(name: str, row: BoardRow, board: Board) -> str | None:
    if name in row.scenario_composites:
        return None
    if name in row.measured_scenarios:
        return "not judged"
    return "not measured" if name in board.scenarios else "absent"


# --- the words --------------------------------------------------------------------------------


def _on_judges(here: Sequence[str], there: Sequence[str], name: str) -> Iterator[str]:
    if here and there and here != there:
        yield (
            f"judged by {listed(here)} here and by {listed(there)} in {name}: "
            "a change may be the judges' own"
        )


def _on_rows(comparison: BaselineComparison) -> Iterator[str]:
    labels: dict[str, list[str]] = {}
    for row in comparison.rows:
        for said in _on_row(row, comparison.name):
            labels.setdefault(said, []).append(row.label)
    for said, rows in labels.items():
        yield f"{said}: {listed(rows)}"


def _on_row(row: RowChange, baseline: str) -> Iterator[str]:
    if row.standing == "new":
        yield f"not in {baseline}"
    elif row.standing == "gone":
        yield f"only in {baseline}"
    elif row.standing == "other_prompt":
        yield f"prompt {row.prompt_version} has another text in {baseline}, not compared"
    elif row.difference is None:
        yield (
            f"{counted_noun(len(row.paired), 'paired scenario')}, and "
            f"{MINIMUM_SHARED_SCENARIOS} are needed to compare the mean"
        )
    for change in row.configuration_changes:
        yield f"compared all the same, {change}"


def _on_scenarios(rows: Sequence[RowChange]) -> Iterator[str]:
    """Say which scenarios are left out and why, those of the same rows together."""
    labels: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for change in row.scenarios:
            if change.left_out_because:
                of_scenario = labels.setdefault((change.left_out_because, change.scenario), [])
                of_scenario.append(row.label)
    scenarios: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, scenario), of_rows in labels.items():
        scenarios.setdefault((reason, tuple(of_rows)), []).append(scenario)
    for (reason, among), names in scenarios.items():
        which = "" if len(among) == len(rows) else f" ({listed(among)})"
        yield f"not paired, {reason}: {listed(names)}{which}"
