from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from pytest_tipbench.agreement import (
    Ratings,
    Statistic,
    adjacent_rate,
    exact_rate,
    jackknife_interval,
    krippendorff_alpha_ordinal,
    quadratic_weighted_kappa,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def by_judge(**scores: Sequence[int | None]) -> dict[int, dict[str, int]]:
    """Turn one row of scores for each judge, None for a missing one, into ratings."""
    return {
        unit: {
            judge: score for judge, score in zip(scores, column, strict=True) if score is not None
        }
        for unit, column in enumerate(zip(*scores.values(), strict=True))
    }


# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, part C/D: the reliability data
# of 4 observers and 12 units with missing values. The paper gives 0.743 for the nominal, 0.815 for
# the ordinal and 0.849 for the interval metric.
OBSERVERS_2011 = by_judge(
    a=[1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    b=[1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    c=[None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    d=[1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
)

# The `anxiety` data of the R package irr (raters 1 and 2), whose documentation gives
# kappa2(anxiety[, 1:2], "squared") as 0.297.
ANXIETY = by_judge(
    rater1=[3, 3, 3, 4, 5, 5, 2, 3, 5, 2, 2, 6, 1, 5, 2, 2, 1, 2, 4, 3],
    rater2=[3, 6, 4, 6, 2, 4, 2, 4, 3, 3, 2, 3, 3, 3, 2, 2, 1, 3, 3, 4],
)


def random_ratings(seed: int, *, units: int, judges: int, missing: float) -> Ratings:
    """Return scores 1 to 5 that share a true quality, some of them missing."""
    random = np.random.default_rng(seed)
    quality = random.normal(size=(units, 1)) + random.normal(scale=0.7, size=(units, judges))
    scores = np.clip(np.round(3 + 1.2 * quality), 1, 5).astype(int)
    present = random.random((units, judges)) >= missing
    return {
        f"unit {u}": {f"judge {j}": int(scores[u, j]) for j in range(judges) if present[u, j]}
        for u in range(units)
    }


# --- rates ------------------------------------------------------------------------------------


def test_rates_are_over_all_judge_pairs_of_all_units() -> None:
    # unit 0: pairs (1,1) (1,3) (1,3); unit 1: pair (4,5); unit 2: one judge, no pair
    ratings = by_judge(a=[1, 4, 2], b=[1, 5, None], c=[3, None, None])
    assert exact_rate(ratings) == 1 / 4
    assert adjacent_rate(ratings) == 2 / 4


@pytest.mark.parametrize("ratings", [{}, by_judge(a=[1, 2, 3])], ids=["nothing", "one judge"])
def test_without_a_pair_nothing_is_defined(ratings: Ratings) -> None:
    assert exact_rate(ratings) is None
    assert adjacent_rate(ratings) is None
    assert quadratic_weighted_kappa(ratings) is None
    assert krippendorff_alpha_ordinal(ratings) is None
    assert jackknife_interval(ratings, krippendorff_alpha_ordinal) is None


# --- weighted kappa ---------------------------------------------------------------------------


def test_kappa_by_hand() -> None:
    # Observed: (3−2)² = 1 over 3 pairs. By chance: the 9 squared differences of {1,2,3} and {1,2,2}
    # are 0,1,1 / 1,0,0 / 4,1,1, sum 9. Kappa = 1 − (1/3) / (9/9) = 2/3.
    assert quadratic_weighted_kappa(by_judge(a=[1, 2, 3], b=[1, 2, 2])) == pytest.approx(2 / 3)


def test_kappa_of_the_irr_anxiety_data() -> None:
    assert quadratic_weighted_kappa(ANXIETY) == pytest.approx(0.297, abs=0.0005)


@pytest.mark.parametrize("seed", range(10))
def test_kappa_agrees_with_scikit_learn(seed: int) -> None:
    ratings = random_ratings(seed, units=40, judges=2, missing=0.2)
    both = [(r["judge 0"], r["judge 1"]) for r in ratings.values() if len(r) == 2]
    first, second = zip(*both, strict=True)
    expected = cohen_kappa_score(first, second, weights="quadratic", labels=[1, 2, 3, 4, 5])
    assert quadratic_weighted_kappa(ratings) == pytest.approx(expected)


def test_kappa_is_0_where_the_judges_are_constants_apart() -> None:
    # What they give by chance is what they give: observed 1, by chance 1.
    assert quadratic_weighted_kappa(by_judge(a=[3, 3, 3], b=[4, 4, 4])) == 0


def test_kappa_is_undefined_where_nothing_varies() -> None:
    assert quadratic_weighted_kappa(by_judge(a=[3, 3], b=[3, 3])) is None


def test_kappa_is_undefined_where_the_judges_share_no_unit() -> None:
    assert quadratic_weighted_kappa(by_judge(a=[3, None], b=[None, 4])) is None


def test_kappa_is_of_two_judges() -> None:
    with pytest.raises(ValueError, match="of two judges, not of 3"):
        quadratic_weighted_kappa(by_judge(a=[1], b=[2], c=[3]))


# --- alpha ------------------------------------------------------------------------------------


def test_alpha_of_krippendorffs_worked_example() -> None:
    assert krippendorff_alpha_ordinal(OBSERVERS_2011) == pytest.approx(0.815, abs=0.0005)


def test_alpha_by_hand() -> None:
    # Values 1,1 | 1,2: n(1) = 3, n(2) = 1, n = 4. δ²(1,2) = (3+1 − (3+1)/2)² = 4.
    # Observed: o(1,2) = o(2,1) = 1, so D_o = 2·4/4 = 2. By chance: D_e = 2·3·1·4/(4·3) = 2.
    assert krippendorff_alpha_ordinal(by_judge(a=[1, 1], b=[1, 2])) == pytest.approx(0)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("judges", "missing"), [(2, 0.0), (3, 0.3), (5, 0.6)])
def test_alpha_agrees_with_the_krippendorff_package(seed: int, judges: int, missing: float) -> None:
    ratings = random_ratings(seed, units=30, judges=judges, missing=missing)
    table = [
        [scores.get(f"judge {judge}", np.nan) for scores in ratings.values()]
        for judge in range(judges)
    ]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    assert krippendorff_alpha_ordinal(ratings) == pytest.approx(expected)


def test_alpha_of_perfect_agreement_is_1() -> None:
    assert krippendorff_alpha_ordinal(by_judge(a=[1, 4, 5], b=[1, 4, 5])) == 1


def test_alpha_is_undefined_where_nothing_varies() -> None:
    assert krippendorff_alpha_ordinal(by_judge(a=[4, 4], b=[4, 4])) is None


# --- jackknife --------------------------------------------------------------------------------


def test_interval_by_hand() -> None:
    # Of 4 units 3 agree: 0.75. Leaving one out gives 2/3 three times and 1 once, mean 0.75.
    # Variance 3/4 · (3·(1/12)² + (1/4)²) = 1/16, the s²/n of a mean. t(0.975; 3) = 3.1824.
    interval = jackknife_interval(by_judge(a=[1, 2, 3, 4], b=[1, 2, 3, 1]), exact_rate)
    assert interval is not None
    low, high = interval
    assert low == pytest.approx(0.75 - 3.1824 / 4, abs=1e-4)
    assert high == 1, "0.75 + 0.80 is past the highest agreement there is"


def test_interval_is_symmetric_below_the_bound() -> None:
    # 1 of 4 agrees: the same variance about 0.25. t(0.95; 3) = 2.3534 for 90 %.
    ratings = by_judge(a=[1, 2, 3, 4], b=[1, 1, 1, 1])
    assert jackknife_interval(ratings, exact_rate, confidence=0.9) == pytest.approx(
        (0.25 - 2.3534 / 4, 0.25 + 2.3534 / 4), abs=1e-4
    )


@pytest.mark.parametrize("statistic", [quadratic_weighted_kappa, krippendorff_alpha_ordinal])
def test_interval_leaves_out_each_unit_once(statistic: Statistic) -> None:
    ratings = random_ratings(3, units=28, judges=2, missing=0)
    left_out = np.array(
        [statistic({u: s for u, s in ratings.items() if u != unit}) for unit in ratings], float
    )
    error = float(np.sqrt(27 / 28 * np.sum((left_out - left_out.mean()) ** 2)))
    estimate = statistic(ratings)
    assert estimate is not None
    t = 2.0518  # Student's t, 0.975, 27 degrees of freedom
    assert jackknife_interval(ratings, statistic) == pytest.approx(
        (estimate - t * error, estimate + t * error), abs=1e-4
    )


def test_units_with_one_score_do_not_count_for_the_interval() -> None:
    ratings = by_judge(a=[1, 2, 3, 4], b=[1, 1, 1, 1])
    with_lone = ratings | {99: {"a": 5}}
    assert jackknife_interval(with_lone, exact_rate) == jackknife_interval(ratings, exact_rate)


def test_no_interval_where_a_unit_is_all_that_varies() -> None:
    ratings = by_judge(a=[3, 3, 3], b=[3, 3, 4])
    assert krippendorff_alpha_ordinal(ratings) is not None
    assert jackknife_interval(ratings, krippendorff_alpha_ordinal) is None


def test_no_interval_from_perfect_agreement() -> None:
    ratings = by_judge(a=[1, 3, 5], b=[1, 3, 5])
    assert jackknife_interval(ratings, krippendorff_alpha_ordinal) is None


def test_no_interval_from_a_single_unit() -> None:
    assert jackknife_interval(by_judge(a=[1], b=[2]), exact_rate) is None


def test_scipy_is_imported_only_for_an_interval() -> None:
    code = (
        "import sys; from pytest_tipbench import agreement as a; r = {0: {'a': 1, 'b': 2}};"
        "a.exact_rate(r); a.quadratic_weighted_kappa(r); a.krippendorff_alpha_ordinal(r);"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
