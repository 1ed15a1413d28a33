"""Owns the way from runs and judgements to the scores of a cell and to one row of the board.

Imports records, estimates and (only where it is asked for) diversity; it compares no rows.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from pytest_tipbench.board_records import BoardRow, OtherRubricRow
from pytest_tipbench.estimates import mean_interval, nearest_rank

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from pytest_tipbench.judgement_records import Judgement, Rubric
    from pytest_tipbench.records import Completion, RunRecord

TipScores = dict[tuple[str, str], dict[str, float]]
"""By (scenario hash, tip): the mean over judges of each criterion, under one rubric."""


def newest_judgements(judgements: Iterable[Judgement]) -> tuple[Judgement, ...]:
    """Return the newest judgement of each (rubric, scenario, tip, judge)."""
    newest: dict[tuple[str, str, str, str], Judgement] = {}
    for judgement in judgements:
        key = judgement.key
        identity = (key.rubric_sha256, key.scenario_sha256, key.tip, judgement.judge)
        known = newest.get(identity)
        if known is None or judgement.judged_at >= known.judged_at:
            newest[identity] = judgement
    return tuple(newest.values())


def tip_scores(judgements: Iterable[Judgement], criteria: Sequence[str]) -> TipScores:
    """Return the scores of each judged tip, averaged over its judges.

    ``judgements`` are the newest ones under one rubric. One that leaves a criterion out scores
    nothing.
    """
    by_tip: dict[tuple[str, str], list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        if all(name in judgement.scores for name in criteria):
            by_tip[judgement.key.scenario_sha256, judgement.key.tip].append(judgement)
    return {
        tip: {name: sum(said.scores[name] for said in judged) / len(judged) for name in criteria}
        for tip, judged in by_tip.items()
    }


def cell_scores(run: RunRecord, scores: TipScores, rubric: Rubric) -> dict[str, float] | None:
    """Return the cell's mean of each criterion over the tips asked for, missing ones counted.

    None where the cell was not measured, or a tip of it is not judged yet. A cell without a usable
    tip has ``missing_tip_score`` on every criterion at once.
    """
    if not run.is_measured:
        return None
    judged = [scores.get((run.scenario_sha256, tip)) for tip in run.tips]
    known = [tip for tip in judged if tip is not None]
    if len(known) < len(judged):
        return None
    missing = [rubric.missing_tip_score] * run.tips_missing
    return {
        name: statistics.fmean([*(tip[name] for tip in known), *missing])
        for name in rubric.criterion_names
    }


def unscored_tips(runs: Iterable[RunRecord], scores: TipScores) -> set[tuple[str, str]]:
    """Return the distinct (scenario hash, tip) pairs of the runs that no judge has scored."""
    return {
        (run.scenario_sha256, tip)
        for run in runs
        if run.is_measured
        for tip in run.tips
        if (run.scenario_sha256, tip) not in scores
    }


def newest_described(runs: Iterable[RunRecord]) -> RunRecord:
    """Return the newest run, of those whose model could be described where there are any."""
    return max(runs, key=lambda run: (run.model is not None, run.finished_at))


def build_row(
    runs: Sequence[RunRecord], scores: TipScores, rubric: Rubric, *, diversity: bool
) -> BoardRow:
    """Return the row that the runs of one configuration make, before it is compared with others.

    Raises:
        ValueError: there is no run.
    """
    if not runs:
        raise ValueError("a row needs at least one run")
    newest = newest_described(runs)
    measured = [run for run in runs if run.is_measured]
    by_cell = {run.run_id: cell_scores(run, scores, rubric) for run in measured}
    pending = [run for run in measured if by_cell[run.run_id] is None]
    by_scenario = _scenario_criteria(measured, by_cell)
    composites = {name: rubric.composite(means) for name, means in by_scenario.items()}
    composite = mean_interval(list(composites.values())) if composites else None
    completions = [run.completion for run in measured if run.completion is not None]
    latencies = [completion.latency_seconds for completion in completions]
    return BoardRow(
        model=newest.cell.model.text,
        prompt_version=newest.cell.prompt_version,
        configuration_sha256=newest.configuration_sha256,
        model_digest=newest.model.digest if newest.model else None,
        parameter_count=newest.model.parameter_count if newest.model else None,
        quantization=newest.model.quantization if newest.model else None,
        prompt_sha256=newest.prompt_sha256,
        n_tips=newest.n_tips,
        sampling=newest.sampling,
        last_finished_at=max(run.finished_at for run in runs),
        run_ids=tuple(run.run_id for run in sorted(runs, key=lambda run: run.finished_at)),
        outcomes=dict(Counter(run.outcome for run in runs)),
        measured_scenarios=tuple(dict.fromkeys(run.cell.scenario for run in measured)),
        judged_cells=len(measured) - len(pending),
        pending_cells=len(pending),
        pending_tips=len(unscored_tips(pending, scores)),
        usable_rate=_mean([float(run.outcome.is_usable) for run in measured]),
        composite=composite.mean if composite else None,
        composite_low=composite.low if composite else None,
        composite_high=composite.high if composite else None,
        criteria={
            name: mean_interval([means[name] for means in by_scenario.values()])
            for name in rubric.criterion_names
            if by_scenario
        },
        scenario_composites=composites,
        scenario_criteria=by_scenario,
        diversity=_diversity(measured) if diversity else {},
        median_latency_seconds=statistics.median(latencies) if latencies else None,
        p95_latency_seconds=nearest_rank(latencies, 95) if latencies else None,
        tokens_per_second=_median_speed(completions),
        resident_bytes=max(_known(completions, "resident_bytes"), default=None),
        resident_vram_bytes=max(_known(completions, "resident_vram_bytes"), default=None),
    )


def other_rubric_rows(
    rows: Iterable[BoardRow],
    runs: Iterable[RunRecord],
    judgements: Iterable[Judgement],
    scores: TipScores,
) -> tuple[OtherRubricRow, ...]:
    """Return what the rows' tips were scored elsewhere: one record per row and rubric.

    ``judgements`` are those under other rubrics, ``scores`` those under the board's own.
    """
    by_rubric: dict[str, dict[tuple[str, str], list[Judgement]]] = {}
    for said in judgements:
        by_tip = by_rubric.setdefault(said.key.rubric_sha256, defaultdict(list))
        by_tip[said.key.scenario_sha256, said.key.tip].append(said)
    by_id = {run.run_id: run for run in runs} if by_rubric else {}
    versions = {run.rubric_sha256: run.rubric_version for run in by_id.values()}
    result: list[OtherRubricRow] = []
    for sha256, judged in by_rubric.items():
        for row in rows:
            there = {
                run_id: known
                for run_id in row.run_ids
                if (known := _tips_in(by_id[run_id], judged))
            }
            if there:
                tips = set().union(*there.values())
                pending = sum(not _tips_in(by_id[run_id], scores) for run_id in there)
                result.append(
                    OtherRubricRow(
                        model=row.model,
                        prompt_version=row.prompt_version,
                        rubric_sha256=sha256,
                        rubric_version=versions.get(sha256),
                        judged_cells=len(there),
                        cells_only_judged_there=pending,
                        criterion_means=_plain_means(judged[tip] for tip in tips),
                    )
                )
    return tuple(result)


def _tips_in(run: RunRecord, known: Container[tuple[str, str]]) -> set[tuple[str, str]]:
    keys = ((run.scenario_sha256, tip) for tip in run.tips)
    return {key for key in keys if key in known}


def _plain_means(judged_tips: Iterable[Iterable[Judgement]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for judged in judged_tips:
        of_tip: dict[str, list[int]] = defaultdict(list)
        for said in judged:
            for name, score in said.scores.items():
                of_tip[name].append(score)
        for name, given in of_tip.items():
            values[name].append(statistics.fmean(given))
    return {name: statistics.fmean(means) for name, means in values.items()}


def _scenario_criteria(
    measured: Sequence[RunRecord], by_cell: Mapping[str, dict[str, float] | None]
) -> dict[str, dict[str, float]]:
    """Average each scenario's judged cells (its repeats).

    Cells without a tip have their scores at once. On their own, while cells beside them wait for a
    judge, they would show a row at the bottom of the scale for no other reason than that nobody
    has looked yet; so they count once a judge has scored a cell of the same scenario, or nothing
    of it is pending; and of a row, likewise.
    """
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for run in measured:
        groups[run.cell.scenario].append(run)
    if not _judge_has_been_there(measured, by_cell):
        return {}
    result: dict[str, dict[str, float]] = {}
    for scenario, runs in groups.items():
        scored = [scores for run in runs if (scores := by_cell[run.run_id]) is not None]
        if scored and _judge_has_been_there(runs, by_cell):
            result[scenario] = {
                name: statistics.fmean(scores[name] for scores in scored) for name in scored[0]
            }
    return result


def _judge_has_been_there(
    runs: Sequence[RunRecord], by_cell: Mapping[str, dict[str, float] | None]
) -> bool:
    is_pending = any(by_cell[run.run_id] is None for run in runs)
    return not is_pending or any(run.tips and by_cell[run.run_id] is not None for run in runs)


def _diversity(measured: Sequence[RunRecord]) -> dict[str, float]:
    """Return each metric's mean over scenarios, and the row's specificity.

    They are computed from the tips here, so that the columns need no ``--diversity`` at the time
    the cells ran.
    """
    from pytest_tipbench.diversity import cell_diversity, specificity

    tips: dict[str, list[str]] = defaultdict(list)
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in measured:
        tips[run.cell.scenario].extend(run.tips)
        for metric, value in (run.diversity or cell_diversity(run.tips)).items():
            values[metric][run.cell.scenario].append(value)
    result = {
        metric: statistics.fmean(map(statistics.fmean, by_scenario.values()))
        for metric, by_scenario in sorted(values.items())
    }
    across = specificity(tips)
    return result if across is None else {**result, "specificity": across}


def _known(completions: Iterable[Completion], name: str) -> Iterator[int]:
    for completion in completions:
        value = getattr(completion, name)
        if value is not None:
            yield value


def _median_speed(completions: Iterable[Completion]) -> float | None:
    speeds = [c.tokens_per_second for c in completions if c.tokens_per_second is not None]
    return statistics.median(speeds) if speeds else None


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
