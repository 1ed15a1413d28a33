"""Owns the way from a board and what it was made of to the one report that all formats show.

Pure: imports records, the board's modules and the judges' concord; no store, format or pytest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from pytest_tipbench import __version__
from pytest_tipbench.board_rows import cell_scores, newest_judgements, tip_scores
from pytest_tipbench.judge.concord import judges_agreement
from pytest_tipbench.records import jsonable
from pytest_tipbench.reports.headline import findings, headline
from pytest_tipbench.reports.report_records import (
    SCHEMA,
    Report,
    ReportAgreement,
    ReportApply,
    ReportBaseline,
    ReportCell,
    ReportComparison,
    ReportGate,
    ReportOlderRow,
    ReportOtherRubric,
    ReportRow,
    ReportRowChange,
    ReportRubric,
    ReportScenario,
    ReportScenarioChange,
    ReportTip,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison, RowChange
    from pytest_tipbench.board_records import Board, BoardRow, Comparison, OlderRow
    from pytest_tipbench.board_rows import TipScores
    from pytest_tipbench.gates import Verdict
    from pytest_tipbench.judge.concord import Agreement
    from pytest_tipbench.judgement_records import ApplyRecord, Judgement, Rubric
    from pytest_tipbench.records import RunRecord

_TipKey = tuple[str, str]
"""A scenario's hash and a tip's text: what a judgement is of."""


def build_report(
    *,
    board: Board,
    runs: Sequence[RunRecord],
    judgements: Sequence[Judgement],
    applies: Sequence[ApplyRecord],
    rubric: Rubric,
    verdicts: Sequence[Verdict],
    environment: Mapping[str, str],
    comparison: BaselineComparison | None = None,
) -> Report:
    """Return everything that the reports show.

    Args:
        board: made of ``runs`` and ``judgements`` under ``rubric``.
        runs: those that the board was made of; more do no harm.
        judgements: under any rubric; only the newest of each judge under ``rubric`` are shown.
        applies: the experiment's, under any rubric.
        rubric: the one in force.
        verdicts: of the gates.
        environment: facts of the machine and the code, by name.
        comparison: of the board with a baseline's.

    Raises:
        ValueError: a run of the board is not among ``runs``.
    """
    of_row = _runs_by_row(board, runs)
    counted = [run for row_runs in of_row for run in row_runs]
    said = [j for j in newest_judgements(judgements) if j.key.rubric_sha256 == rubric.sha256]
    by_tip: dict[_TipKey, list[Judgement]] = defaultdict(list)
    for judgement in said:
        by_tip[judgement.key.scenario_sha256, judgement.key.tip].append(judgement)
    scores = tip_scores(said, rubric.criterion_names)
    on_board = {(run.scenario_sha256, tip) for run in counted for tip in run.tips}
    shown = [judgement for key in on_board for judgement in by_tip.get(key, [])]
    contents = {run.cell.scenario: run.scenario for run in counted}
    return Report(
        schema=SCHEMA,
        tipbench_version=__version__,
        experiment=board.experiment,
        headline=headline(board),
        findings=findings(board),
        notices=board.notices,
        last_finished_at=max((run.finished_at for run in counted), default=None),
        last_judged_at=max((judgement.judged_at for judgement in shown), default=None),
        rubric=ReportRubric(
            version=rubric.version,
            sha256=rubric.sha256,
            scale=rubric.scale,
            missing_tip_score=rubric.missing_tip_score,
            criteria=rubric.criteria,
            text=rubric.text,
        ),
        judges=board.judges,
        gates=tuple(ReportGate(name=v.name, status=v.status, detail=v.detail) for v in verdicts),
        pending_cells=board.pending_cells,
        pending_tips=board.pending_tips,
        shared_scenarios=board.shared_scenarios,
        least_significant_difference=board.least_significant_difference,
        rows=tuple(
            _row(row, row_runs, by_tip, rubric)
            for row, row_runs in zip(board.rows, of_row, strict=True)
        ),
        older_rows=tuple(_older_row(older) for older in board.older_rows),
        other_rubrics=tuple(
            ReportOtherRubric.model_validate(jsonable(other)) for other in board.other_rubrics
        ),
        comparison_of_models=_comparison(board.models),
        comparison_of_prompts=_comparison(board.prompts),
        pair=board.pair,
        comparison=_baseline(comparison),
        scenarios=tuple(
            ReportScenario(id=name, sha256=sha256, content=contents[name])
            for name, sha256 in board.scenarios.items()
            if name in contents
        ),
        cells=tuple(
            _cell(run, row, by_tip, scores, rubric)
            for row, row_runs in zip(board.rows, of_row, strict=True)
            for run in row_runs
        ),
        agreement={
            agreement.criterion: _agreement(agreement)
            for agreement in judges_agreement(counted, said, rubric)
        },
        drift_history=tuple(
            _apply(apply) for apply in sorted(applies, key=lambda apply: apply.applied_at)
        ),
        largest_resident_bytes=max((row.resident_bytes or 0 for row in board.rows), default=0)
        or None,
        models_resident_together=_models_resident_together(counted),
        environment=dict(sorted(environment.items())),
    )


def _runs_by_row(board: Board, runs: Iterable[RunRecord]) -> list[list[RunRecord]]:
    """Return each row's runs: in the board's order of scenarios, then by repeat and seed."""
    by_id = {run.run_id: run for run in runs}
    missing = [run_id for row in board.rows for run_id in row.run_ids if run_id not in by_id]
    if missing:
        raise ValueError(f"runs of the board are not given: {', '.join(missing)}")
    places = {name: place for place, name in enumerate(board.scenarios)}
    return [
        sorted(
            (by_id[run_id] for run_id in row.run_ids),
            key=lambda run: (places[run.cell.scenario], run.cell.repeat, run.seed),
        )
        for row in board.rows
    ]


# --- rows -------------------------------------------------------------------------------------


def _row(
    row: BoardRow,
    runs: Sequence[RunRecord],
    by_tip: Mapping[_TipKey, Sequence[Judgement]],
    rubric: Rubric,
) -> ReportRow:
    ours = {
        "score_counts": _score_counts(runs, by_tip, rubric),
        "server_versions": _distinct(run.model.server_version for run in runs if run.model),
        "seeds": sorted({run.seed for run in runs}),
        "residency": _distinct(run.residency for run in runs),
    }
    theirs = {name: getattr(row, name) for name in ReportRow.model_fields if name not in ours}
    return ReportRow.model_validate({**theirs, **ours})


def _distinct(values: Iterable[str | None]) -> list[str]:
    return sorted({value for value in values if value})


def _score_counts(
    runs: Iterable[RunRecord], by_tip: Mapping[_TipKey, Sequence[Judgement]], rubric: Rubric
) -> dict[str, dict[str, int]]:
    lowest, highest = rubric.scale
    counts = {name: Counter[int]() for name in rubric.criterion_names}
    for run in runs:
        for tip in run.tips:
            for judgement in by_tip.get((run.scenario_sha256, tip), ()):
                for name in rubric.criterion_names:
                    if name in judgement.scores:
                        counts[name][judgement.scores[name]] += 1
    return {
        name: {str(score): of_name[score] for score in range(lowest, highest + 1)}
        for name, of_name in counts.items()
    }


def _older_row(older: OlderRow) -> ReportOlderRow:
    fields = [name for name in ReportOlderRow.model_fields if name != "reason"]
    shown = {name: getattr(older.row, name) for name in fields}
    return ReportOlderRow.model_validate({**shown, "reason": older.reason})


def _comparison(comparison: Comparison | None) -> ReportComparison | None:
    if comparison is None:
        return None
    return ReportComparison.model_validate(jsonable(comparison))


# --- a baseline -------------------------------------------------------------------------------


def _baseline(comparison: BaselineComparison | None) -> ReportBaseline | None:
    if comparison is None:
        return None
    return ReportBaseline(
        baseline=comparison.baseline,
        outcome=comparison.outcome,
        notices=comparison.notices,
        rows=tuple(_row_change(row) for row in comparison.rows),
        scenario_means=comparison.scenario_means,
    )


def _row_change(row: RowChange) -> ReportRowChange:
    shown = {name: getattr(row, name) for name in ReportRowChange.model_fields}
    scenarios = [
        {name: getattr(change, name) for name in ReportScenarioChange.model_fields}
        for change in row.scenarios
    ]
    return ReportRowChange.model_validate({**shown, "scenarios": scenarios})


# --- cells ------------------------------------------------------------------------------------


def _cell(
    run: RunRecord,
    row: BoardRow,
    by_tip: Mapping[_TipKey, Sequence[Judgement]],
    scores: TipScores,
    rubric: Rubric,
) -> ReportCell:
    means = cell_scores(run, scores, rubric)
    came = run.completion
    return ReportCell(
        run_id=run.run_id,
        model=row.model,
        prompt_version=row.prompt_version,
        scenario=run.cell.scenario,
        repeat=run.cell.repeat,
        seed=run.seed,
        outcome=run.outcome,
        error=run.error,
        is_measured=run.is_measured,
        is_pending=run.is_measured and means is None,
        scores=means,
        composite=None if means is None else rubric.composite(means),
        tips=tuple(_tip(run.scenario_sha256, tip, by_tip, scores, rubric) for tip in run.tips),
        tips_missing=run.tips_missing,
        dropped=run.dropped,
        prompt=run.prompt,
        completion=came.text if came else None,
        thinking=came.thinking if came else None,
        thinking_stripped=run.thinking_stripped,
        stop_reason=came.stop_reason if came else None,
        latency_seconds=came.latency_seconds if came else None,
        load_seconds=came.load_seconds if came else None,
        prompt_tokens=came.prompt_tokens if came else None,
        completion_tokens=came.completion_tokens if came else None,
        tokens_per_second=came.tokens_per_second if came else None,
        resident_bytes=came.resident_bytes if came else None,
        resident_vram_bytes=came.resident_vram_bytes if came else None,
        foreign_models=came.foreign_models if came else (),
        configuration_sha256=run.configuration_sha256,
        fingerprint=run.fingerprint,
        started_at=run.started_at,
        finished_at=run.finished_at,
    )


def _tip(
    scenario_sha256: str,
    text: str,
    by_tip: Mapping[_TipKey, Sequence[Judgement]],
    scores: TipScores,
    rubric: Rubric,
) -> ReportTip:
    judged = sorted(by_tip.get((scenario_sha256, text), ()), key=lambda said: said.judge)
    means = scores.get((scenario_sha256, text))
    return ReportTip(
        text=text,
        scores={said.judge: said.scores for said in judged},
        notes={said.judge: said.note for said in judged if said.note},
        judged_at={said.judge: said.judged_at for said in judged},
        composite=None if means is None else rubric.composite(means),
    )


def _models_resident_together(runs: Iterable[RunRecord]) -> int | None:
    resident = [run.completion for run in runs if run.completion and run.completion.resident_bytes]
    return max((came.models_resident_together for came in resident), default=None)


# --- judges -----------------------------------------------------------------------------------


def _agreement(agreement: Agreement) -> ReportAgreement:
    kappa, alpha = agreement.kappa, agreement.alpha
    return ReportAgreement(
        tips=agreement.tips,
        exact_rate=agreement.exact_rate,
        adjacent_rate=agreement.adjacent_rate,
        quadratic_weighted_kappa=kappa and kappa.value,
        quadratic_weighted_kappa_low=kappa and kappa.low,
        quadratic_weighted_kappa_high=kappa and kappa.high,
        krippendorff_alpha=alpha and alpha.value,
        krippendorff_alpha_low=alpha and alpha.low,
        krippendorff_alpha_high=alpha and alpha.high,
    )


def _apply(apply: ApplyRecord) -> ReportApply:
    return ReportApply.model_validate(
        {name: getattr(apply, name) for name in ReportApply.model_fields}
    )
