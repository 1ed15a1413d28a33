from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest

from pytest_tipbench.judge.concord import (
    agreement_lines,
    agreement_metrics,
    drift_history_lines,
    judges_agreement,
)
from pytest_tipbench.judgement_records import (
    ApplyRecord,
    Criterion,
    CriterionDrift,
    Judgement,
    Rubric,
    TipKey,
)
from pytest_tipbench.records import jsonable
from tests.unit.judge_samples import make_run, make_scenario

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
RUBRIC = Rubric(
    version="t",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(Criterion(name="relevance", weight=1),),
    text="",
)
TIPS = ("the first tip", "the second tip", "the third tip", "the fourth tip")
RUN = make_run(make_scenario("x"), tips=TIPS)


def said(
    judge: str, tip: str, score: int, *, minutes: int = 0, rubric: Rubric = RUBRIC
) -> Judgement:
    return Judgement(
        judgement_id=f"{judge} {tip} {score} {minutes}",
        key=TipKey(rubric_sha256=rubric.sha256, scenario_sha256=RUN.scenario_sha256, tip=tip),
        judge=judge,
        scores={"relevance": score},
        judged_at=NOW + timedelta(minutes=minutes),
        sheet_nonce="n",
    )


def test_one_judge_agrees_with_nobody() -> None:
    judgements = [said("ada", tip, 3) for tip in TIPS]
    assert judges_agreement([RUN], judgements, RUBRIC) == ()
    assert agreement_lines(()) == []


def test_two_judges_have_rates_and_a_weighted_kappa() -> None:
    # ada 1 2 4 5, ben 1 3 4 4: two of four equal, all within one point.
    # Kappa: observed squared differences 0+1+0+1 = 2 of 4 pairs, mean 0.5. By chance, over all 16
    # pairs: ada 1 against 1,3,4,4: 0+4+9+9 = 22; 2: 1+1+4+4 = 10; 4: 9+1+0+0 = 10; 5: 16+4+1+1 =
    # 22; 64/16 = 4. Kappa = 1 - 0.5/4 = 0.875.
    judgements = [
        said(judge, tip, score)
        for judge, scores in (("ada", (1, 2, 4, 5)), ("ben", (1, 3, 4, 4)))
        for tip, score in zip(TIPS, scores, strict=True)
    ]
    (agreement,) = judges_agreement([RUN], judgements, RUBRIC)
    assert (agreement.judges, agreement.tips) == (2, 4)
    assert agreement.exact_rate == 0.5
    assert agreement.adjacent_rate == 1.0
    assert agreement.kappa is not None
    assert agreement.kappa.value == pytest.approx(0.875)
    assert agreement.kappa.low is not None
    assert agreement.kappa.high is not None
    assert agreement.kappa.low < 0.875 <= agreement.kappa.high
    assert agreement.alpha is not None
    assert agreement_metrics([agreement]) == {
        "agreement.relevance.exact_rate": 0.5,
        "agreement.relevance.adjacent_rate": 1.0,
        "agreement.relevance.kappa": pytest.approx(0.875),
        "agreement.relevance.alpha": agreement.alpha.value,
    }
    lines = agreement_lines([agreement])
    assert lines[0] == "agreement of 2 judges on 4 tips:"
    assert lines[1].startswith("  relevance: exact 50%, within one point 100%, kappa 0.88 [")


def test_three_judges_have_an_alpha() -> None:
    judgements = [said(judge, tip, 3 + (tip == TIPS[0])) for judge in "abc" for tip in TIPS]
    (agreement,) = judges_agreement([RUN], judgements, RUBRIC)
    assert agreement.kappa is None
    assert agreement.alpha is not None
    assert agreement.alpha.value == 1.0
    assert "alpha 1.00" in agreement.line


def test_scores_that_do_not_vary_leave_the_coefficient_undefined() -> None:
    judgements = [said(judge, tip, 3) for judge in ("ada", "ben") for tip in TIPS]
    (agreement,) = judges_agreement([RUN], judgements, RUBRIC)
    assert agreement.kappa is None
    assert "kappa undefined (the scores do not vary)" in agreement.line
    assert "agreement.relevance.kappa" not in agreement_metrics([agreement])


def test_the_newest_judgement_of_a_judge_counts_and_others_tips_and_rubrics_do_not() -> None:
    other = RUBRIC.model_copy(update={"version": "u"})
    judgements = [
        said("ada", TIPS[0], 1),
        said("ada", TIPS[0], 5, minutes=1),
        said("ben", TIPS[0], 5),
        said("ben", TIPS[1], 1, rubric=other),
        said("ada", TIPS[1], 5),
        said("ada", "a tip of another experiment", 1),
        said("ben", "a tip of another experiment", 5),
    ]
    (agreement,) = judges_agreement([RUN], judgements, RUBRIC)
    assert (agreement.tips, agreement.exact_rate) == (1, 1.0)


def applied(judge: str, days: int, anchors_sha256: str | None = None) -> ApplyRecord:
    return ApplyRecord(
        apply_id=judge,
        experiment="e",
        sheet_nonce="n",
        judge=judge,
        rubric_version="tip-v1",
        rubric_sha256="0",
        applied_at=NOW + timedelta(days=days),
        judgements=7,
        anchors_scored=3,
        drift={"relevance": CriterionDrift(mean_absolute_error=0.5, bias=-0.25)},
        drift_mean_absolute_error=0.5,
        anchors_sha256=anchors_sha256,
    )


def test_the_history_of_drift_is_told_oldest_first() -> None:
    lines = drift_history_lines([applied("ben", 2), applied("ada", 1)])
    assert lines[0] == "drift so far:"
    assert "ada scored 7 tips (tip-v1)" in lines[1]
    assert "mean absolute error 0.50" in lines[2]
    assert "ben scored 7 tips" in lines[3]
    assert drift_history_lines([]) == []


@pytest.mark.parametrize(
    ("hashes", "changes_before"),
    [
        (["a1", "a1"], []),
        ([None, "a1", "a1"], []),  # what was before is not known
        (["a1", "b2", "b2", "a1"], [1, 3]),
        (["a1", None, "a1"], []),  # a project without its anchors for a while
        (["a1", None, "b2"], [2]),
    ],
)
def test_the_history_says_where_the_anchors_changed(
    hashes: list[str | None], changes_before: list[int]
) -> None:
    history = [applied(f"judge{day}", day, sha256) for day, sha256 in enumerate(hashes)]
    lines = drift_history_lines(history)
    change = "the anchors changed here: drift before and after is not comparable"
    following = [after for line, after in pairwise(lines) if line == change]
    assert [line.split()[2] for line in following] == [f"judge{day}" for day in changes_before]


def test_a_record_of_before_the_hash_was_kept_can_be_read() -> None:
    old = jsonable(applied("ada", 1, "a1"))
    del old["anchors_sha256"]
    assert ApplyRecord.model_validate(old).anchors_sha256 is None
