from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.judge.drift import (
    count_agreement,
    describe_apply,
    describe_drift,
    measure_drift,
)
from pytest_tipbench.judgement_records import ApplyRecord, CriterionDrift

if TYPE_CHECKING:
    from collections.abc import Mapping

CRITERIA = ("relevance", "tone")
KNOWN = {"relevance": 3, "tone": 3}


def anchored(*given: tuple[int, int]) -> list[tuple[Mapping[str, int], Mapping[str, int]]]:
    return [(dict(zip(CRITERIA, scores, strict=True)), KNOWN) for scores in given]


def apply_record(
    *,
    anchors_scored: int = 0,
    drift: dict[str, CriterionDrift] | None = None,
    error: float | None = None,
    accepted: bool = False,
    repeats: tuple[int, int] = (0, 0),
) -> ApplyRecord:
    return ApplyRecord(
        apply_id="a",
        experiment="garden",
        sheet_nonce="n",
        judge="ada",
        rubric_version="tip-v9",
        rubric_sha256="r",
        applied_at=datetime(2026, 4, 27, tzinfo=timezone.utc),
        judgements=4,
        anchors_scored=anchors_scored,
        drift=drift or {},
        drift_mean_absolute_error=error,
        drift_accepted=accepted,
        repeats_scored=repeats[0],
        repeats_agreed=repeats[1],
    )


class TestMeasureDrift:
    def test_errors_and_bias(self) -> None:
        # relevance: errors +1, -1, +2: absolute mean 4/3, signed mean 2/3.
        # tone: errors 0, -2, 0: absolute mean 2/3, signed mean -2/3. Together 6/6 = 1.
        drift = measure_drift(anchored((4, 3), (2, 1), (5, 3)), CRITERIA)
        assert drift is not None
        assert drift.by_criterion["relevance"].mean_absolute_error == pytest.approx(4 / 3)
        assert drift.by_criterion["relevance"].bias == pytest.approx(2 / 3)
        assert drift.by_criterion["tone"].mean_absolute_error == pytest.approx(2 / 3)
        assert drift.by_criterion["tone"].bias == pytest.approx(-2 / 3)
        assert drift.mean_absolute_error == pytest.approx(1.0)

    def test_a_true_judge_has_none(self) -> None:
        drift = measure_drift(anchored((3, 3), (3, 3), (3, 3)), CRITERIA)
        assert drift is not None
        assert drift.mean_absolute_error == 0
        assert set(drift.by_criterion) == set(CRITERIA)

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_fewer_than_three_anchors_say_nothing(self, count: int) -> None:
        assert measure_drift(anchored(*[(5, 5)] * count), CRITERIA) is None


class TestCountAgreement:
    def test_it_counts_criterion_scores(self) -> None:
        again = [({"relevance": 4, "tone": 2}, {"relevance": 4, "tone": 3})]
        assert count_agreement([*again, (KNOWN, KNOWN)]) == (4, 3)

    def test_nothing_given_again(self) -> None:
        assert count_agreement([]) == (0, 0)


class TestLines:
    def test_drift_in_one_line(self) -> None:
        drift = measure_drift(anchored((4, 3), (2, 1), (5, 3)), CRITERIA)
        assert drift is not None
        assert describe_drift(drift) == (
            "mean absolute error 1.00 (relevance 1.33, bias +0.67; tone 0.67, bias -0.67)"
        )

    def test_an_apply_with_drift_and_repeats(self) -> None:
        drift = {"tone": CriterionDrift(mean_absolute_error=0.5, bias=-0.5)}
        record = apply_record(anchors_scored=4, drift=drift, error=0.5, repeats=(9, 6))
        assert describe_apply(record) == (
            "anchors: 4 scored, mean absolute error 0.50 (tone 0.50, bias -0.50)",
            "self-consistency: 6 of 9 scores given again were the same (67%)",
        )

    def test_an_accepted_drift_is_said(self) -> None:
        drift = {"tone": CriterionDrift(mean_absolute_error=2, bias=2)}
        (line,) = describe_apply(
            apply_record(anchors_scored=3, drift=drift, error=2, accepted=True)
        )
        assert line.endswith(", accepted past the limit")

    def test_too_few_anchors_are_said(self) -> None:
        assert describe_apply(apply_record(anchors_scored=2)) == (
            "anchors: 2 scored, too few to measure drift (3 needed)",
        )
