"""What the board's statistics promise, held against data that breaks their assumptions.

Scores are ordinal, bounded, and correlated within a scenario, as a judge's are; all rates are over
2,000 draws of 12 scenarios with a fixed seed.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pytest_tipbench import estimates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DRAWS, SCENARIOS, TIPS, CRITERIA = 2_000, 12, 5, 3
SCENARIO_SPREAD, ROW_SCENARIO_SPREAD, TIP_SPREAD, SCORE_SPREAD = 0.4, 0.4, 0.6, 0.5
LOWEST, HIGHEST = 1, 5


def scenario_means(latent_means: Sequence[float], seed: int) -> NDArray[np.float64]:
    """Draws × rows × scenarios of mean scores: rounded to 1…5, five tips, three criteria."""
    generator = np.random.default_rng(seed)
    rows = len(latent_means)

    def noise(spread: float, *shape: int) -> NDArray[np.float32]:
        return np.multiply(
            generator.standard_normal(shape, dtype=np.float32), spread, dtype=np.float32
        )

    cells = (
        np.asarray(latent_means, dtype=np.float32)[None, :, None]
        + noise(SCENARIO_SPREAD, DRAWS, 1, SCENARIOS)
        + noise(ROW_SCENARIO_SPREAD, DRAWS, rows, SCENARIOS)
    )
    tips = cells[..., None] + noise(TIP_SPREAD, DRAWS, rows, SCENARIOS, TIPS)
    scores = tips[..., None] + noise(SCORE_SPREAD, DRAWS, rows, SCENARIOS, TIPS, CRITERIA)
    ordinal = np.clip(np.rint(scores), LOWEST, HIGHEST)
    means: NDArray[np.float64] = ordinal.mean(axis=(-1, -2), dtype=np.float64)
    return means


def expected_score(latent_mean: float) -> float:
    """Mean of a rounded and cut off normal score: 1 + the chances of being at least 2, 3, 4, 5."""
    spreads = (SCENARIO_SPREAD, ROW_SCENARIO_SPREAD, TIP_SPREAD, SCORE_SPREAD)
    latent = NormalDist(latent_mean, sum(spread**2 for spread in spreads) ** 0.5)
    return LOWEST + sum(1 - latent.cdf(score - 0.5) for score in range(LOWEST + 1, HIGHEST + 1))


def false_separation_rate(scores: NDArray[np.float64], equal_rows: int) -> float:
    """In how many draws two of the first ``equal_rows`` rows land in different tiers."""
    separated = 0
    for draw in scores:
        difference = estimates.least_significant_difference(draw.tolist())
        tiers = estimates.tiers(draw.mean(axis=1).tolist(), difference)
        separated += len(set(tiers[:equal_rows])) > 1
    return separated / len(scores)


@pytest.mark.parametrize("latent_mean", [3.3, 4.4])
def test_intervals_cover_the_true_mean(latent_mean: float) -> None:
    truth = expected_score(latent_mean)
    covered = 0
    for draw in scenario_means([latent_mean], seed=1)[:, 0]:
        interval = estimates.mean_interval(draw.tolist())
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= truth <= interval.high

    assert 0.92 <= covered / DRAWS <= 0.98


@pytest.mark.parametrize("rows", [3, 12])
def test_equal_rows_are_seldom_told_apart(rows: int) -> None:
    rate = false_separation_rate(scenario_means([3.3] * rows, seed=rows), rows)

    assert 0 < rate <= 0.07


@pytest.mark.parametrize("rows", [3, 12])
def test_a_floor_row_does_not_tell_the_others_apart(rows: int) -> None:
    latent_means = [3.3] * (rows - 1) + [0.9]

    scores = scenario_means(latent_means, seed=100 + rows)

    assert scores[:, -1].mean() < 1.4
    assert false_separation_rate(scores, rows - 1) <= 0.07


def test_a_floor_row_does_not_hide_a_real_difference() -> None:
    scores = scenario_means([4.3, *[3.3] * 10, 0.9], seed=7)

    told_apart = 0
    for draw in scores[:500]:
        difference = estimates.least_significant_difference(draw.tolist())
        tiers = estimates.tiers(draw.mean(axis=1).tolist(), difference)
        told_apart += tiers[0] == 1 and tiers[1] > 1 and tiers[-1] == max(tiers)

    assert told_apart / 500 > 0.5
