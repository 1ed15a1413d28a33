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

    from pytest_tipbench.agreement import Ratings, Statistic
    from pytest_tipbench.judgement_records import ApplyRecord, Judgement, Rubric
    from pytest_tipbench.records import RunRecord


@dataclass(frozen=True)
class Coefficient:
    """A coefficient with its 95 % jackknife interval over tips, where one can be told."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.2f}, {self.high:.2f}]"
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Agreement:
    """What two or more judges' scores of the same tips come to, on one criterion."""

    criterion: str
    judges: int
    tips: int
    """How many tips at least two judges have scored."""
    exact_rate: float
    adjacent_rate: float
    kappa: Coefficient | None
    """Quadratic weighted; of two judges alone, and where their scores vary."""
    alpha: Coefficient | None
    """Krippendorff's, ordinal, of any number of judges; None where the scores do not vary."""

    @property
    def line(self) -> str:
        """All of it in one line: kappa for two judges, alpha for more."""
        name, coefficient = ("kappa", self.kappa) if self.judges == 2 else ("alpha", self.alpha)
        value = coefficient or "undefined (the scores do not vary)"
        return (
            f"{self.criterion}: exact {self.exact_rate:.0%}, within one point "
            f"{self.adjacent_rate:.0%}, {name} {value}"
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
    metrics: dict[str, float] = {}
    for each in agreements:
        prefix = f"agreement.{each.criterion}"
        metrics[f"{prefix}.exact_rate"] = each.exact_rate
        metrics[f"{prefix}.adjacent_rate"] = each.adjacent_rate
        for name, coefficient in (("kappa", each.kappa), ("alpha", each.alpha)):
            if coefficient is not None:
                metrics[f"{prefix}.{name}"] = coefficient.value
    return metrics


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
    """Return the experiment's history of drift, oldest first, a block per applied sheet.

    It says where the anchors changed: drift is comparable with the same anchors only.
    """
    lines: list[str] = []
    anchors_sha256 = None
    for apply in sorted(applies, key=lambda each: each.applied_at):
        if anchors_sha256 is not None and apply.anchors_sha256 not in (None, anchors_sha256):
            lines.append("the anchors changed here: drift before and after is not comparable")
        anchors_sha256 = apply.anchors_sha256 or anchors_sha256
        moment = apply.applied_at.astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append(
            f"{moment} {apply.judge} scored {apply.judgements} tips ({apply.rubric_version})"
        )
        lines += [f"  {line}" for line in describe_apply(apply)]
    return ["drift so far:", *lines] if lines else []


def _on(criterion: str, ratings: Ratings) -> Agreement:
    judges = len({judge for scores in ratings.values() for judge in scores})
    exact, adjacent = exact_rate(ratings), adjacent_rate(ratings)
    assert exact is not None  # noqa: S101 - every tip here has a pair of judges
    assert adjacent is not None  # noqa: S101
    return Agreement(
        criterion=criterion,
        judges=judges,
        tips=len(ratings),
        exact_rate=exact,
        adjacent_rate=adjacent,
        kappa=_coefficient(ratings, quadratic_weighted_kappa) if judges == 2 else None,
        alpha=_coefficient(ratings, krippendorff_alpha_ordinal),
    )


def _coefficient(ratings: Ratings, statistic: Statistic) -> Coefficient | None:
    value = statistic(ratings)
    if value is None:
        return None
    low, high = jackknife_interval(ratings, statistic) or (None, None)
    return Coefficient(value, low, high)
