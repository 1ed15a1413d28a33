"""Owns reading ``anchors.toml`` into anchors; imports source_files, records and errors only."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Annotated

from pytest_tipbench.errors import UnknownNameError
from pytest_tipbench.judgement_records import Anchor
from pytest_tipbench.records import Record, jsonable, sha256_of
from pytest_tipbench.source_files import Filled, NotEmpty, read_toml, refuse, repeated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pytest_tipbench.judgement_records import Rubric
    from pytest_tipbench.records import Scenario
    from pytest_tipbench.source_files import Fault, TomlSource


class _Anchor(Record):
    scenario: str
    tip: Filled
    scores: dict[str, int]
    reason: Filled


class _AnchorsFile(Record):
    anchors: Annotated[tuple[_Anchor, ...], NotEmpty]


def load_anchors(path: Path, scenarios: Sequence[Scenario], rubric: Rubric) -> tuple[Anchor, ...]:
    """Read the anchors of ``anchors.toml``, in the file's order.

    Tips are put into Unicode NFC, as those of models are.

    Raises:
        SourceFileError: the file cannot be read or is malformed, gives one tip of a scenario twice,
            names an unknown scenario, has other criteria than the rubric or a score off its scale,
            or gives away a score by a tip that the rubric's prose shows.
    """
    source = read_toml(path)
    anchors = tuple(
        Anchor(
            scenario=entry.scenario,
            tip=unicodedata.normalize("NFC", entry.tip),
            scores=entry.scores,
            reason=entry.reason,
        )
        for entry in source.read_as(_AnchorsFile).anchors
    )
    faults = [*_repeated_tips(source, anchors)]
    known = [scenario.id for scenario in scenarios]
    for index, anchor in enumerate(anchors):
        if anchor.scenario not in known:
            message = str(UnknownNameError("scenario", anchor.scenario, known))
            faults.append(source.fault(message, "anchors", index, "scenario"))
        if _one_line(anchor.tip) in _one_line(rubric.text):
            message = "the rubric shows this tip as an example, so that it cannot be judged blind"
            faults.append(source.fault(message, "anchors", index, "tip"))
        faults.extend(_score_faults(source, index, anchor, rubric))
    if faults:
        refuse(path, faults)
    return anchors


def anchors_sha256(anchors: Sequence[Anchor]) -> str:
    """Return the hash of the anchors' content: drift is comparable under the same hash only."""
    return sha256_of([jsonable(anchor) for anchor in anchors])


def _repeated_tips(source: TomlSource, anchors: Sequence[Anchor]) -> Iterator[Fault]:
    for index, first_use in repeated([(anchor.scenario, anchor.tip) for anchor in anchors]):
        line = source.line_of("anchors", first_use, "tip")
        message = f"the same tip for the same scenario is already used on line {line}"
        yield source.fault(message, "anchors", index, "tip")


def _score_faults(
    source: TomlSource, index: int, anchor: Anchor, rubric: Rubric
) -> Iterator[Fault]:
    low, high = rubric.scale
    for name, score in anchor.scores.items():
        keys = ("anchors", index, "scores", name)
        if name not in rubric.criterion_names:
            message = str(UnknownNameError("criterion", name, rubric.criterion_names))
            yield source.fault(message, *keys)
        elif not low <= score <= high:
            message = f"{name!r} should be on the rubric's scale from {low} to {high}, got {score}"
            yield source.fault(message, *keys)
    missing = [name for name in rubric.criterion_names if name not in anchor.scores]
    if missing:
        message = f"'scores' has no {', '.join(missing)}, which the rubric asks for"
        yield source.fault(message, "anchors", index, "scores")


def _one_line(text: str) -> str:
    return " ".join(text.split())
