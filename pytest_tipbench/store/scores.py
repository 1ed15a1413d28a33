"""Owns what a run's judgements come to: scores, or that they are pending; pure, records only."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from pytest_tipbench.judgement_records import TipKey
from pytest_tipbench.store.base import RunScores

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from pytest_tipbench.judgement_records import Judgement, Rubric
    from pytest_tipbench.records import RunRecord


def tip_keys(record: RunRecord, rubric_sha256: str) -> tuple[TipKey, ...]:
    """Return what the run's tips are judged under, in the order of the tips."""
    return tuple(
        TipKey(rubric_sha256=rubric_sha256, scenario_sha256=record.scenario_sha256, tip=tip)
        for tip in record.tips
    )


def is_pending(record: RunRecord, judged: Container[TipKey], rubric_sha256: str) -> bool:
    """Say whether a tip of the run is among none of the ``judged``; without tips nothing is."""
    return any(key not in judged for key in tip_keys(record, rubric_sha256))


def current_judgements(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Return the newest judgement of each tip by each judge, oldest first.

    Of two given at the same moment the later one in ``judgements`` counts.
    """
    newest: dict[tuple[TipKey, str], Judgement] = {}
    for judgement in sorted(judgements, key=lambda each: each.judged_at.timestamp()):
        place = (judgement.key, judgement.judge)
        newest.pop(place, None)
        newest[place] = judgement
    return list(newest.values())


def run_scores(
    record: RunRecord, judgements: Iterable[Judgement], rubric: Rubric
) -> RunScores | None:
    """Return the run's scores as they are now; None while there is nothing to say.

    A tip counts with the mean over its judges, the run with the mean over the ``n_tips`` asked for,
    a missing one being worth the rubric's ``missing_tip_score``; the composite is the weighted mean
    of those. While any tip lacks a judge the scores are pending and carry judgements, no metrics:
    a mean over the tips judged so far would favour whichever came first. A run without a tip needs
    no judge.

    Args:
        record: the run; a machine's fault has no scores.
        judgements: in the order in which they were kept; those of other tips or rubrics, and those
            that leave out a criterion, are passed over.
        rubric: the one in force.
    """
    if not record.is_measured:
        return None
    by_tip = _by_tip(record, judgements, rubric)
    said = tuple(judgement for tip in by_tip.values() for judgement in tip)
    pending = not all(by_tip.values())
    if pending and not said:
        return None
    return RunScores(
        run_id=record.run_id,
        metrics={} if pending else _metrics(record, by_tip, rubric),
        judge_pending=pending,
        judges=tuple(sorted({judgement.judge for judgement in said})),
        rubric_version=rubric.version,
        rubric_sha256=rubric.sha256,
        judgements=said,
    )


def _by_tip(
    record: RunRecord, judgements: Iterable[Judgement], rubric: Rubric
) -> dict[TipKey, list[Judgement]]:
    by_tip: dict[TipKey, list[Judgement]] = {key: [] for key in tip_keys(record, rubric.sha256)}
    criteria = set(rubric.criterion_names)
    of_run = [each for each in judgements if each.key in by_tip and criteria <= each.scores.keys()]
    for judgement in current_judgements(of_run):
        by_tip[judgement.key].append(judgement)
    for given in by_tip.values():
        given.sort(key=lambda judgement: judgement.judge)
    return by_tip


def _metrics(
    record: RunRecord, by_tip: Mapping[TipKey, Sequence[Judgement]], rubric: Rubric
) -> dict[str, float]:
    missing = [rubric.missing_tip_score] * record.tips_missing
    means = {
        name: fmean([fmean(each.scores[name] for each in tip) for tip in by_tip.values()] + missing)
        for name in rubric.criterion_names
    }
    return {**means, "composite": rubric.composite(means)}
