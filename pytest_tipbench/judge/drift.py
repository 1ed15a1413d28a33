"""Owns how true a judge is: to the anchors' known scores, and to itself; imports records only."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from pytest_tipbench.judgement_records import ApplyRecord, CriterionDrift

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MINIMUM_ANCHORS = 3
"""With fewer scored anchors a single disagreement would pass for drift."""


@dataclass(frozen=True)
class Drift:
    """How far a judge's anchor scores lie from the known ones, in points of the scale."""

    by_criterion: dict[str, CriterionDrift]
    mean_absolute_error: float
    """Over all criteria and anchors together."""


def measure_drift(
    pairs: Sequence[tuple[Mapping[str, int], Mapping[str, int]]], criteria: Sequence[str]
) -> Drift | None:
    """Compare a judge's scores of the anchors with the known ones.

    Mean absolute error and mean signed error (bias) as in any text on forecast verification, e.g.
    Willmott and Matsuura 2005, doi:10.3354/cr030079.

    Args:
        pairs: for each anchor that the judge scored, the judge's scores and the known scores.
        criteria: the rubric's criteria, in its order.

    Returns:
        None with fewer than :data:`MINIMUM_ANCHORS` anchors.
    """
    if len(pairs) < MINIMUM_ANCHORS:
        return None
    errors = {name: [given[name] - known[name] for given, known in pairs] for name in criteria}
    return Drift(
        by_criterion={
            name: CriterionDrift(mean_absolute_error=fmean(map(abs, signed)), bias=fmean(signed))
            for name, signed in errors.items()
        },
        mean_absolute_error=fmean(abs(error) for signed in errors.values() for error in signed),
    )


def count_agreement(
    pairs: Sequence[tuple[Mapping[str, int], Mapping[str, int]]],
) -> tuple[int, int]:
    """Compare what a judge gave again with what it gave before.

    Returns:
        How many criterion scores were given again, and how many of them were the same.
    """
    same = [again[name] == before[name] for again, before in pairs for name in again]
    return len(same), sum(same)


def describe_drift(drift: Drift) -> str:
    """Return the drift in one line; a bias above 0 is lenient."""
    parts = (
        f"{name} {value.mean_absolute_error:.2f}, bias {value.bias:+.2f}"
        for name, value in drift.by_criterion.items()
    )
    return f"mean absolute error {drift.mean_absolute_error:.2f} ({'; '.join(parts)})"


def describe_apply(apply: ApplyRecord) -> tuple[str, ...]:
    """Return what an applied sheet says of its judge: drift, then self-consistency, as lines.

    Used after an apply and for the history of an experiment's drift.
    """
    lines = [_drift_line(apply)]
    if apply.repeats_scored:
        share = apply.repeats_agreed / apply.repeats_scored
        lines.append(
            f"self-consistency: {apply.repeats_agreed} of {apply.repeats_scored} scores "
            f"given again were the same ({share:.0%})"
        )
    return tuple(lines)


def _drift_line(apply: ApplyRecord) -> str:
    if apply.drift_mean_absolute_error is None:
        return (
            f"anchors: {apply.anchors_scored} scored, too few to measure drift "
            f"({MINIMUM_ANCHORS} needed)"
        )
    drift = Drift(apply.drift, apply.drift_mean_absolute_error)
    accepted = ", accepted past the limit" if apply.drift_accepted else ""
    return f"anchors: {apply.anchors_scored} scored, {describe_drift(drift)}{accepted}"
