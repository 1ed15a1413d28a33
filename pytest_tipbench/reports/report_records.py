"""Owns the shape of a report, format ``tipbench-report/1``; imports records and estimates only.

These are the records of a file that others read: apart from the board's own, which may change. In
``/1`` fields are only ever added. What cannot be told is None, never 0 and never NaN.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, ConfigDict, Field

from pytest_tipbench.estimates import Interval, PairedDifference
from pytest_tipbench.judgement_records import Criterion, CriterionDrift
from pytest_tipbench.records import (
    DroppedTip,
    Outcome,
    Record,
    RenderedPrompt,
    SamplingOptions,
    Scenario,
)

SCHEMA: Literal["tipbench-report/1"] = "tipbench-report/1"


class FileRecord(Record):
    """Base of the file's records: their docstrings are the descriptions of the JSON Schema."""

    model_config = ConfigDict(use_attribute_docstrings=True, serialize_by_alias=True)


class ReportRubric(FileRecord):
    """By what the tips were scored."""

    version: str
    sha256: str
    scale: tuple[int, int]
    """The lowest and the highest score."""
    missing_tip_score: float
    """What a tip that did not come counts on every criterion."""
    criteria: tuple[Criterion, ...]
    text: str


class ReportScenario(FileRecord):
    """A scenario with the content that counts on the board."""

    id: str
    sha256: str
    content: Scenario


class ReportRow(FileRecord):
    """One (model, prompt version) in one configuration; ranked rows first, the best of them first.

    Scores count judged cells and are averaged inside each scenario first.
    """

    model: str
    prompt_version: str
    tier: int | None
    """1 is the leader's. Null: not ranked, or too few shared scenarios for tiers."""
    unranked_because: str | None
    """Null where the row is ranked."""
    lacks: tuple[str, ...]
    """Scenarios that the others have measured and this row has not."""
    composite: float | None
    composite_low: float | None
    composite_high: float | None
    """Low and high: 95 % interval, Student t over scenarios."""
    shared_composite: float | None
    """Over the shared scenarios: what tiers compare."""
    worst_scenario_composite: float | None
    criteria: dict[str, Interval]
    scenario_composites: dict[str, float]
    scenario_criteria: dict[str, dict[str, float]]
    score_counts: dict[str, dict[str, int]]
    """Criterion → score → how often a judge gave it to a tip of this row."""
    cells: int
    measured_cells: int
    unmeasured_cells: int
    judged_cells: int
    pending_cells: int
    pending_tips: int
    usable_rate: float | None
    outcomes: dict[Outcome, int]
    diversity: dict[str, float]
    median_latency_seconds: float | None
    p95_latency_seconds: float | None
    tokens_per_second: float | None
    resident_bytes: int | None
    resident_vram_bytes: int | None
    """The largest seen."""
    model_digest: str | None
    parameter_count: int | None
    quantization: str | None
    server_versions: tuple[str, ...]
    configuration_sha256: str
    prompt_sha256: str
    n_tips: int
    sampling: SamplingOptions
    seeds: tuple[int, ...]
    residency: tuple[str, ...]
    """``call`` (unloaded after each response) or ``model``; both where the row has both."""
    last_finished_at: AwareDatetime

    @property
    def label(self) -> str:
        """``MODEL × PROMPT``."""
        return f"{self.model} × {self.prompt_version}"


class ReportOlderRow(FileRecord):
    """A configuration that a newer one of the same (model, prompt version) has replaced."""

    model: str
    prompt_version: str
    reason: str
    """What differs from the newer one, in words."""
    configuration_sha256: str
    composite: float | None
    composite_low: float | None
    composite_high: float | None
    judged_cells: int
    cells: int
    last_finished_at: AwareDatetime


class ReportOtherRubric(FileRecord):
    """What a row's tips were scored under another rubric; never mixed with this one's scores."""

    model: str
    prompt_version: str
    rubric_version: str | None
    rubric_sha256: str
    judged_cells: int
    cells_only_judged_there: int
    criterion_means: dict[str, float]


class ReportTip(FileRecord):
    """One usable tip, and what each judge said of it under the report's rubric."""

    text: str
    scores: dict[str, dict[str, int]]
    """Judge → criterion → score; empty while nobody has judged it."""
    notes: dict[str, str]
    """Judge → note, where one was written."""
    judged_at: dict[str, AwareDatetime]
    composite: float | None
    """Weighted mean of the criteria, over judges."""


class ReportCell(FileRecord):
    """One completion: a model × prompt version × scenario × repeat."""

    run_id: str
    model: str
    prompt_version: str
    scenario: str
    repeat: int
    seed: int
    outcome: Outcome
    error: str | None
    """The machine's fault in one line, where there was one."""
    is_measured: bool
    """False for a machine's fault, which counts against nobody."""
    is_pending: bool
    """True where a tip of it is not scored."""
    scores: dict[str, float] | None
    """Criterion → mean over the tips asked for, missing ones counted; null until all are judged."""
    composite: float | None
    tips: tuple[ReportTip, ...]
    tips_missing: int
    dropped: tuple[DroppedTip, ...]
    """Strings of the completion that did not become tips."""
    prompt: RenderedPrompt
    completion: str | None
    """What the model returned, raw; null where no answer came."""
    thinking: str | None
    thinking_stripped: bool
    stop_reason: str | None
    latency_seconds: float | None
    load_seconds: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    tokens_per_second: float | None
    resident_bytes: int | None
    resident_vram_bytes: int | None
    foreign_models: tuple[str, ...]
    """Models of others that were in memory at the time."""
    configuration_sha256: str
    fingerprint: str
    started_at: AwareDatetime
    finished_at: AwareDatetime


class ReportGroup(FileRecord):
    """A model or a prompt version among its like."""

    name: str
    composite: float
    tier: int


class ReportComparison(FileRecord):
    """Models averaged over prompts, or prompts averaged over models; best first."""

    groups: tuple[ReportGroup, ...]
    averaged_over: tuple[str, ...]
    least_significant_difference: float


class ReportScenarioChange(FileRecord):
    """One scenario of a row, and of the same row of the baseline."""

    scenario: str
    before: float | None
    """The baseline's composite; null where nothing of it is judged there."""
    after: float | None
    difference: float | None
    """After minus before; null where the two are not paired."""
    left_out_because: str | None
    """In words; null where the two are paired."""


class ReportRowChange(FileRecord):
    """One (model, prompt version) of the board, the baseline, or both."""

    model: str
    prompt_version: str
    standing: Literal["compared", "new", "gone", "other_prompt"]
    """``new``: not in the baseline; ``gone``: only there; ``other_prompt``: its text differs."""
    direction: Literal["rose", "fell"] | None
    """Where the interval lies wholly on one side of 0, which; null: it cannot be told."""
    composite_before: float | None
    """Over the paired scenarios; of a row that is not compared, over all that it has."""
    composite_after: float | None
    difference: PairedDifference | None
    """After minus before; null with fewer than 3 paired scenarios."""
    configuration_changes: tuple[str, ...]
    """What else differs, in words."""
    scenarios: tuple[ReportScenarioChange, ...]
    """All of either experiment; empty unless the row is compared."""

    @property
    def label(self) -> str:
        """``MODEL × PROMPT``."""
        return f"{self.model} × {self.prompt_version}"

    @property
    def pairs(self) -> int:
        """How many scenarios are judged in both, with one text."""
        return sum(change.left_out_because is None for change in self.scenarios)


class ReportBaseline(FileRecord):
    """What has changed since another experiment, paired by scenario."""

    baseline: str
    """The experiment compared with."""
    outcome: str
    """How many rows rose, fell, or did neither for certain, in words."""
    notices: tuple[str, ...]
    """What a reader has to know beside the numbers."""
    rows: tuple[ReportRowChange, ...]
    """The board's rows in its order, then those that only the baseline has."""
    scenario_means: dict[str, float]
    """Scenario → mean of the differences over the rows that pair it."""


class ReportGate(FileRecord):
    """What a gate came to."""

    name: str
    status: Literal["PASS", "FAIL", "UNDECIDED"]
    detail: str


class ReportAgreement(FileRecord):
    """How far judges agree on one criterion, over the tips that two or more of them scored.

    Intervals are 95 % jackknife intervals over tips.
    """

    tips: int
    exact_rate: float | None
    adjacent_rate: float | None
    """Share of pairs at most 1 apart."""
    quadratic_weighted_kappa: float | None
    """Of two judges; null with more."""
    quadratic_weighted_kappa_low: float | None
    quadratic_weighted_kappa_high: float | None
    krippendorff_alpha: float | None
    """Ordinal, of any number of judges."""
    krippendorff_alpha_low: float | None
    krippendorff_alpha_high: float | None


class ReportApply(FileRecord):
    """One judged sheet as it was applied, and how true its judge was to the anchors."""

    judge: str
    applied_at: AwareDatetime
    rubric_version: str
    rubric_sha256: str
    judgements: int
    anchors_scored: int
    drift: dict[str, CriterionDrift]
    """By criterion; bias above 0 is lenient. Empty with fewer than three anchors."""
    drift_mean_absolute_error: float | None
    drift_accepted: bool
    repeats_scored: int
    repeats_agreed: int


class Report(FileRecord):
    """A board with everything behind it.

    Stable: within ``tipbench-report/1`` fields are only added; none is removed, renamed or given
    another meaning or type. Readers ignore fields that they do not know.
    """

    schema_name: Literal["tipbench-report/1"] = Field(alias="schema")
    tipbench_version: str
    experiment: str
    headline: str
    """What the board supports, in one sentence."""
    findings: tuple[str, ...]
    """What else it supports: of models, of prompts."""
    notices: tuple[str, ...]
    """What a reader has to know beside the numbers."""
    last_finished_at: AwareDatetime | None
    last_judged_at: AwareDatetime | None
    """The report is as of these two times; nothing in it tells when it was written."""

    rubric: ReportRubric
    judges: tuple[str, ...]
    gates: tuple[ReportGate, ...]
    pending_cells: int
    pending_tips: int
    shared_scenarios: tuple[str, ...]
    """Those in which all ranked rows are measured and judged."""
    least_significant_difference: float | None
    """Ranked rows that are closer cannot be told apart (Tukey's HSD, 95 %)."""
    rows: tuple[ReportRow, ...]
    older_rows: tuple[ReportOlderRow, ...]
    other_rubrics: tuple[ReportOtherRubric, ...]
    comparison_of_models: ReportComparison | None
    comparison_of_prompts: ReportComparison | None
    pair: PairedDifference | None
    """The first ranked row minus the second, where there are exactly two."""
    comparison: ReportBaseline | None
    """With the experiment that ``--baseline`` names; null without."""
    scenarios: tuple[ReportScenario, ...]
    cells: tuple[ReportCell, ...]
    """Of the rows, in their order; cells of older rows are not among them."""
    agreement: dict[str, ReportAgreement]
    """By criterion; empty where no tip has two judges."""
    drift_history: tuple[ReportApply, ...]
    """Oldest first, under whatever rubric."""
    largest_resident_bytes: int | None
    models_resident_together: int | None
    """The most that were seen in memory at once; null where nothing was."""
    environment: dict[str, str]
