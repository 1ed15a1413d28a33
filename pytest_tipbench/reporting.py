"""Owns how a run record, and what a worker has to say, ride on a pytest report.

Imports pytest and records only.

Reports cross from a worker to the controller through execnet, which refuses objects it does not
know and texts with lone surrogates: so a record travels as one ASCII JSON string.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from pytest_tipbench.records import RunRecord, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

_ATTRIBUTE = "tipbench_run"
_LACK = "tipbench_lack"
_LINES = "tipbench_lines"


def attach(report: pytest.TestReport, record: RunRecord) -> None:
    """Put the record on the report."""
    setattr(report, _ATTRIBUTE, to_json(record))


def detach(report: pytest.TestReport) -> RunRecord | None:
    """Return the record that rides on the report, if one does."""
    text = getattr(report, _ATTRIBUTE, None)
    return None if text is None else from_json(RunRecord, text)


def attach_lack(report: pytest.TestReport) -> None:
    """Put on the report of a setup that failed, and left no record, why there is none."""
    crash = getattr(report.longrepr, "reprcrash", None)
    said = str(report.longrepr if crash is None else crash.message).strip()
    first = said.splitlines()[0] if said else "it does not say why"
    setattr(report, _LACK, json.dumps(f"nothing was generated, as the setup failed: {first}"))


def lack_on(report: pytest.TestReport) -> str | None:
    """Return why a cell has no record; None where its report tells of no lack."""
    if cast("str", report.when) == "???":  # xdist's mark of a worker's death
        return "the worker that ran it died"
    text = getattr(report, _LACK, None)
    return None if text is None else str(json.loads(text))


def attach_lines(report: pytest.TestReport, lines: Sequence[str]) -> None:
    """Put on the report what its worker, which has no terminal, has to say."""
    setattr(report, _LINES, json.dumps(list(lines)))


def detach_lines(report: pytest.TestReport) -> list[str]:
    """Return what the worker has to say."""
    lines: list[str] = json.loads(getattr(report, _LINES, "[]"))
    return lines


def junit_properties(record: RunRecord) -> list[tuple[str, str]]:
    """Return the cell's facts as JUnit properties ``tipbench.<key>``; unknown ones are left out."""
    completion = record.completion
    facts: dict[str, object] = {
        "model": record.cell.model.text,
        "prompt_version": record.cell.prompt_version,
        "scenario": record.cell.scenario,
        "repeat": record.cell.repeat,
        "outcome": record.outcome.value,
        "tip_count": len(record.tips),
        "seed": record.seed,
        "fingerprint": record.fingerprint,
        "run_id": record.run_id,
        "experiment": record.experiment,
    }
    if record.model is not None:
        facts["model_digest"] = record.model.digest
    if completion is not None:
        facts |= {
            "latency_seconds": completion.latency_seconds,
            "load_seconds": completion.load_seconds,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "tokens_per_second": completion.tokens_per_second,
            "resident_bytes": completion.resident_bytes,
            "resident_vram_bytes": completion.resident_vram_bytes,
        }
    return [(f"tipbench.{key}", _plain(value)) for key, value in facts.items() if value is not None]


def _plain(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
