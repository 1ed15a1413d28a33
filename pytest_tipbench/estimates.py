"""Owns the board's statistics: pure functions over numbers; knows no runs, rows or rubrics.

scipy and numpy are imported inside the functions that need them, so that a board on which nothing
is judged does not pay for them. The unit is always the scenario: whoever calls has averaged tips,
repeats and judges inside it.

Sources: Student (1908) for the t interval; Tukey (1953), *The problem of multiple comparisons*, and
Montgomery, *Design and Analysis of Experiments*, chapter 4, for the studentized range over a
randomised complete block design; Fisher (1935), *The Design of Experiments*, section 21, for the
sign-flip test; Phipson and Smyth (2010), *Permutation p-values should never be zero*, for its
Monte Carlo form; Miller (2024), arXiv 2411.00640, for pairing evaluations by question.
"""

from __future__ import annotations

import functools
import math
import statistics
from typing import TYPE_CHECKING

from pytest_tipbench.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
MINIMUM_SHARED_SCENARIOS = 3
"""Rows are compared over at least so many scenarios; with fewer nothing is claimed."""

EXACT_SIGN_FLIPS_UP_TO = 40
MONTE_CARLO_SIGN_FLIPS = 100_000
SIGN_FLIP_SEED = 20260427

_ROUNDING = 1e-9
"""Two means of a few dozen small integers that differ by less are the same mean."""


class Interval(Record):
    """A mean over scenarios and its 95 % interval, on the scale of the values."""

    mean: float
    low: float | None
    """None with one scenario: a single value says nothing of its spread."""
    high: float | None
    scenarios: int


class PairedDifference(Interval):
    """A mean difference of two rows, paired by scenario."""

    sign_flip_p: float
    """Two-sided p of the sign-flip test: that chance alone makes a difference as large."""


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of one value per scenario and its two-sided 95 % Student t interval.

    The interval is mean ± t(0.975; S−1) · s / √S and is not cut off at the ends of the scale. With
    equal values it has no width.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean = statistics.fmean(values)
    count = len(values)
    if count == 1:
        return Interval(mean=mean, low=None, high=None, scenarios=1)
    half_width = 0.0
    spread = statistics.stdev(values)
    if spread > _ROUNDING:
        half_width = _t_quantile(count - 1) * spread / math.sqrt(count)
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, scenarios=count)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> PairedDifference:
    """Return ``first`` − ``second``, where both hold one value per scenario in the same order.

    Raises:
        ValueError: the lengths differ, or there is no value.
    """
    differences = [one - other for one, other in zip(first, second, strict=True)]
    interval = mean_interval(differences)
    return PairedDifference(**interval.model_dump(), sign_flip_p=sign_flip_p(differences))


def sign_flip_p(differences: Sequence[float], *, seed: int = SIGN_FLIP_SEED) -> float:
    """Return the two-sided p of Fisher's sign-flip test that the differences centre on zero.

    Up to 40 differences other than zero it is exact: of all 2ⁿ ways to give them signs, the share
    whose sum is at least as far from zero as the observed one (both halves are enumerated, and
    their sums counted against each other, so that 2ⁿ is never walked). Beyond 40 it is estimated
    from 100,000 random sign patterns drawn with ``seed``, the observed one counted among them; its
    standard error is then at most 0.0016.
    """
    moved = [difference for difference in differences if abs(difference) > _ROUNDING]
    observed = abs(math.fsum(moved))
    # Sums that are equal on paper differ in their last bits by the order of adding.
    slack = _ROUNDING * math.fsum(map(abs, moved))
    if observed <= slack:
        return 1.0
    if len(moved) <= EXACT_SIGN_FLIPS_UP_TO:
        return _exact_sign_flip_p(moved, observed - slack)
    return _monte_carlo_sign_flip_p(moved, observed - slack, seed)


def residual_mean_square(scores: Sequence[Sequence[float]]) -> float:
    """Return MSE of rows × scenarios: what neither a row's nor a scenario's mean explains.

    Degrees of freedom are (k−1)(S−1), for k rows and S scenarios.

    Raises:
        ValueError: fewer than two rows or two scenarios, or rows of different lengths.
    """
    rows, scenarios = len(scores), len(scores[0]) if scores else 0
    if rows < 2 or scenarios < 2 or any(len(row) != scenarios for row in scores):
        raise ValueError("needs at least two rows with the same two or more scenarios")
    row_means = [statistics.fmean(row) for row in scores]
    scenario_means = [statistics.fmean(column) for column in zip(*scores, strict=True)]
    grand_mean = statistics.fmean(row_means)
    squares = math.fsum(
        (score - row_mean - scenario_mean + grand_mean) ** 2
        for row, row_mean in zip(scores, row_means, strict=True)
        for score, scenario_mean in zip(row, scenario_means, strict=True)
    )
    return squares / ((rows - 1) * (scenarios - 1))


def least_significant_difference(scores: Sequence[Sequence[float]]) -> float:
    """Return how far two of the rows must lie apart to be told apart: Tukey's HSD, 95 %.

    ``scores`` are rows × scenarios, complete. The value is q(0.95; k, (k−1)(S−1)) · √(MSE/S), with
    scenarios as blocks; it holds for all pairs of rows together, whichever was picked as the
    leader. It is 0 where every scenario moves all rows alike.

    Raises:
        ValueError: fewer than two rows or two scenarios, or rows of different lengths.
    """
    mean_square = residual_mean_square(scores)
    if mean_square <= _ROUNDING**2:
        return 0.0
    rows, scenarios = len(scores), len(scores[0])
    quantile = _studentized_range_quantile(rows, (rows - 1) * (scenarios - 1))
    return quantile * math.sqrt(mean_square / scenarios)


def tiers(means: Sequence[float], least_significant_difference: float) -> tuple[int, ...]:
    """Return each mean's tier, in the order given.

    Tier 1 is the best mean and every other within the least significant difference of it, tier 2
    the best of what is left and every other within it of that one, and so on.
    """
    result = [0] * len(means)
    tier, leader = 0, math.inf
    for index in sorted(range(len(means)), key=lambda index: -means[index]):
        if leader - means[index] > least_significant_difference + _ROUNDING:
            tier, leader = tier + 1, means[index]
        result[index] = tier
    return tuple(result)


def nearest_rank(values: Sequence[float], percent: int) -> float:
    """Return the percentile by the nearest-rank definition: always one of the values.

    It is the smallest value that at least ``percent`` per cent of the values do not exceed; with
    fewer than 20 values the 95th percentile is therefore the largest.

    Raises:
        ValueError: there is no value, or ``percent`` is not from 1 to 100.
    """
    if not values or not 1 <= percent <= 100:
        raise ValueError("needs values, and a percentage from 1 to 100")
    rank = -(-percent * len(values) // 100)
    return sorted(values)[rank - 1]


def _t_quantile(degrees_of_freedom: int) -> float:
    # scipy.special loads in half the time of scipy.stats, whose t.ppf calls this very function.
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))


@functools.lru_cache(maxsize=256)
def _studentized_range_quantile(rows: int, degrees_of_freedom: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, rows, degrees_of_freedom))


def _exact_sign_flip_p(differences: Sequence[float], threshold: float) -> float:
    import numpy as np

    half = len(differences) // 2
    one, other = _signed_sums(differences[:half]), _signed_sums(differences[half:])
    one.sort()
    other.sort()
    reaching = int((other.size - np.searchsorted(other, threshold - one)).sum())
    # The sums lie symmetrically about zero: as many reach −threshold on the other side.
    return reaching / float(2 ** (len(differences) - 1))


def _signed_sums(values: Sequence[float]) -> NDArray[np.float64]:
    import numpy as np

    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums + value, sums - value))
    return sums


def _monte_carlo_sign_flip_p(differences: Sequence[float], threshold: float, seed: int) -> float:
    import numpy as np

    generator = np.random.default_rng(seed)
    steps = np.asarray(differences)
    reaching, batch = 0, 10_000
    for _ in range(MONTE_CARLO_SIGN_FLIPS // batch):
        signs = generator.integers(0, 2, size=(batch, steps.size), dtype=np.int8) * 2 - 1
        reaching += int((np.abs(signs @ steps) >= threshold).sum())
    return (reaching + 1) / (MONTE_CARLO_SIGN_FLIPS + 1)
