"""Owns reading ``rubric.md`` into a rubric; imports source_files and records only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field

from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.records import Record
from pytest_tipbench.source_files import Fault, NotEmpty, read_front_matter, refuse

if TYPE_CHECKING:
    from pathlib import Path

RESERVED_NAMES = frozenset(
    {
        "completion_tokens",
        "composite",
        "composite_high",
        "composite_low",
        "configuration_sha256",
        "distinct_2",
        "experiment",
        "judge",
        "judged",
        "judged_at",
        "latency_seconds",
        "load_seconds",
        "median_latency_seconds",
        "model",
        "note",
        "outcome",
        "p95_latency_seconds",
        "persona",
        "prompt",
        "prompt_tokens",
        "prompt_version",
        "repeat",
        "resident_bytes",
        "resident_vram_bytes",
        "rubric_sha256",
        "rubric_version",
        "run_id",
        "scenario",
        "seed",
        "self_similarity",
        "specificity",
        "tier",
        "time_slot",
        "tip",
        "tip_count",
        "tip_number",
        "tips_missing",
        "tokens_per_second",
        "usable_rate",
        "worst_scenario_composite",
    }
)
"""What runs, rows and reports already have under these names: no criterion may be called so."""


def _criterion_name(text: str) -> str:
    if not text.isidentifier():
        raise ValueError("should be one word of letters, digits and '_'")
    if text in RESERVED_NAMES:
        raise ValueError(f"should not be {text!r}: runs or reports have something of that name")
    return text


def _version(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise ValueError("should be ASCII letters, digits, '.', '_' and '-' only")
    return text


def _scale(bounds: tuple[int, ...]) -> tuple[int, ...]:
    if len(bounds) != 2 or bounds[0] >= bounds[1]:
        raise ValueError("should be two whole numbers, the lower one first, such as [1, 5]")
    return bounds


class _Criterion(Record):
    name: Annotated[str, AfterValidator(_criterion_name)]
    weight: float = Field(gt=0)


class _RubricHead(Record):
    version: Annotated[str, AfterValidator(_version)]
    scale: Annotated[tuple[int, ...], AfterValidator(_scale)]
    missing_tip_score: float
    criteria: Annotated[tuple[_Criterion, ...], NotEmpty]


def load_rubric(path: Path) -> Rubric:
    """Read the rubric: TOML front matter, then the prose that tells a judge what scores mean.

    Raises:
        SourceFileError: the file cannot be read, is malformed, names a criterion twice, has a
            ``missing_tip_score`` off its scale, or no prose.
    """
    source, body = read_front_matter(path)
    head = source.read_as(_RubricHead)
    low, high = head.scale
    names = [criterion.name for criterion in head.criteria]
    faults = list(source.repeat_faults("criterion", names, "criteria", "name"))
    if not low <= head.missing_tip_score <= high:
        message = f"'missing_tip_score' should be on the scale from {low} to {high}"
        faults.append(source.fault(message, "missing_tip_score"))
    if not body.text:
        faults.append(Fault(body.first_line, "expected prose that says what each score means"))
    if faults:
        refuse(path, faults)
    return Rubric(
        version=head.version,
        scale=(low, high),
        missing_tip_score=head.missing_tip_score,
        criteria=tuple(Criterion(name=entry.name, weight=entry.weight) for entry in head.criteria),
        text=body.text,
    )
