"""Owns the report as JSON, and its JSON Schema; imports the report's records only."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pytest_tipbench.records import jsonable

if TYPE_CHECKING:
    from pytest_tipbench.reports.report_records import Report


def render_json(report: Report) -> str:
    """Return the report's file: indented JSON in ASCII, which keeps every character of every text.

    Model text may hold lone surrogates and controls, which no other encoding carries everywhere.
    """
    return json.dumps(jsonable(report), indent=1) + "\n"


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of the format, as the package ships it."""
    shipped = files("pytest_tipbench.reports").joinpath("tipbench-report-1.schema.json")
    schema: dict[str, Any] = json.loads(shipped.read_text(encoding="utf-8"))
    return schema


def schema_of(report: type[Report]) -> dict[str, Any]:
    """Return the JSON Schema that the records make: what :func:`report_schema` has to equal.

    It lets fields through that it does not know, since later versions of the format may have more.
    """
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = report.model_json_schema(mode="serialization")
    opened: dict[str, Any] = _opened(schema)
    return {**dialect, **opened}


def _opened(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: _opened(value)
            for name, value in part.items()
            if (name, value) != ("additionalProperties", False)
        }
    return [_opened(value) for value in part] if isinstance(part, list) else part
