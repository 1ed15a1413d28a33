"""Owns what the page's script is given: the tips and all behind them, small; imports records only.

Prompts stand in it once each. Very long texts are cut, which the page says; the JSON report has
them whole.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from pytest_tipbench.reports.visible_text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_tipbench.records import Scenario, Task
    from pytest_tipbench.reports.report_records import Report, ReportCell, ReportTip

_LONGEST_PROMPT = 8_000
_LONGEST_TEXT = 4_000
"""Of a completion: about what 1,024 tokens are."""
_LONGEST_SCRAP = 300
_MOST_DROPPED = 20


def page_data(report: Report, letters: Sequence[str]) -> dict[str, Any]:
    """Return the data, JSON-safe, every text already made visible.

    ``letters`` are the rows' short names. ``first_scenario`` is the one in which the rows differ
    the most.
    """
    prompts: dict[str, int] = {}
    scenarios = [scenario.id for scenario in report.scenarios]
    places = {name: place for place, name in enumerate(scenarios)}
    rows = {(row.model, row.prompt_version): place for place, row in enumerate(report.rows)}
    criteria = [criterion.name for criterion in report.rubric.criteria]
    cells = [
        {
            "row": rows[cell.model, cell.prompt_version],
            "scenario": places[cell.scenario],
            **_cell(cell, criteria, prompts),
        }
        for cell in report.cells
    ]
    data = {
        "criteria": criteria,
        "scale": report.rubric.scale,
        "missing_tip_score": report.rubric.missing_tip_score,
        "first_scenario": _most_telling(report, scenarios),
        "scenarios": [_scenario(scenario.id, scenario.content) for scenario in report.scenarios],
        "rows": [
            {
                "letter": letter,
                "model": row.model,
                "prompt": row.prompt_version,
                "tier": row.tier,
                "composites": [row.scenario_composites.get(name) for name in scenarios],
            }
            for letter, row in zip(letters, report.rows, strict=True)
        ],
        "cells": cells,
        "prompts": [shortened_text(text, _LONGEST_PROMPT) for text in prompts],
    }
    shown: dict[str, Any] = _visible(data)
    return shown


def packed(data: dict[str, Any]) -> str:
    """Return the data as gzip in Base64: small, and free of anything that could end a script."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def shortened_text(text: str, limit: int) -> str:
    """Return the text, or its beginning and how much is left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit:,} more characters: see the JSON report]"


def cell_facts(cell: ReportCell) -> list[str]:
    """Return what was measured of the cell, in words; what is not known is left out."""
    facts: list[str] = []
    if cell.latency_seconds is not None:
        facts.append(f"{cell.latency_seconds:.2f} s")
    if cell.load_seconds is not None:
        facts.append(f"{cell.load_seconds:.2f} s of it loading")
    if cell.tokens_per_second is not None:
        facts.append(f"{cell.tokens_per_second:.1f} tokens/s")
    if cell.prompt_tokens is not None:
        facts.append(f"{cell.prompt_tokens} prompt tokens")
    if cell.completion_tokens is not None:
        facts.append(f"{cell.completion_tokens} completion tokens")
    if cell.resident_bytes is not None:
        facts.append(f"{cell.resident_bytes / 2**30:.2f} GiB resident")
    if cell.stop_reason not in (None, "stop"):
        facts.append(f"ended by {cell.stop_reason}")
    if cell.thinking_stripped:
        facts.append("thinking left out")
    if cell.foreign_models:
        facts.append(f"beside {', '.join(cell.foreign_models)} in memory")
    return facts


def _cell(cell: ReportCell, criteria: Sequence[str], prompts: dict[str, int]) -> dict[str, Any]:
    return {
        "repeat": cell.repeat,
        "seed": cell.seed,
        "outcome": cell.outcome.value,
        "error": cell.error,
        "composite": cell.composite,
        "facts": cell_facts(cell),
        "tips": [_tip(tip, criteria) for tip in cell.tips],
        "missing": cell.tips_missing if cell.is_measured else 0,
        "dropped": [
            [shortened_text(dropped.text, _LONGEST_SCRAP), dropped.reason]
            for dropped in cell.dropped[:_MOST_DROPPED]
        ],
        "dropped_more": max(len(cell.dropped) - _MOST_DROPPED, 0),
        "system": prompts.setdefault(cell.prompt.system, len(prompts)),
        "user": prompts.setdefault(cell.prompt.user, len(prompts)),
        "completion": _optional(cell.completion),
        "thinking": _optional(cell.thinking),
    }


def _tip(tip: ReportTip, criteria: Sequence[str]) -> dict[str, Any]:
    return {
        "text": tip.text,
        "composite": tip.composite,
        "judges": [
            [judge, [scores.get(name) for name in criteria], tip.notes.get(judge, "")]
            for judge, scores in tip.scores.items()
        ],
    }


def _optional(text: str | None) -> str | None:
    return None if text is None else shortened_text(text, _LONGEST_TEXT)


def _scenario(name: str, scenario: Scenario) -> dict[str, Any]:
    slot = scenario.time_slot
    return {
        "id": name,
        "who": scenario.persona.name,
        "description": scenario.persona.description,
        "when": f"{slot.local_time}, {slot.label}",
        "tasks": [
            [task.title, ", ".join(_task_facts(task)), task.notes or ""] for task in scenario.tasks
        ],
    }


def _task_facts(task: Task) -> Iterator[str]:
    if task.due is not None:
        yield f"due {task.due}"
    if task.minutes is not None:
        yield f"{task.minutes} min"
    if task.energy is not None:
        yield f"{task.energy} energy"


def _most_telling(report: Report, scenarios: Sequence[str]) -> int:
    def spread(name: str) -> float:
        scores = [
            row.scenario_composites[name] for row in report.rows if name in row.scenario_composites
        ]
        return max(scores, default=0) - min(scores, default=0)

    return max(range(len(scenarios)), key=lambda place: spread(scenarios[place]), default=0)


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {name: _visible(part) for name, part in value.items()}
    return [_visible(part) for part in value] if isinstance(value, (list, tuple)) else value
