from __future__ import annotations

import random
import time
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tipbench.diversity import (
    cell_diversity,
    distinct_2,
    self_similarity,
    similarity,
    specificity,
)

# --- distinct_2 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tips", "expected"),
    [
        (["one two three"], 1),  # one·two, two·three
        (["drink water drink water"], 2 / 3),  # d·w, w·d, d·w
        (["drink water", "drink water"], 1 / 2),  # d·w, d·w: no bigram crosses from tip to tip
        (["a b", "b c"], 1),
        (["Drink, water! DRINK (water)"], 2 / 3),  # case and punctuation do not count
        (["don't stop don’t stop"], 2 / 3),  # one apostrophe is as good as the other
        (["'go' now go 'now'"], 2 / 3),  # quotes are not part of a word
        (["喝水喝水"], 2 / 3),  # 喝·水, 水·喝, 喝·水: a character is a word
        (["पानी पियो पानी पियो"], 2 / 3),  # vowel signs are part of the word
        (["7 am 7 am"], 2 / 3),
    ],
)
def test_distinct_2_is_unique_bigrams_over_bigrams(tips: list[str], expected: float) -> None:
    assert distinct_2(tips) == pytest.approx(expected)


@pytest.mark.parametrize("tips", [[], ["one"], ["one", "two"], ["... !"]])
def test_distinct_2_needs_a_bigram(tips: list[str]) -> None:
    assert distinct_2(tips) is None


# --- similarity -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # n = 1: 2 of 3 match, n = 2: 1 of 2, n = 3: 0 of 1; both ways the mean is 7/18.
        ("abc", "abd", 7 / 18),
        # n = 1: a, b match (the second a does not): 2/3 and 2/2; n = 2: ab: 1/2 and 1/1; n = 3: the
        # second text has none. Means 7/12 and 1, harmonic mean 2·(7/12)/(19/12) = 14/19.
        ("aab", "ab", 14 / 19),
        ("Drink Water", "drink\twater", 1),  # neither case nor white space
        ("abc", "xyz", 0),
        ("abc", "", 0),
        ("", "", 0),
        # n = 1 to 6 of 7 and 6 characters: 6/7 5/6 4/5 3/4 2/3 1/2 against 1 throughout.
        ("abcdefg", "abcdef", 2 * (1851 / 2520) / (1851 / 2520 + 1)),
    ],
)
def test_similarity_by_hand(first: str, second: str, expected: float) -> None:
    assert similarity(first, second) == pytest.approx(expected)
    assert similarity(second, first) == pytest.approx(expected)


def chrf_with_beta_1(first: str, second: str) -> float:
    """Popović (2015), written down plainly with counters."""
    shares = []
    for n in range(1, 7):
        ours, theirs = (
            Counter(text[start : start + n] for start in range(len(text) - n + 1))
            for text in ("".join(one.casefold().split()) for one in (first, second))
        )
        if ours and theirs:
            matches = (ours & theirs).total()
            shares.append((matches / ours.total(), matches / theirs.total()))
    precision = sum(share for share, _ in shares) / max(len(shares), 1)
    recall = sum(share for _, share in shares) / max(len(shares), 1)
    return 2 * precision * recall / (precision + recall) if precision else 0.0


@settings(deadline=None)
@given(st.text(alphabet="abAB é水\n", max_size=30), st.text(alphabet="abAB é水\n", max_size=30))
def test_similarity_is_chrf_with_beta_1(first: str, second: str) -> None:
    assert similarity(first, second) == pytest.approx(chrf_with_beta_1(first, second))


# --- self_similarity --------------------------------------------------------------------------


def test_self_similarity_is_the_mean_over_pairs() -> None:
    # abc·abd 7/18, the other two pairs 0
    assert self_similarity(["abc", "abd", "xyz"]) == pytest.approx(7 / 54)


def test_self_similarity_of_the_same_tip_is_1() -> None:
    assert self_similarity(["Drink some water"] * 4) == 1


@pytest.mark.parametrize("tips", [[], ["only one"]])
def test_self_similarity_needs_two_tips(tips: list[str]) -> None:
    assert self_similarity(tips) is None


# --- specificity ------------------------------------------------------------------------------


def test_specificity_is_0_for_a_model_that_tells_everyone_the_same() -> None:
    same = ["Drink some water"]
    assert specificity({"ana": same, "bo": same, "chloé": same}) == 0


def test_specificity_is_1_where_nothing_is_shared() -> None:
    assert specificity({"ana": ["abc", "abd"], "bo": ["xyz"]}) == 1


def test_similar_tips_within_a_scenario_do_not_count() -> None:
    assert specificity({"ana": ["abc", "abc"], "bo": ["abd", "abd"]}) == pytest.approx(1 - 7 / 18)


def test_every_pair_of_scenarios_weighs_the_same() -> None:
    # ana·bo 1, ana·chloé 0, bo·chloé 0, though ana has more tips than the others
    tips = {"ana": ["abc", "abc"], "bo": ["abc"], "chloé": ["xyz"]}
    assert specificity(tips) == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("tips", [{}, {"ana": ["abc"]}, {"ana": ["abc"], "bo": []}])
def test_specificity_needs_two_scenarios_with_tips(tips: dict[str, list[str]]) -> None:
    assert specificity(tips) is None


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=2), st.lists(st.text(max_size=12), max_size=3)))
def test_specificity_is_what_the_pairs_give(tips: dict[str, list[str]]) -> None:
    means = [
        sum(chrf_with_beta_1(one, other) for one in ours for other in theirs)
        / (len(ours) * len(theirs))
        for ours, theirs in combinations([group for group in tips.values() if group], 2)
    ]
    expected = 1 - sum(means) / len(means) if means else None
    assert specificity(tips) == (expected if expected is None else pytest.approx(expected))


def test_a_row_of_36_scenarios_takes_well_under_a_second() -> None:
    words = random.Random(20260427)
    vocabulary = ["".join(words.choices("etaoinshrdlu", k=words.randint(2, 9))) for _ in range(800)]
    tips = {
        f"scenario {number}": [" ".join(words.choices(vocabulary, k=40)) for _ in range(5)]
        for number in range(36)
    }
    started = time.process_time()
    value = specificity(tips)
    assert time.process_time() - started < 1
    assert value is not None
    assert 0 < value < 1


# --- a cell -----------------------------------------------------------------------------------


def test_a_cell_has_both_measures() -> None:
    assert cell_diversity(["ab cd", "ab cd"]) == {"distinct_2": 1 / 2, "self_similarity": 1}


@pytest.mark.parametrize(
    ("tips", "expected"),
    [
        ([], {}),
        (["one"], {}),
        (["one two"], {"distinct_2": 1}),
        (["x", "y"], {"self_similarity": 0}),
    ],
)
def test_a_cell_leaves_out_what_is_undefined(tips: list[str], expected: dict[str, float]) -> None:
    assert cell_diversity(tips) == expected
