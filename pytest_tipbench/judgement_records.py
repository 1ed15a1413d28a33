"""Owns the records of judging: rubric, anchors, judgements and sheets; imports records only."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from pytest_tipbench.records import Record, sha256_of


class Criterion(Record):
    """One aspect a judge scores, and its weight in the composite."""

    name: str
    weight: float = Field(gt=0)


class Rubric(Record):
    """The scale, the criteria and the prose that tells a judge what each score means."""

    version: str
    scale: tuple[int, int]
    missing_tip_score: float
    criteria: tuple[Criterion, ...]
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the whole rubric: scores given under another hash never mix with these."""
        return sha256_of(self.model_dump(mode="json"))

    @property
    def criterion_names(self) -> tuple[str, ...]:
        """The criteria's names, in the rubric's order."""
        return tuple(criterion.name for criterion in self.criteria)

    def composite(self, scores: dict[str, float]) -> float:
        """Return the weighted mean of one score per criterion, on the rubric's scale.

        Raises:
            KeyError: a criterion has no score.
        """
        total = sum(criterion.weight for criterion in self.criteria)
        return sum(scores[c.name] * c.weight for c in self.criteria) / total


class Anchor(Record):
    """A tip with known scores, mixed in blind to measure a judge's drift."""

    scenario: str
    tip: str
    scores: dict[str, int]
    reason: str


class TipKey(Record):
    """The identity of a tip under a rubric: a tip made again is already judged."""

    rubric_sha256: str
    scenario_sha256: str
    tip: str


class Judgement(Record):
    """One judge's scores of one tip; append-only, the newest of a (tip, judge) counts."""

    judgement_id: str
    """Hash of what was said, by whom, on which sheet, and of what it corrects there.

    Applying a file again adds nothing; a correction that is taken back is a judgement of its own.
    """
    key: TipKey
    judge: str
    scores: dict[str, int]
    note: str = ""
    judged_at: datetime
    sheet_nonce: str


class CriterionDrift(Record):
    """How far a judge's anchor scores lie from the known ones, on one criterion."""

    mean_absolute_error: float
    bias: float
    """Mean of (judge's score − known score): above 0 is lenient."""


class ApplyRecord(Record):
    """One judged sheet as it was applied: who, when, and how well the judge kept to the anchors."""

    apply_id: str
    """Hash of nonce, judge and judgement ids: the same file again is the same apply."""
    experiment: str
    sheet_nonce: str
    judge: str
    rubric_version: str
    rubric_sha256: str
    applied_at: datetime
    judgements: int
    """Distinct tips scored on the sheet, anchors not counted."""
    anchors_scored: int
    drift: dict[str, CriterionDrift] = Field(default_factory=dict)
    """By criterion; empty with fewer than three scored anchors."""
    drift_mean_absolute_error: float | None = None
    """Over all criteria together; what ``--judge-max-drift`` is compared with."""
    drift_accepted: bool = False
    """True where it was past the limit and ``--judge-accept-drift`` let it in."""
    anchors_sha256: str | None = None
    """Of all anchors as they were then: drift is comparable under the same hash only.

    None where there were none, and in records from before it was kept.
    """
    repeats_scored: int = 0
    repeats_agreed: int = 0
    """Hidden repeats: criterion scores given again, and how many of them were the same."""
    agreement: dict[str, float] = Field(default_factory=dict)
    """With the experiment's other judges, as it was then, under the names of the metrics."""
