"""Owns how far judges agree, as pure functions over ratings; imports nothing of ours.

Ratings are scores by unit and judge, ``{unit: {judge: score}}``, where a unit is what was scored: a
tip on one criterion, say. A judge who did not score a unit is left out of it. What the data cannot
tell is None, never NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Ratings: TypeAlias = Mapping[Any, Mapping[str, int]]
"""Unit → judge → score on an ordinal scale."""

Statistic: TypeAlias = Callable[[Ratings], "float | None"]
"""A coefficient of agreement that depends on the units' scores alone, not on their names."""


def exact_rate(ratings: Ratings) -> float | None:
    """Return the share of judge pairs, over all units, that gave the same score (0 to 1)."""
    return _share(first == second for first, second in _pairs(ratings))


def adjacent_rate(ratings: Ratings) -> float | None:
    """Return the share of judge pairs, over all units, that are at most 1 apart (0 to 1)."""
    return _share(abs(first - second) <= 1 for first, second in _pairs(ratings))


def quadratic_weighted_kappa(ratings: Ratings) -> float | None:
    """Return Cohen's weighted kappa of two judges, disagreements weighted by their square.

    1 is perfect agreement, 0 what chance alone would give with these judges' own distributions;
    it can be negative. Units that one of the two did not score are left out. None where there is
    no unit in common, or where both gave one and the same score throughout.

    Source: Cohen (1968), Weighted kappa, Psychological Bulletin 70(4), 213-220, with the weights of
    Fleiss and Cohen (1973).

    Raises:
        ValueError: there are more than two judges; :func:`krippendorff_alpha_ordinal` takes any
            number.
    """
    judges = sorted({judge for scores in ratings.values() for judge in scores})
    if len(judges) > 2:
        raise ValueError(f"weighted kappa is of two judges, not of {len(judges)}")
    if len(judges) < 2:
        return None
    first, second = judges
    pairs = [(scores[first], scores[second]) for scores in ratings.values() if len(scores) == 2]
    # Both sums are over squared differences: of the pairs as they are, and of every score of the
    # one judge with every score of the other. The weights' usual scaling, 1/(k−1)², cancels.
    observed = sum((a - b) ** 2 for a, b in pairs)
    by_chance = len(pairs) * sum(a * a + b * b for a, b in pairs)
    by_chance -= 2 * sum(a for a, _ in pairs) * sum(b for _, b in pairs)
    if by_chance == 0:
        return None
    return 1 - len(pairs) * observed / by_chance


def krippendorff_alpha_ordinal(ratings: Ratings) -> float | None:
    """Return Krippendorff's alpha with the ordinal metric, for any number of judges.

    1 is perfect agreement, 0 what chance alone would give; it can be negative. Missing scores are
    allowed: a unit with fewer than two scores does not count. None where no unit has two scores,
    or where all scores are the same.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability. Its ordinal distance,
    the number of scores from one value to the other with both ends counted half, is the distance
    of the two values' mean ranks, so that alpha is the ratio of the ranks' variance within units to
    that over all.
    """
    units = Counter(
        tuple(sorted(scores.values())) for scores in ratings.values() if len(scores) > 1
    )
    totals: Counter[int] = Counter()
    for values, count in units.items():
        for value in values:
            totals[value] += count
    if len(totals) < 2:
        return None
    ranks: dict[int, int] = {}
    below = 0
    for value in sorted(totals):
        ranks[value] = 2 * below + totals[value]  # twice the mean rank: whole numbers stay exact
        below += totals[value]
    within = sum(
        count * _squared_differences([(ranks[value], 1) for value in values]) / (len(values) - 1)
        for values, count in units.items()
    )
    overall = _squared_differences([(ranks[value], totals[value]) for value in totals])
    return 1 - within * (totals.total() - 1) / overall


def jackknife_interval(
    ratings: Ratings, statistic: Statistic, *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the lower and upper limit of a jackknife interval over units.

    Leaves out one unit at a time; the limits are ``statistic`` ± t · √((n−1)/n · Σ(θᵢ − θ̄)²), with
    Student's t of n − 1 degrees of freedom, and the upper one is at most 1. Units with fewer than
    two scores are not counted. None where there are fewer than two units, where the statistic is
    undefined with or without some unit, and where no unit makes a difference (perfect agreement:
    the data hold nothing from which to tell how far it could be off).

    Source: Hughes (2022), arXiv 2210.13265, who finds the bootstrap to cover too little with few
    units and takes Student's t; Fleiss and Davies (1982), Am. J. Epidemiology 115, 841-845, for
    kappa. With 12 to 60 simulated units the 95 % interval covered 91 to 95 %.
    """
    units = {unit: scores for unit, scores in ratings.items() if len(scores) > 1}
    estimate = statistic(units)
    if estimate is None:
        return None
    # Units with the same scores leave the same estimate behind, and there are few such patterns.
    by_pattern: dict[Hashable, float | None] = {}
    left_out: list[float] = []
    for unit, scores in units.items():
        pattern = frozenset(scores.items())
        if pattern not in by_pattern:
            by_pattern[pattern] = statistic({u: s for u, s in units.items() if u != unit})
        without = by_pattern[pattern]
        if without is None:
            return None
        left_out.append(without)
    count = len(left_out)
    mean = math.fsum(left_out) / count
    variance = (count - 1) / count * math.fsum((value - mean) ** 2 for value in left_out)
    if variance == 0:
        return None
    from scipy.stats import t

    margin = float(t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance)
    return estimate - margin, min(estimate + margin, 1.0)


def _pairs(ratings: Ratings) -> Iterator[tuple[int, int]]:
    for scores in ratings.values():
        yield from combinations(scores.values(), 2)


def _share(hits: Iterable[bool]) -> float | None:
    outcomes = list(hits)
    return sum(outcomes) / len(outcomes) if outcomes else None


def _squared_differences(weighted: list[tuple[int, int]]) -> int:
    """Return the sum of (a − b)² over all unordered pairs of values that come with a count."""
    count = sum(weight for _, weight in weighted)
    total = sum(value * weight for value, weight in weighted)
    return count * sum(value * value * weight for value, weight in weighted) - total * total
