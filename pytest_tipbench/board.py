"""Owns the way from run records and judgements to a board: what counts, who ranks, who differs.

Pure: imports records, estimates and the other ``board_`` modules; nothing of stores or pytest.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from pytest_tipbench.board_notices import board_notices, older_reason, why_unranked
from pytest_tipbench.board_records import Board, Comparison, Group, OlderRow
from pytest_tipbench.board_rows import (
    build_row,
    newest_judgements,
    other_rubric_rows,
    tip_scores,
    unscored_tips,
)
from pytest_tipbench.estimates import (
    MINIMUM_SHARED_SCENARIOS,
    least_significant_difference,
    paired_difference,
    tiers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_tipbench.board_records import BoardRow
    from pytest_tipbench.board_rows import TipScores
    from pytest_tipbench.estimates import PairedDifference
    from pytest_tipbench.judgement_records import Judgement, Rubric
    from pytest_tipbench.records import RunRecord


def build_board(
    runs: Sequence[RunRecord],
    judgements: Sequence[Judgement],
    rubric: Rubric,
    *,
    diversity: bool = False,
) -> Board:
    """Return the board of the runs under one rubric.

    ``runs`` are the newest of each fingerprint; ``judgements`` may be under any rubric, and only
    those under ``rubric`` score. Of a scenario or a prompt whose content changed under its name the
    newest content counts; of a (model, prompt version) the newest configuration is the row. What
    is thereby left out is listed apart and said in :attr:`Board.notices`.
    """
    rubric_sha256 = rubric.sha256
    under_rubric: list[Judgement] = []
    elsewhere: list[Judgement] = []
    for said in newest_judgements(judgements):
        (under_rubric if said.key.rubric_sha256 == rubric_sha256 else elsewhere).append(said)
    scores = tip_scores(under_rubric, rubric.criterion_names)
    scenarios = _newest_scenarios(runs)

    counted: list[RunRecord] = []
    outdated: list[RunRecord] = []
    rows: list[BoardRow] = []
    older: list[OlderRow] = []
    for configurations in _configurations_by_row(runs):
        current = configurations[0]
        up_to_date = _with_content(current, scenarios)
        if up_to_date:
            rows.append(build_row(up_to_date, scores, rubric, diversity=diversity))
            counted += up_to_date
            outdated += [run for run in current if not _is_current(run, scenarios)]
        for replaced in configurations[1:] if up_to_date else configurations:
            own = _with_content(replaced, _newest_scenarios(replaced))
            row = build_row(own, scores, rubric, diversity=diversity)
            older.append(OlderRow(row=row, reason=older_reason(replaced, current)))

    judges = _judges(counted, under_rubric)
    ranked, unranked = _split(rows, scenarios, _newest_prompts(runs), has_judges=bool(judges))
    shared = _shared_scenarios(ranked, scenarios)
    ranked, row_difference = _with_tiers(ranked, shared)
    board = Board(
        experiment=runs[0].experiment if runs else "",
        rubric_version=rubric.version,
        rubric_sha256=rubric_sha256,
        scale=rubric.scale,
        criteria=rubric.criterion_names,
        judges=judges,
        ranked=ranked,
        unranked=unranked,
        older_rows=tuple(older),
        other_rubrics=other_rubric_rows(rows, counted, elsewhere, scores),
        scenarios=scenarios,
        shared_scenarios=shared,
        least_significant_difference=row_difference,
        models=_compare({(row.model, row.prompt_version): row for row in ranked}, shared),
        prompts=_compare({(row.prompt_version, row.model): row for row in ranked}, shared),
        pair=_pair(ranked, shared),
        pending_cells=sum(row.pending_cells for row in rows),
        pending_tips=len(unscored_tips(counted, scores)),
    )
    judges_of_rows = _judges_of_rows(ranked, counted, scores, under_rubric)
    notices = board_notices(board, counted, outdated, judges_of_rows)
    return board.model_copy(update={"notices": notices})


def _newest_scenarios(runs: Iterable[RunRecord]) -> dict[str, str]:
    return _newest_content((run.cell.scenario, run.scenario_sha256, run) for run in runs)


def _newest_prompts(runs: Iterable[RunRecord]) -> dict[str, str]:
    return _newest_content((run.cell.prompt_version, run.prompt_sha256, run) for run in runs)


def _newest_content(named: Iterable[tuple[str, str, RunRecord]]) -> dict[str, str]:
    """Return the content hash of each name's newest run, in the order of first appearance."""
    newest: dict[str, tuple[str, RunRecord]] = {}
    for name, sha256, run in named:
        if name not in newest or run.finished_at >= newest[name][1].finished_at:
            newest[name] = (sha256, run)
    return {name: sha256 for name, (sha256, _) in newest.items()}


def _with_content(runs: Iterable[RunRecord], scenarios: Mapping[str, str]) -> list[RunRecord]:
    return [run for run in runs if _is_current(run, scenarios)]


def _is_current(run: RunRecord, scenarios: Mapping[str, str]) -> bool:
    return run.scenario_sha256 == scenarios[run.cell.scenario]


def _configurations_by_row(runs: Iterable[RunRecord]) -> list[list[list[RunRecord]]]:
    """Group the runs by (model, prompt version), and those by configuration, newest first."""
    by_row: dict[tuple[str, str, str], list[RunRecord]] = defaultdict(list)
    for run in runs:
        model = run.cell.model
        by_row[model.provider, model.name, run.cell.prompt_version].append(run)
    return [_configurations(group) for group in by_row.values()]


def _configurations(runs: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Group the runs of a row by configuration, newest first.

    A run whose model could not be described (a worker died) does not know its configuration. It
    joins the newest that agrees in all that it does know, unless that has its cell already.
    """
    described: dict[str, list[RunRecord]] = defaultdict(list)
    undescribed: list[RunRecord] = []
    for run in runs:
        if run.model is None:
            undescribed.append(run)
        else:
            described[run.configuration_sha256].append(run)
    groups = sorted(described.values(), key=_last_finished, reverse=True)
    for run in undescribed:
        home = next((group for group in groups if _recipe(group[0]) == _recipe(run)), None)
        if home is None:
            groups.append([run])
        elif all(_inputs(run) != _inputs(other) for other in home):
            home.append(run)
    return sorted(groups, key=_last_finished, reverse=True)


def _recipe(run: RunRecord) -> tuple[object, ...]:
    return (run.prompt_sha256, run.sampling, run.n_tips)


def _inputs(run: RunRecord) -> tuple[object, ...]:
    return (run.scenario_sha256, run.seed)


def _last_finished(runs: Iterable[RunRecord]) -> float:
    return max(run.finished_at.timestamp() for run in runs)


def _split(
    rows: Sequence[BoardRow],
    scenarios: Iterable[str],
    prompts: Mapping[str, str],
    *,
    has_judges: bool,
) -> tuple[tuple[BoardRow, ...], tuple[BoardRow, ...]]:
    """Tell the rows that can be ranked from those that cannot; each of these says why.

    A scenario is expected of a row if at least half of the comparable rows have measured it: one
    model that was also run on a new scenario does not throw all others off the board.
    """
    comparable = [
        row
        for row in rows
        if row.measured_cells and row.prompt_sha256 == prompts[row.prompt_version]
    ]
    counts = Counter(name for row in comparable for name in row.measured_scenarios)
    expected = [name for name in scenarios if 0 < len(comparable) <= 2 * counts[name]]
    is_waiting = not has_judges and any(row.pending_cells for row in rows)
    ranked: list[BoardRow] = []
    unranked: list[BoardRow] = []
    for row in rows:
        lacks = tuple(name for name in expected if name not in row.measured_scenarios)
        is_current = row.prompt_sha256 == prompts[row.prompt_version]
        reason = why_unranked(
            row, lacks, expected=len(expected), is_current_prompt=is_current, is_waiting=is_waiting
        )
        told = row.model_copy(
            update={
                "lacks": lacks,
                "unranked_because": reason,
                "has_older_prompt": not is_current,
            }
        )
        (ranked if reason is None else unranked).append(told)
    unranked.sort(
        key=lambda row: (
            -(row.composite or 0) if has_judges else 0,
            -(row.usable_rate or 0),
            row.median_latency_seconds or math.inf,
            row.label,
        )
    )
    return tuple(ranked), tuple(unranked)


def _shared_scenarios(ranked: Sequence[BoardRow], scenarios: Iterable[str]) -> tuple[str, ...]:
    if not ranked:
        return ()
    return tuple(
        name for name in scenarios if all(name in row.scenario_composites for row in ranked)
    )


def _with_tiers(
    ranked: Sequence[BoardRow], shared: Sequence[str]
) -> tuple[tuple[BoardRow, ...], float | None]:
    """Return the ranked rows best first, with their tiers, and the least significant difference.

    With fewer than 3 shared scenarios there are no tiers, and best first is by each row's own
    composite. One row alone is its own leader.
    """
    if len(shared) < MINIMUM_SHARED_SCENARIOS:
        by_own = sorted(ranked, key=lambda row: (-(row.composite or 0), row.label))
        return tuple(by_own), None
    scores = [_on(row, shared) for row in ranked]
    means = [statistics.fmean(row) for row in scores]
    difference = least_significant_difference(scores) if len(ranked) > 1 else None
    told = [
        row.model_copy(update={"tier": tier, "shared_composite": mean})
        for row, tier, mean in zip(ranked, tiers(means, difference or 0.0), means, strict=True)
    ]
    told.sort(key=lambda row: (-(row.shared_composite or 0), row.label))
    return tuple(told), difference


def _on(row: BoardRow, shared: Iterable[str]) -> list[float]:
    return [row.scenario_composites[name] for name in shared]


def _compare(rows: Mapping[tuple[str, str], BoardRow], shared: Sequence[str]) -> Comparison | None:
    """Compare the first halves of the keys, averaged over the second halves that all of them have.

    None with fewer than two of them, with nothing in common, or with fewer than 3 shared scenarios.
    """
    names = list(dict.fromkeys(name for name, _ in rows))
    others = sorted({other for _, other in rows})
    common = [other for other in others if all((name, other) in rows for name in names)]
    if len(names) < 2 or not common or len(shared) < MINIMUM_SHARED_SCENARIOS:
        return None
    scores = [
        [
            statistics.fmean(rows[name, other].scenario_composites[scenario] for other in common)
            for scenario in shared
        ]
        for name in names
    ]
    means = [statistics.fmean(row) for row in scores]
    difference = least_significant_difference(scores)
    groups = [
        Group(name=name, composite=mean, tier=tier)
        for name, mean, tier in zip(names, means, tiers(means, difference), strict=True)
    ]
    return Comparison(
        groups=tuple(sorted(groups, key=lambda group: (-group.composite, group.name))),
        averaged_over=tuple(common),
        least_significant_difference=difference,
    )


def _pair(ranked: Sequence[BoardRow], shared: Sequence[str]) -> PairedDifference | None:
    if len(ranked) != 2 or len(shared) < MINIMUM_SHARED_SCENARIOS:
        return None
    return paired_difference(_on(ranked[0], shared), _on(ranked[1], shared))


def _judges(runs: Iterable[RunRecord], judgements: Iterable[Judgement]) -> tuple[str, ...]:
    tips = {(run.scenario_sha256, tip) for run in runs for tip in run.tips}
    known = {said.judge for said in judgements if (said.key.scenario_sha256, said.key.tip) in tips}
    return tuple(sorted(known))


def _judges_of_rows(
    rows: Iterable[BoardRow],
    runs: Iterable[RunRecord],
    scores: TipScores,
    judgements: Iterable[Judgement],
) -> dict[str, tuple[str, ...]]:
    """Return who scored the judged cells of each row, by its label.

    A row whose cells all ended without a tip has its scores from nobody and is left out.
    """
    by_tip: dict[tuple[str, str], set[str]] = defaultdict(set)
    for said in judgements:
        tip = (said.key.scenario_sha256, said.key.tip)
        if tip in scores and scores[tip].keys() <= said.scores.keys():
            by_tip[tip].add(said.judge)
    by_run: dict[str, set[str]] = {}
    for run in runs:
        tips = [(run.scenario_sha256, tip) for tip in run.tips]
        if run.is_measured and all(tip in scores for tip in tips):
            by_run[run.run_id] = {judge for tip in tips for judge in by_tip[tip]}
    judges = {
        row.label: {judge for run_id in row.run_ids for judge in by_run.get(run_id, ())}
        for row in rows
    }
    return {label: tuple(sorted(names)) for label, names in judges.items() if names}
