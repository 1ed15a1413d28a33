from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from pytest_tipbench import estimates
from pytest_tipbench.agreement import (
    adjacent_rate,
    exact_rate,
    jackknife_interval,
    krippendorff_alpha_ordinal,
    quadratic_weighted_kappa,
)
from pytest_tipbench.diversity import distinct_2, self_similarity, specificity
from pytest_tipbench.judge.drift import count_agreement, measure_drift

DOCUMENTATION = Path(__file__).parents[2] / "docs"

# Darwin's maize: height of the crossed minus the self-fertilised plant of 15 pairs, in eighths of
# an inch; Fisher (1935), The Design of Experiments, sections 15 to 21.
DARWIN_EIGHTHS = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)

# Yield of vascular grafts at four extrusion pressures (rows) in six batches of resin (blocks);
# Montgomery, Design and Analysis of Experiments, example 4.1.
MONTGOMERY = (
    (90.3, 89.2, 98.2, 93.9, 87.4, 97.9),
    (92.5, 89.5, 90.6, 94.7, 87.0, 95.8),
    (85.5, 90.8, 89.6, 86.2, 88.0, 93.4),
    (82.5, 89.5, 85.6, 87.4, 78.9, 90.7),
)


def enumerated_p(differences: list[int]) -> Fraction:
    """The exact sign-flip p by convolving integers: no floats, nothing of the code under test."""
    sums = Counter({0: 1})
    for step in differences:
        longer: Counter[int] = Counter()
        for total, ways in sums.items():
            longer[total + step] += ways
            longer[total - step] += ways
        sums = longer
    reaching = sum(ways for total, ways in sums.items() if abs(total) >= abs(sum(differences)))
    return Fraction(reaching, 2 ** len(differences))


class TestMeanInterval:
    def test_agrees_with_the_published_interval_of_darwins_maize(self) -> None:
        interval = estimates.mean_interval([eighths / 8 for eighths in DARWIN_EIGHTHS])

        # R's t.test(ZeaMays$diff), which reproduces Fisher's t = 2.148 at 14 degrees of freedom.
        assert interval.mean == pytest.approx(2.616667, abs=1e-6)
        assert interval.low == pytest.approx(0.003899165, abs=1e-6)
        assert interval.high == pytest.approx(5.229434169, abs=1e-6)
        assert interval.scenarios == 15

    def test_uses_the_tabled_quantile_of_eleven_degrees_of_freedom(self) -> None:
        values = [3.0] * 6 + [4.0] * 6

        interval = estimates.mean_interval(values)

        # s² = 12 · 0.25 / 11, so s / √12 = √(0.25 / 11); t(0.975; 11) = 2.2010 in any table.
        assert interval.high == pytest.approx(3.5 + 2.2010 * math.sqrt(0.25 / 11), abs=1e-4)
        assert interval.low == pytest.approx(3.5 - 2.2010 * math.sqrt(0.25 / 11), abs=1e-4)

    @pytest.mark.parametrize("count", [2, 3, 12, 40])
    def test_agrees_with_scipys_own_interval(self, count: int) -> None:
        from scipy import stats

        generator = random.Random(count)
        values = [generator.uniform(1, 5) for _ in range(count)]

        interval = estimates.mean_interval(values)

        low, high = stats.t.interval(
            0.95, count - 1, loc=sum(values) / count, scale=stats.sem(values)
        )
        assert (interval.low, interval.high) == pytest.approx((low, high))

    def test_has_no_ends_with_one_value(self) -> None:
        interval = estimates.mean_interval([3.5])

        assert interval == estimates.Interval(mean=3.5, low=None, high=None, scenarios=1)

    def test_has_no_width_with_equal_values(self) -> None:
        interval = estimates.mean_interval([2.5, 2.5, 2.5])

        assert interval == estimates.Interval(mean=2.5, low=2.5, high=2.5, scenarios=3)

    def test_is_not_cut_off_at_the_end_of_the_scale(self) -> None:
        interval = estimates.mean_interval([5, 5, 4])

        # mean 14/3, s = √(1/3), t(0.975; 2) = 4.3027: 4.667 + 4.3027 / 3 = 6.10
        assert interval.high == pytest.approx(14 / 3 + 4.3027 / 3, abs=1e-4)

    def test_needs_a_value(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            estimates.mean_interval([])


class TestSignFlip:
    def test_finds_fishers_count_in_darwins_maize(self) -> None:
        # Section 21: in 863 of 32,768 ways the sum reaches 314 eighths; twice that, both sides.
        assert estimates.sign_flip_p(DARWIN_EIGHTHS) == 1726 / 32768

    @pytest.mark.parametrize("count", [2, 5, 11, 12])
    def test_agrees_with_scipys_exact_permutation_test(self, count: int) -> None:
        import numpy as np
        from scipy import stats

        generator = random.Random(count)
        differences = [generator.randint(-8, 8) / 5 for _ in range(count)]

        independent = stats.permutation_test(
            [differences], np.mean, permutation_type="samples", n_resamples=2**20
        )  # 2**20 is more than there are: exact

        assert estimates.sign_flip_p(differences) == pytest.approx(independent.pvalue)

    @pytest.mark.parametrize("count", [20, 33, 40])
    def test_is_exact_up_to_forty(self, count: int) -> None:
        generator = random.Random(count)
        fifteenths = [generator.choice([-9, -4, -1, 2, 5, 8]) for _ in range(count)]

        # Fifteenths (five tips, three criteria) are not exact in floats: ties must still be ties.
        p = estimates.sign_flip_p([fifteenth / 15 for fifteenth in fifteenths])

        assert p == pytest.approx(float(enumerated_p(fifteenths)), rel=1e-12)

    def test_is_estimated_and_repeatable_beyond_forty(self) -> None:
        generator = random.Random(41)
        steps = [generator.choice([-3, -2, -1, 1, 2, 3, 4]) for _ in range(60)]

        p = estimates.sign_flip_p(steps)

        # Four standard errors of a share of 100,000 draws are at most 4 · √(0.25 / 100,000).
        assert p == pytest.approx(float(enumerated_p(steps)), abs=0.0064)
        assert p == estimates.sign_flip_p(steps)
        assert p != estimates.sign_flip_p(steps, seed=1)

    def test_estimate_is_never_zero(self) -> None:
        assert estimates.sign_flip_p([1.0] * 60) == 1 / 100_001

    @pytest.mark.parametrize("differences", [[], [0.0, 0.0, 0.0], [1.0, -1.0], [0.3, -0.1, -0.2]])
    def test_is_one_where_nothing_moved(self, differences: list[float]) -> None:
        assert estimates.sign_flip_p(differences) == 1.0

    def test_differences_of_zero_change_nothing(self) -> None:
        # 1, 1, 2: only +++ and −−− reach 4 of the eight ways.
        assert estimates.sign_flip_p([1, 0, 1, 0, 2, 0]) == 2 / 8


class TestPairedDifference:
    def test_is_the_interval_of_the_differences(self) -> None:
        crossed = [20 + eighths / 8 for eighths in DARWIN_EIGHTHS]

        difference = estimates.paired_difference(crossed, [20.0] * 15)

        assert difference.mean == pytest.approx(2.616667, abs=1e-6)
        assert difference.low == pytest.approx(0.003899165, abs=1e-6)
        assert difference.sign_flip_p == 1726 / 32768
        assert difference.scenarios == 15

    def test_one_common_scenario_gives_no_interval(self) -> None:
        difference = estimates.paired_difference([3.0], [2.0])

        assert (difference.mean, difference.low, difference.sign_flip_p) == (1.0, None, 1.0)

    def test_refuses_sides_of_different_lengths(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            estimates.paired_difference([3.0, 2.0], [2.0])


class TestTukey:
    def test_agrees_with_montgomerys_grafts(self) -> None:
        # The book's analysis of variance: SS_E = 109.89 with 15 degrees of freedom, MS_E = 7.33;
        # its table of the studentized range: q(0.05; 4, 15) = 4.08, rounded to two decimals.
        assert estimates.residual_mean_square(MONTGOMERY) == pytest.approx(109.89 / 15, abs=1e-3)
        assert estimates.least_significant_difference(MONTGOMERY) == pytest.approx(
            4.08 * math.sqrt(7.33 / 6), abs=0.005 * math.sqrt(7.33 / 6) + 1e-3
        )

    def test_uses_the_quantile_of_twelve_rows_and_twelve_scenarios(self) -> None:
        generator = random.Random(12)
        scores = [[generator.uniform(1, 5) for _ in range(12)] for _ in range(12)]

        difference = estimates.least_significant_difference(scores)

        # q(0.95; 12, 121) = 4.7136
        mean_square = estimates.residual_mean_square(scores)
        assert difference == pytest.approx(4.7136 * math.sqrt(mean_square / 12), rel=1e-4)

    @pytest.mark.parametrize(("rows", "scenarios"), [(2, 3), (5, 7), (12, 12)])
    def test_mean_square_is_that_of_a_two_way_regression(self, rows: int, scenarios: int) -> None:
        from statsmodels.regression.linear_model import OLS

        generator = random.Random(rows)
        scores = [[generator.uniform(1, 5) for _ in range(scenarios)] for _ in range(rows)]
        cells = list(itertools.product(range(rows), range(scenarios)))
        design = [
            [1.0]
            + [float(row == other) for other in range(1, rows)]
            + [float(scenario == other) for other in range(1, scenarios)]
            for row, scenario in cells
        ]

        fit = OLS([scores[row][scenario] for row, scenario in cells], design).fit()

        assert estimates.residual_mean_square(scores) == pytest.approx(fit.mse_resid)

    def test_of_two_rows_is_the_paired_t_test(self) -> None:
        one, other = [3.2, 4.1, 2.8, 3.9, 3.0], [2.9, 3.1, 2.9, 3.0, 2.7]

        difference = estimates.least_significant_difference([one, other])

        pair = estimates.paired_difference(one, other)
        assert pair.high is not None
        assert difference == pytest.approx(pair.high - pair.mean, rel=1e-6)

    def test_is_zero_where_all_scores_are_equal(self) -> None:
        assert estimates.least_significant_difference([[3.0] * 4] * 3) == 0.0

    def test_is_zero_where_every_scenario_moves_all_rows_alike(self) -> None:
        assert estimates.least_significant_difference([[1.1, 2.3, 3.7], [1.4, 2.6, 4.0]]) == 0.0

    def test_copes_with_sixty_rows(self) -> None:
        from scipy import stats

        generator = random.Random(60)
        scores = [[generator.uniform(1, 5) for _ in range(12)] for _ in range(60)]

        difference = estimates.least_significant_difference(scores)

        quantile = stats.studentized_range.ppf(0.95, 60, 59 * 11)
        mean_square = estimates.residual_mean_square(scores)
        assert difference == pytest.approx(quantile * math.sqrt(mean_square / 12))

    @pytest.mark.parametrize(
        "scores", [[], [[1.0, 2.0]], [[1.0], [2.0]], [[1.0, 2.0], [1.0, 2.0, 3.0]]]
    )
    def test_needs_a_whole_table(self, scores: list[list[float]]) -> None:
        with pytest.raises(ValueError, match="two rows"):
            estimates.least_significant_difference(scores)


class TestTiers:
    def test_each_tier_is_what_is_close_to_its_best(self) -> None:
        means = [3.3, 4.0, 1.0, 3.8, 3.5]

        # 3.8 is within 0.4 of 4.0; 3.5 is not, leads tier 2 and takes 3.3 with it; 1.0 is alone.
        assert estimates.tiers(means, 0.4) == (2, 1, 3, 1, 2)

    def test_a_difference_of_just_that_size_is_within_it(self) -> None:
        # 0.1 + 0.2 exceeds 0.3 in floats only.
        assert estimates.tiers([0.1 + 0.2, 0.0], 0.3) == (1, 1)

    def test_without_noise_only_equal_means_share_a_tier(self) -> None:
        assert estimates.tiers([3.0, 3.0, 2.9], 0.0) == (1, 1, 2)

    def test_one_row_leads(self) -> None:
        assert estimates.tiers([1.0], 0.0) == (1,)

    def test_no_row_has_no_tier(self) -> None:
        assert estimates.tiers([], 0.0) == ()


class TestNearestRank:
    @pytest.mark.parametrize(
        ("percent", "expected"), [(5, 15), (30, 20), (40, 20), (50, 35), (100, 50)]
    )
    def test_agrees_with_the_worked_example(self, percent: int, expected: int) -> None:
        # The standard example of the nearest-rank method (Wikipedia, "Percentile").
        assert estimates.nearest_rank([35, 20, 15, 50, 40], percent) == expected

    @pytest.mark.parametrize(("count", "rank"), [(1, 1), (12, 12), (19, 19), (20, 19), (100, 95)])
    def test_ninety_fifth_of_consecutive_numbers_is_its_rank(self, count: int, rank: int) -> None:
        assert estimates.nearest_rank(range(1, count + 1), 95) == rank

    @pytest.mark.parametrize(("values", "percent"), [([], 95), ([1.0], 0), ([1.0], 101)])
    def test_needs_values_and_a_percentage(self, values: list[float], percent: int) -> None:
        with pytest.raises(ValueError, match="needs values"):
            estimates.nearest_rank(values, percent)


class TestDocumentation:
    """The worked examples of docs/statistics.md, recomputed from the numbers that it prints."""

    def test_the_worked_example_of_rows_is_right(self) -> None:
        example = _example("rows")
        header, *scenarios = _table_in(example, "| scenario |")
        rows = dict(
            zip(
                header[1:],
                zip(*([float(cell) for cell in line[1:]] for line in scenarios), strict=True),
                strict=True,
            )
        )

        difference = estimates.least_significant_difference(list(rows.values()))
        means = {name: estimates.mean_interval(scores) for name, scores in rows.items()}
        tiers = estimates.tiers([mean.mean for mean in means.values()], difference)
        pair = estimates.paired_difference(rows["a"], rows["b"])
        computed = {
            "mean of a": means["a"].mean,
            "interval of a, low": means["a"].low,
            "interval of a, high": means["a"].high,
            "mean of b": means["b"].mean,
            "mean of c": means["c"].mean,
            "MSE": estimates.residual_mean_square(list(rows.values())),
            "least significant difference": difference,
            **{f"tier of {name}": tier for name, tier in zip(rows, tiers, strict=True)},
            "a − b, mean": pair.mean,
            "a − b, low": pair.low,
            "a − b, high": pair.high,
            "a − b, sign-flip p": pair.sign_flip_p,
        }
        assert _results_in(example) == _as_printed(computed, example)

    def test_the_worked_example_of_tips_and_judges_is_right(self) -> None:
        example = _example("tips and judges")
        tips = [tip for (tip,) in _table_in(example, "| tip |\n")[1:]]
        short = _table_in(example, "| one | other |")[1]
        ratings = {
            tip: {"ada": int(ada), "bob": int(bob)}
            for tip, ada, bob in _table_in(example, "| tip | ada | bob |")[1:]
        }
        anchors = [
            ({"tone": int(given)}, {"tone": int(known)})
            for _, known, given in _table_in(example, "| anchor |")[1:]
        ]
        again = [
            ({"tone": int(now)}, {"tone": int(before)})
            for _, before, now in _table_in(example, "| asked again |")[1:]
        ]

        drift = measure_drift(anchors, ["tone"])
        scored, agreed = count_agreement(again)
        kappa_limits = jackknife_interval(ratings, quadratic_weighted_kappa)
        assert drift is not None
        assert kappa_limits is not None
        computed = {
            "distinct-2": distinct_2(tips),
            "self-similarity": self_similarity(short),
            "specificity": specificity({"one": short[:1], "other": short[1:]}),
            "exact": exact_rate(ratings),
            "within one point": adjacent_rate(ratings),
            "kappa": quadratic_weighted_kappa(ratings),
            "kappa, low": kappa_limits[0],
            "kappa, high": kappa_limits[1],
            "alpha": krippendorff_alpha_ordinal(ratings),
            "mean absolute error": drift.by_criterion["tone"].mean_absolute_error,
            "bias": drift.by_criterion["tone"].bias,
            "self-consistency": agreed / scored,
        }
        assert _results_in(example) == _as_printed(computed, example)


def _example(title: str) -> str:
    text = (DOCUMENTATION / "statistics.md").read_text(encoding="utf-8")
    return text.partition(f"## A worked example: {title}\n")[2].partition("\n## ")[0]


def _results_in(example: str) -> dict[str, str]:
    return dict(_table_in(example, "| result |")[1:])


def _as_printed(computed: dict[str, float | None], example: str) -> dict[str, str]:
    """The computed values with as many decimals as the example prints of each."""
    printed = _results_in(example)
    return {
        name: f"{value:.{len(printed[name].partition('.')[2])}f}"
        for name, value in computed.items()
    }


def _table_in(text: str, first_header: str) -> list[list[str]]:
    """The cells of the Markdown table that begins so, its header first, its rule left out."""
    table = text[text.index(first_header) :].partition("\n\n")[0]
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
    return [lines[0], *lines[2:]]
