"""Owns the frozen records of a board; imports records and the interval of estimates only.

A board is plain data: everything that a terminal, a report or a gate shows of an experiment's rows
is in it, and nothing in it needs the store again.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from pytest_tipbench.estimates import Interval, PairedDifference
from pytest_tipbench.records import Outcome, Record, SamplingOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_tipbench.records import RunRecord


class BoardRow(Record):
    """One (model, prompt version) in one configuration.

    Scores count judged cells only and are averaged inside each scenario first; rates and speeds
    count every measured cell. None = nothing to tell it from.
    """

    model: str
    """The reference as it was typed for the newest run."""
    prompt_version: str
    configuration_sha256: str
    model_digest: str | None
    parameter_count: int | None
    quantization: str | None
    prompt_sha256: str
    n_tips: int
    sampling: SamplingOptions
    last_finished_at: datetime
    run_ids: tuple[str, ...]
    """Runs that the row is made of, oldest first."""

    tier: int | None = None
    """1 is the leader's; None where the row is not ranked, or ranked without tiers."""
    lacks: tuple[str, ...] = ()
    """Scenarios that at least half of the rows have measured and this one has not."""
    unranked_because: str | None = None
    """In words; None where the row is ranked."""
    has_older_prompt: bool = False
    """Another row has a newer text of the prompt version."""
    shared_composite: float | None = None
    """Mean over the scenarios that all ranked rows share; what the tiers compare."""

    outcomes: dict[Outcome, int]
    """How many cells ended how."""
    measured_scenarios: tuple[str, ...]
    """Those with at least one measured cell."""
    judged_cells: int
    """Measured cells in which every tip has a score; a cell without a tip has them at once."""
    pending_cells: int
    """Measured cells with a tip that no judge has scored under the rubric."""
    pending_tips: int
    """Distinct unscored tips in them."""
    usable_rate: float | None
    """Share of the measured cells with at least one usable tip."""

    composite: float | None
    composite_low: float | None
    composite_high: float | None
    """The 95 % interval over scenarios; None with one judged scenario."""
    criteria: dict[str, Interval]
    """By criterion; empty where ``composite`` is None."""
    scenario_composites: dict[str, float]
    """By scenario id, judged scenarios only."""
    scenario_criteria: dict[str, dict[str, float]]
    """By scenario id, then by criterion."""

    diversity: dict[str, float] = Field(default_factory=dict)
    """distinct_2, self_similarity, specificity; empty unless asked for."""
    median_latency_seconds: float | None
    p95_latency_seconds: float | None
    """By the nearest rank."""
    tokens_per_second: float | None
    """Median of the cells' generation speeds."""
    resident_bytes: int | None
    resident_vram_bytes: int | None
    """The largest seen."""

    @property
    def label(self) -> str:
        """``MODEL × PROMPT``."""
        return f"{self.model} × {self.prompt_version}"

    @property
    def cells(self) -> int:
        """All of the row's cells, measured or not."""
        return sum(self.outcomes.values())

    @property
    def unmeasured_cells(self) -> int:
        """Cells that a machine's fault kept from being measured."""
        return sum(count for outcome, count in self.outcomes.items() if outcome.is_machine_fault)

    @property
    def measured_cells(self) -> int:
        """Cells that count."""
        return self.cells - self.unmeasured_cells

    @property
    def criterion_means(self) -> dict[str, float]:
        """Mean of each criterion over the judged scenarios."""
        return {name: interval.mean for name, interval in self.criteria.items()}

    @property
    def worst_scenario_composite(self) -> float | None:
        """The lowest of the scenario means."""
        return min(self.scenario_composites.values(), default=None)


class OlderRow(Record):
    """A configuration that a newer one of the same (model, prompt version) has replaced."""

    row: BoardRow
    reason: str
    """What differs from the newer one, in words."""


class OtherRubricRow(Record):
    """Scores that a row's tips were given under another rubric; they never mix with the board's."""

    model: str
    prompt_version: str
    rubric_sha256: str
    rubric_version: str | None
    """None where no run on the board was made under it."""
    judged_cells: int
    """Cells with at least one tip scored under it."""
    cells_only_judged_there: int
    """Those of them in which no tip is scored under the board's rubric."""
    criterion_means: dict[str, float]
    """Over the scored tips, each judge-averaged; missing tips and scenarios are not weighed in."""


class Group(Record):
    """A model or a prompt version among its like."""

    name: str
    composite: float
    tier: int


class Comparison(Record):
    """Models averaged over prompts, or prompts averaged over models; over the shared scenarios."""

    groups: tuple[Group, ...]
    """Best first."""
    averaged_over: tuple[str, ...]
    """The prompts (or models) that all of them have."""
    least_significant_difference: float


class Board(Record):
    """All rows of an experiment that a selection names, as one rubric scores them."""

    experiment: str
    """Empty where there is no run."""
    rubric_version: str
    rubric_sha256: str
    scale: tuple[int, int]
    criteria: tuple[str, ...]
    """In the rubric's order."""
    judges: tuple[str, ...]
    """Who scored tips on this board under its rubric."""

    ranked: tuple[BoardRow, ...]
    """Best first."""
    unranked: tuple[BoardRow, ...]
    """Each says why."""
    older_rows: tuple[OlderRow, ...]
    other_rubrics: tuple[OtherRubricRow, ...]

    scenarios: dict[str, str]
    """Id → hash of the content that counts, in the order of first appearance."""
    shared_scenarios: tuple[str, ...]
    """Those in which all ranked rows are measured and judged."""
    least_significant_difference: float | None
    """Between two ranked rows; None with one row, or fewer than 3 shared scenarios."""
    models: Comparison | None
    prompts: Comparison | None
    pair: PairedDifference | None
    """The first ranked row minus the second, where there are exactly two."""

    pending_cells: int
    pending_tips: int
    """Distinct (scenario, tip) pairs that nobody has scored under the rubric."""
    notices: tuple[str, ...] = ()
    """What a reader has to know beside the numbers, in words."""

    @property
    def rows(self) -> tuple[BoardRow, ...]:
        """All rows: the ranked ones, then the others."""
        return self.ranked + self.unranked

    def counted(self, runs: Iterable[RunRecord]) -> list[RunRecord]:
        """Return those of the runs that the rows are made of."""
        made_of = {run_id for row in self.rows for run_id in row.run_ids}
        return [run for run in runs if run.run_id in made_of]
