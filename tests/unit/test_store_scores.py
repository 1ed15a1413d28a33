from __future__ import annotations

import random

import pytest

from pytest_tipbench.judgement_records import Rubric
from pytest_tipbench.records import Outcome
from pytest_tipbench.store.scores import (
    current_judgements,
    is_pending,
    run_scores,
    tip_keys,
)
from tests.unit.store_samples import RUBRIC, judgement, minutes, run

TWO_TIPS = run(tips=("Call the bank first", "Rest after lunch"))
OTHER_RUBRIC = RUBRIC.model_copy(update={"text": "Other words."})


def test_scores_are_means_over_tips_and_the_composite_is_weighted() -> None:
    scores = run_scores(
        TWO_TIPS,
        [judgement("Call the bank first", (4, 3, 5)), judgement("Rest after lunch", (2, 2, 2))],
        RUBRIC,
    )
    assert scores is not None
    # relevance (4+2)/2, actionability (3+2)/2, tone (5+2)/2; weights 2, 2, 1.
    assert scores.metrics == pytest.approx(
        {
            "relevance": 3.0,
            "actionability": 2.5,
            "tone": 3.5,
            "composite": (2 * 3.0 + 2 * 2.5 + 1 * 3.5) / 5,
        }
    )
    assert not scores.judge_pending
    assert scores.judges == ("ann",)
    assert (scores.run_id, scores.rubric_version) == (TWO_TIPS.run_id, "tip-v1")
    assert scores.rubric_sha256 == RUBRIC.sha256


def test_a_tip_counts_with_the_mean_over_its_judges_whoever_else_judged() -> None:
    scores = run_scores(
        TWO_TIPS,
        [
            judgement("Call the bank first", (5, 5, 5), judge="ann"),
            judgement("Call the bank first", (4, 2, 1), judge="bob"),
            judgement("Rest after lunch", (1, 1, 1), judge="ann"),
        ],
        RUBRIC,
    )
    assert scores is not None
    # ((5+4)/2 + 1)/2, ((5+2)/2 + 1)/2, ((5+1)/2 + 1)/2: not the mean over three judgements.
    assert scores.metrics["relevance"] == pytest.approx(2.75)
    assert scores.metrics["actionability"] == pytest.approx(2.25)
    assert scores.metrics["tone"] == pytest.approx(2.0)
    assert scores.judges == ("ann", "bob")


def test_a_missing_tip_counts_the_rubrics_missing_tip_score() -> None:
    short = run(outcome=Outcome.SHORT, tips=("Call the bank first",), n_tips=3)
    scores = run_scores(short, [judgement("Call the bank first", (4, 4, 5))], RUBRIC)
    assert scores is not None
    # One tip and two missing ones at 1: (4+1+1)/3, (4+1+1)/3, (5+1+1)/3.
    assert scores.metrics == pytest.approx(
        {
            "relevance": 2.0,
            "actionability": 2.0,
            "tone": 7 / 3,
            "composite": (2 * 2.0 + 2 * 2.0 + 7 / 3) / 5,
        }
    )


@pytest.mark.parametrize(
    "outcome",
    [Outcome.REFUSED, Outcome.LOOPING, Outcome.TRUNCATED, Outcome.EMPTY, Outcome.MALFORMED],
)
def test_a_run_without_a_tip_has_its_scores_at_once(outcome: Outcome) -> None:
    failed = run(outcome=outcome)
    scores = run_scores(failed, [], RUBRIC)
    assert scores is not None
    assert set(scores.metrics.values()) == {1.0}
    assert set(scores.metrics) == {"relevance", "actionability", "tone", "composite"}
    assert not scores.judge_pending
    assert (scores.judges, scores.judgements) == ((), ())
    assert not is_pending(failed, (), RUBRIC.sha256)


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.PROVIDER_ERROR, Outcome.MISSING])
def test_a_machines_fault_has_no_scores(outcome: Outcome) -> None:
    assert run_scores(run(outcome=outcome), [], RUBRIC) is None


def test_while_a_tip_lacks_a_judge_there_are_judgements_and_no_metrics() -> None:
    first = judgement("Call the bank first")
    scores = run_scores(TWO_TIPS, [first], RUBRIC)
    assert scores is not None
    assert scores.judge_pending
    assert scores.metrics == {}
    assert scores.judgements == (first,)
    assert scores.judges == ("ann",)


def test_with_nothing_judged_there_is_nothing_to_say() -> None:
    assert run_scores(TWO_TIPS, [], RUBRIC) is None


def test_judgements_of_other_tips_scenarios_and_rubrics_do_not_count() -> None:
    others = [
        judgement("Another tip"),
        judgement("Call the bank first", scenario_id="friday"),
        judgement("Call the bank first", rubric=OTHER_RUBRIC),
    ]
    assert run_scores(TWO_TIPS, others, RUBRIC) is None


def test_a_judgement_that_leaves_out_a_criterion_does_not_count() -> None:
    partly = judgement("Call the bank first").model_copy(update={"scores": {"relevance": 5}})
    assert run_scores(TWO_TIPS, [partly], RUBRIC) is None


def test_only_the_newest_word_of_a_judge_counts() -> None:
    said = [
        judgement("Call the bank first", (5, 5, 5), judged_at=minutes(9), nonce="later"),
        judgement("Call the bank first", (1, 1, 1), judged_at=minutes(3), nonce="earlier"),
        judgement("Rest after lunch", (3, 3, 3)),
    ]
    scores = run_scores(TWO_TIPS, said, RUBRIC)
    assert scores is not None
    assert scores.metrics["composite"] == pytest.approx((5 + 3) / 2)
    assert len(scores.judgements) == 2


def test_of_two_words_at_one_moment_the_later_one_in_the_list_counts() -> None:
    one = judgement("Call the bank first", (1, 1, 1), nonce="one")
    two = judgement("Call the bank first", (2, 2, 2), nonce="two")
    assert current_judgements([one, two]) == [two]
    assert current_judgements([two, one]) == [one]


def test_current_judgements_are_the_oldest_first() -> None:
    late = judgement("Rest after lunch", judged_at=minutes(5))
    early = judgement("Call the bank first", judged_at=minutes(1))
    corrected = judgement("Call the bank first", (1, 1, 1), judged_at=minutes(9), nonce="again")
    assert current_judgements([late, early]) == [early, late]
    assert current_judgements([late, early, corrected]) == [late, corrected]


def test_what_is_said_does_not_depend_on_the_order_of_the_judgements() -> None:
    said = [
        judgement(tip, (3, 4, 5), judge=judge, judged_at=minutes(number))
        for number, (tip, judge) in enumerate(
            (tip, judge) for tip in TWO_TIPS.tips for judge in ("cy", "ann", "bob")
        )
    ]
    expected = run_scores(TWO_TIPS, said, RUBRIC)
    assert expected is not None
    assert [(each.key.tip, each.judge) for each in expected.judgements] == [
        (tip, judge) for tip in TWO_TIPS.tips for judge in ("ann", "bob", "cy")
    ]
    for seed in range(20):
        shuffled = random.Random(seed).sample(said, len(said))
        assert run_scores(TWO_TIPS, shuffled, RUBRIC) == expected


def test_any_rubrics_criteria_work() -> None:
    rubric = Rubric.model_validate(
        {
            "version": "other",
            "scale": (0, 10),
            "missing_tip_score": 0,
            "criteria": [{"name": "Wärme", "weight": 1}],
            "text": "",
        }
    )
    short = run(outcome=Outcome.SHORT, tips=("Call the bank first",), n_tips=2)
    scores = run_scores(short, [judgement("Call the bank first", (7,), rubric=rubric)], rubric)
    assert scores is not None
    assert scores.metrics == {"Wärme": 3.5, "composite": 3.5}


def test_a_run_is_pending_while_any_of_its_tips_is_unjudged() -> None:
    first, second = tip_keys(TWO_TIPS, RUBRIC.sha256)
    assert is_pending(TWO_TIPS, set(), RUBRIC.sha256)
    assert is_pending(TWO_TIPS, {first}, RUBRIC.sha256)
    assert not is_pending(TWO_TIPS, {first, second}, RUBRIC.sha256)
    assert is_pending(TWO_TIPS, {first, second}, OTHER_RUBRIC.sha256)
