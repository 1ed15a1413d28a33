"""Owns how far an experiment's judges agree, as numbers and as words; imports records, agreement.

Only judgements of the experiment's own tips under one rubric count, the newest of each judge.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.agreement import (
    adjacent_rate,
    exact_rate,
    jackknife_interval,
    krippendorff_alpha_ordinal,
    quadratic_weighted_kappa,
)
from pytest_tipbench.judge.drift import describe_apply

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tipbench.agreement import Ratings
    from pytest_tipbench.judgement_records import ApplyRecord, Judgement, Rubric
    from pytest_tipbench.records import RunRecord


@dataclass(frozen=True)
class Agreement:
    """What two or more judges' scores of the same tips come to, on one criterion."""

    criterion: str
    judges: int
    tips: int
    """How many tips at least two judges have scored."""
    exact: float
    adjacent: float
    coefficient_name: str
    """``kappa`` (quadratic weighted) for two judges, ``alpha`` (Krippendorff, ordinal) for more."""
    coefficient: float | None
    """None where the scores vary too little to tell."""
    interval: tuple[float, float] | None

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.coefficient is None:
            coefficient = f"{self.coefficient_name} undefined (the scores do not vary)"
        else:
            coefficient = f"{self.coefficient_name} {self.coefficient:.2f}"
            if self.interval is not None:
                coefficient += f" [{self.interval[0]:.2f}, {self.interval[1]:.2f}]"
        return (
            f"{self.criterion}: exact {self.exact:.0%}, within one point {self.adjacent:.0%}, "
            f"{coefficient}"
        )


def judges_agreement(
    runs: Sequence[RunRecord], judgements: Iterable[Judgement], rubric: Rubric
) -> tuple[Agreement, ...]:
    """Return the agreement on each criterion; nothing where no tip has two judges.

    Args:
        runs: of the experiment; their tips count.
        judgements: all there are, in the order in which they were given.
        rubric: the one whose judgements count.
    """
    tips = {(run.scenario_sha256, tip) for run in runs for tip in run.tips}
    by_tip: dict[tuple[str, str], dict[str, dict[str, int]]] = defaultdict(dict)
    for judgement in judgements:
        key = (judgement.key.scenario_sha256, judgement.key.tip)
        if judgement.key.rubric_sha256 == rubric.sha256 and key in tips:
            by_tip[key][judgement.judge] = judgement.scores
    shared = {key: said for key, said in by_tip.items() if len(said) > 1}
    if not shared:
        return ()
    return tuple(
        _on(
            criterion,
            {
                key: {judge: s[criterion] for judge, s in said.items()}
                for key, said in shared.items()
            },
        )
        for criterion in rubric.criterion_names
    )


def agreement_metrics(agreements: Iterable[Agreement]) -> dict[str, float]:
    """Return the numbers under the names that the judging run bears, those that are defined."""
    return {
        f"agreement.{each.criterion}.{name}": value
        for each in agreements
        for name, value in (
            ("exact", each.exact),
            ("adjacent", each.adjacent),
            (each.coefficient_name, each.coefficient),
        )
        if value is not None
    }


def agreement_lines(agreements: Sequence[Agreement]) -> list[str]:
    """Return the agreement in words, a line per criterion; nothing with one judge."""
    if not agreements:
        return []
    first = agreements[0]
    return [
        f"agreement of {first.judges} judges on {first.tips} tips:",
        *(f"  {each.line}" for each in agreements),
    ]


def drift_history_lines(applies: Iterable[ApplyRecord]) -> list[str]:
    """Return the experiment's history of drift, oldest first, a block per applied sheet."""
    lines: list[str] = []
    for apply in sorted(applies, key=lambda each: each.applied_at):
        moment = apply.applied_at.astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append(
            f"{moment} {apply.judge} scored {apply.judgements} tips ({apply.rubric_version})"
        )
        lines += [f"  {line}" for line in describe_apply(apply)]
    return ["drift so far:", *lines] if lines else []


def _on(criterion: str, ratings: Ratings) -> Agreement:
    judges = len({judge for scores in ratings.values() for judge in scores})
    name, statistic = (
        ("kappa", quadratic_weighted_kappa)
        if judges == 2
        else ("alpha", krippendorff_alpha_ordinal)
    )
    exact, adjacent = exact_rate(ratings), adjacent_rate(ratings)
    assert exact is not None  # noqa: S101 - every unit has a pair of judges
    assert adjacent is not None  # noqa: S101
    return Agreement(
        criterion=criterion,
        judges=judges,
        tips=len(ratings),
        exact=exact,
        adjacent=adjacent,
        coefficient_name=name,
        coefficient=statistic(ratings),
        interval=jackknife_interval(ratings, statistic),
    )
