"""Owns the judge's sheet as a file (`tipbench-judge/1`): its shape, checksum, text and JSON Schema.

Imports records only. What goes on a sheet is export's affair, what its scores mean is apply's.
"""

from __future__ import annotations

import json
import re
import unicodedata
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from pydantic import AwareDatetime, Field, StrictFloat, StrictInt

from pytest_tipbench.records import Record, Scenario, jsonable, sha256_of

if TYPE_CHECKING:
    from pytest_tipbench.judgement_records import Rubric

SCHEMA: Literal["tipbench-judge/1"] = "tipbench-judge/1"

LONGEST_JUDGE_NAME = 100
"""Characters; boards, reports and MLflow show the name beside each score."""


def _is_absent(value: object) -> bool:
    return value is None


class SheetPersona(Record):
    """Whom the tip is for."""

    name: str
    description: str


class SheetTimeSlot(Record):
    """When the tip is read, on the persona's clock (`HH:MM`)."""

    label: str
    local_time: str


class SheetTask(Record):
    """One thing on the persona's list; what is not known of it is left out of the file."""

    title: str
    due: str | None = Field(default=None, exclude_if=_is_absent)
    minutes: StrictInt | None = Field(default=None, exclude_if=_is_absent)
    energy: str | None = Field(default=None, exclude_if=_is_absent)
    notes: str | None = Field(default=None, exclude_if=_is_absent)


class SheetScenario(Record):
    """The situation that the tip was written for."""

    id: str
    persona: SheetPersona
    time_slot: SheetTimeSlot
    tasks: tuple[SheetTask, ...]


class SheetCriterion(Record):
    """One aspect to score, and its weight in the composite."""

    name: str
    weight: StrictFloat


class SheetRubric(Record):
    """What each score means; `scale` is the lowest and the highest score."""

    version: str
    sha256: str
    criteria: tuple[SheetCriterion, ...]
    scale: tuple[StrictInt, StrictInt]
    text: str


class SheetItem(Record):
    """One tip to judge: `scores` and `note` are the judge's to fill."""

    id: str
    """Hash of the sheet's nonce, the scenario and the tip."""
    scenario: SheetScenario
    tip: str
    scores: dict[str, StrictInt | None]
    note: str | None = ""


class Sheet(Record):
    """A sheet of tips to judge blind; `judge` is the judge's to fill."""

    schema_name: Literal["tipbench-judge/1"] = Field(alias="schema")
    experiment: str
    nonce: str
    checksum: str
    """SHA-256 of everything but scores, notes and judge."""
    exported_at: AwareDatetime
    judge: str | None = None
    rubric: SheetRubric
    instructions: str
    items: tuple[SheetItem, ...]

    @property
    def is_blank(self) -> bool:
        """True when nobody has scored or noted anything."""
        return not any(
            item.note or any(score is not None for score in item.scores.values())
            for item in self.items
        )


def item_id(nonce: str, scenario_sha256: str, tip: str) -> str:
    """Return a tip's id on the sheet of that nonce: 16 hex digits, equal for identical tips."""
    return sha256_of([nonce, scenario_sha256, tip])[:16]


def judge_name(text: str | None) -> str:
    """Return a judge's name as it is kept: trimmed, and one judge in any Unicode normal form."""
    return unicodedata.normalize("NFC", text or "").strip()


def sheet_scenario(scenario: Scenario) -> SheetScenario:
    """Return what a judge is shown of a scenario."""
    return SheetScenario(
        id=scenario.id,
        persona=SheetPersona(name=scenario.persona.name, description=scenario.persona.description),
        time_slot=SheetTimeSlot(
            label=scenario.time_slot.label, local_time=scenario.time_slot.local_time
        ),
        tasks=tuple(SheetTask.model_validate(jsonable(task)) for task in scenario.tasks),
    )


def sheet_rubric(rubric: Rubric) -> SheetRubric:
    """Return the rubric as a sheet carries it."""
    return SheetRubric(
        version=rubric.version,
        sha256=rubric.sha256,
        criteria=tuple(SheetCriterion(name=c.name, weight=c.weight) for c in rubric.criteria),
        scale=rubric.scale,
        text=rubric.text,
    )


def sheet_checksum(sheet: Sheet) -> str:
    """Return the SHA-256 of everything on the sheet but scores, notes, judge and itself.

    It is taken over what the file says, not how: white space, key order, escapes and `1` for
    `1.0` (as JavaScript writes it) change nothing; the order of the items does.
    """
    covered = sheet.model_dump(
        mode="json",
        by_alias=True,
        exclude={"checksum": True, "judge": True, "items": {"__all__": {"scores", "note"}}},
    )
    return sha256_of(covered)


def sealed(sheet: Sheet) -> Sheet:
    """Return the sheet with its checksum filled in."""
    return sheet.model_copy(update={"checksum": sheet_checksum(sheet)})


# --- writing ----------------------------------------------------------------------------------

# What a terminal, an editor or a diff would act on or hide, and JSON lets through: DEL and C1,
# line separators, bidirectional controls, the byte order mark, lone surrogates, tag characters.
_UNSEEN = re.compile(
    "[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match.group())[1:-1]


def sheet_json(sheet: Sheet) -> str:
    """Return the sheet's file: JSON, indented, readable in any script, safe to save as UTF-8."""
    text = json.dumps(sheet.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False)
    return _UNSEEN.sub(_escaped, text) + "\n"


def sheet_schema() -> dict[str, Any]:
    """Return the JSON Schema of the format, as the package ships it."""
    shipped = files("pytest_tipbench.judge").joinpath("tipbench-judge-1.schema.json")
    schema: dict[str, Any] = json.loads(shipped.read_text(encoding="utf-8"))
    return schema
