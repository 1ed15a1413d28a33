"""Owns reading a judge's sheet: bytes to a sheet, and every fault of its form.

Imports the sheet's format only; whether the sheet fits the runs and the rubric is apply's affair.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pytest_tipbench.judge.files import SCHEMA, Sheet, SheetItem, SheetRubric, sheet_checksum

ModelType = TypeVar("ModelType", bound=BaseModel)


@dataclass(frozen=True)
class SheetReading:
    """What a file says as a sheet, and every fault of its form, one line each.

    ``sheet`` is None where the frame is broken; items that are broken beyond their scores are left
    out of it, and faulty scores stand in it as null.
    """

    sheet: Sheet | None
    faults: tuple[str, ...]
    checksum_matches: bool | None = None
    """None where a broken form leaves nothing to compare."""


class _Object(dict[str, Any]):
    """A JSON object that remembers the keys that stood in it twice."""

    repeated: tuple[str, ...] = ()


def read_sheet(data: bytes) -> SheetReading:
    """Read a sheet and collect every fault of its form; never raises."""
    faults: list[str] = []
    document = _parse(data, faults)
    if document is None:
        return SheetReading(None, tuple(faults))
    raw_items = document.pop("items", None)
    faults += [f"key {shown(key)} stands twice" for key in _repeated_keys(document)]
    sheet = _validated(Sheet, {**document, "items": []}, "", faults)
    rubric = _validated(SheetRubric, document.get("rubric"), "", [])
    if not isinstance(raw_items, list):
        faults.append("items is not a list")
        return SheetReading(None, tuple(faults))
    items = [_read_item(raw, number, rubric, faults) for number, raw in enumerate(raw_items, 1)]
    if sheet is None:
        return SheetReading(None, tuple(faults))
    sheet = sheet.model_copy(update={"items": tuple(item for item in items if item is not None)})
    matches = None if None in items else sheet_checksum(sheet) == sheet.checksum
    return SheetReading(sheet, tuple(faults), matches)


def is_untouched_export(data: bytes) -> bool:
    """Say whether a file is a sheet that nobody has scored, noted or changed."""
    reading = read_sheet(data)
    return (
        reading.sheet is not None
        and not reading.faults
        and reading.checksum_matches is True
        and reading.sheet.is_blank
    )


def shown(value: object) -> str:
    """Return a value from a file as a message may show it: short, and with nothing unprintable."""
    if isinstance(value, str) and value and value.isprintable() and len(value) <= 40:
        return value
    return _shown_json(value)


def _shown_json(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _parse(data: bytes, faults: list[str]) -> _Object | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.append(
            f"not UTF-8: byte 0x{data[error.start]:02x} in line {line}; save the file as UTF-8"
        )
        return None
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except json.JSONDecodeError as error:
        faults.append(_json_fault(text, error))
        return None
    except RecursionError:
        faults.append("not a judge's sheet: JSON nested beyond reading")
        return None
    if not isinstance(document, _Object) or "schema" not in document:
        faults.append(f"not a judge's sheet: no object with the schema {SCHEMA}")
        return None
    if document["schema"] != SCHEMA:
        faults.append(f"its schema is {shown(document['schema'])}; this version reads {SCHEMA}")
        return None
    return document


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        found.repeated = tuple(key for key, count in counts.items() if count > 1)
    return found


def _integer(text: str) -> int | float:
    # Python refuses to read integers of thousands of digits; no score or minute count has twenty.
    return int(text) if len(text) < 20 else float(text)


def _json_fault(text: str, error: json.JSONDecodeError) -> str:
    if text.lstrip().startswith("<"):
        return "a page, not a sheet: open it in a browser and save the JSON with its button"
    # The last token of a cut file, e.g. the "nu" of a null, is five characters at most.
    is_at_end = error.pos >= len(text.rstrip()) - 5 and error.msg != "Extra data"
    is_cut = is_at_end or error.msg.startswith("Unterminated string")
    hint = "; the file looks truncated" if is_cut else ""
    return f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}{hint}"


def _repeated_keys(value: object) -> list[str]:
    found: list[str] = []
    pending = [value]
    while pending:
        current = pending.pop()
        if isinstance(current, _Object):
            found += current.repeated
            pending += current.values()
        elif isinstance(current, list):
            pending += current
    return found


def _validated(
    model: type[ModelType], raw: object, where: str, faults: list[str]
) -> ModelType | None:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=False, include_input=False):
            path = ".".join(shown(part) for part in detail["loc"])
            if detail["type"] == "missing":
                fault = f"{path} is missing"
            elif detail["type"] == "extra_forbidden":
                fault = f"{path} does not belong there"
            else:
                fault = f"{path}: {detail['msg']}" if path else detail["msg"]
            faults.append(where + fault)
        return None


def _read_item(
    raw: object, number: int, rubric: SheetRubric | None, faults: list[str]
) -> SheetItem | None:
    if not isinstance(raw, _Object):
        faults.append(f"item number {number} is not an object")
        return None
    identity = raw.get("id")
    where = f"item {shown(identity)}: " if isinstance(identity, str) else f"item number {number}: "
    faults += [f"{where}key {shown(key)} stands twice" for key in _repeated_keys(raw)]
    scores, score_faults = _read_scores(raw.get("scores"), rubric)
    faults += [where + fault for fault in score_faults]
    return _validated(SheetItem, {**raw, "scores": scores}, where, faults)


def _read_scores(
    raw: object, rubric: SheetRubric | None
) -> tuple[dict[str, int | None], list[str]]:
    """Return the scores as given, all null where there is a fault, and the faults."""
    if rubric is None:
        return {}, []
    names = [criterion.name for criterion in rubric.criteria]
    if not isinstance(raw, dict):
        return dict.fromkeys(names), ["scores is not an object with a score for each criterion"]
    lowest, highest = rubric.scale
    faults = [f"{shown(name)} is missing from scores" for name in names if name not in raw]
    faults += [f"{shown(key)} is not a criterion" for key in raw if key not in names]
    scored = [name for name in names if raw.get(name) is not None]
    for name in scored:
        # bool is a child of int, and true is no score.
        if type(raw[name]) is not int:
            faults.append(
                f"{shown(name)} is {_shown_json(raw[name])}, "
                f"not a whole number from {lowest} to {highest}"
            )
        elif not lowest <= raw[name] <= highest:
            faults.append(f"{shown(name)} is {raw[name]}, outside {lowest} to {highest}")
    unscored = [name for name in names if name in raw and raw[name] is None]
    if scored and unscored:
        faults.append(
            f"scored on {', '.join(map(shown, scored))} "
            f"but not on {', '.join(map(shown, unscored))}: score all criteria or none"
        )
    return (dict.fromkeys(names) if faults else {name: raw[name] for name in names}), faults
