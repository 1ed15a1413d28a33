"""Owns the report as CSV, one line per tip and judge; imports the report's records only."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from pytest_tipbench.reports.visible_text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tipbench.reports.report_records import Report, ReportCell, ReportRubric, ReportTip

COLUMNS_BEFORE_SCORES = (
    "experiment",
    "model",
    "prompt_version",
    "tier",
    "scenario",
    "persona",
    "time_slot",
    "repeat",
    "seed",
    "run_id",
    "outcome",
    "tip_number",
    "tip",
    "judge",
)
COLUMNS_AFTER_SCORES = (
    "composite",
    "note",
    "judged_at",
    "tips_missing",
    "latency_seconds",
    "load_seconds",
    "prompt_tokens",
    "completion_tokens",
    "tokens_per_second",
    "resident_bytes",
    "resident_vram_bytes",
    "configuration_sha256",
    "rubric_version",
    "rubric_sha256",
)
_BYTE_ORDER_MARK = "\ufeff"
_FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet takes for the start of a formula, in its East Asian forms too.

Source: OWASP, CSV Injection.
"""


def render_csv(report: Report) -> str:
    """Return the file's text: RFC 4180, after a byte order mark, to be written as UTF-8 as it is.

    A tip has one line for each judge, and one with an empty judge while nobody has scored it; a
    cell without a tip has one line with an empty tip, so that no failure is missing from a table.
    The criteria's columns are the judge's scores, ``composite`` is their weighted mean.

    Texts that a spreadsheet would take for a formula begin with an apostrophe, and characters that
    nobody would see are written out. Spreadsheets know UTF-8 by the byte order mark; pandas drops
    it.
    """
    text = io.StringIO(newline="")
    text.write(_BYTE_ORDER_MARK)
    writer = csv.writer(text, lineterminator="\r\n")
    criteria = [criterion.name for criterion in report.rubric.criteria]
    writer.writerow([*COLUMNS_BEFORE_SCORES, *criteria, *COLUMNS_AFTER_SCORES])
    for line in _lines(report, criteria):
        writer.writerow([_safe(value) if isinstance(value, str) else value for value in line])
    return text.getvalue()


def _lines(report: Report, criteria: list[str]) -> Iterator[list[object]]:
    scenarios = {scenario.id: scenario.content for scenario in report.scenarios}
    tiers = {(row.model, row.prompt_version): row.tier for row in report.rows}
    for cell in report.cells:
        content = scenarios[cell.scenario]
        of_cell = [
            report.experiment,
            cell.model,
            cell.prompt_version,
            tiers[cell.model, cell.prompt_version],
            cell.scenario,
            content.persona.name,
            content.time_slot.label,
            cell.repeat,
            cell.seed,
            cell.run_id,
            cell.outcome.value,
        ]
        after = [*_measurements(cell), report.rubric.version, report.rubric.sha256]
        for tip_number, tip in enumerate(cell.tips, start=1):
            for judged in _by_judge(tip, criteria, report.rubric):
                yield [*of_cell, tip_number, tip.text, *judged, *after]
        if not cell.tips:
            yield [*of_cell, None, None, *_unjudged(criteria), *after]


def _by_judge(tip: ReportTip, criteria: list[str], rubric: ReportRubric) -> Iterator[list[object]]:
    """Yield judge, scores, composite, note and time of each judge."""
    if not tip.scores:
        yield _unjudged(criteria)
    for judge, scores in tip.scores.items():
        yield [
            judge,
            *(scores.get(name) for name in criteria),
            _composite(scores, rubric),
            tip.notes.get(judge),
            tip.judged_at[judge].isoformat(),
        ]


def _unjudged(criteria: list[str]) -> list[object]:
    return [None] * (len(criteria) + 4)


def _composite(scores: dict[str, int], rubric: ReportRubric) -> float | None:
    if any(criterion.name not in scores for criterion in rubric.criteria):
        return None
    weights = {criterion.name: criterion.weight for criterion in rubric.criteria}
    mean = sum(scores[name] * weight for name, weight in weights.items()) / sum(weights.values())
    return round(mean, 9)


def _measurements(cell: ReportCell) -> list[object]:
    return [
        cell.tips_missing,
        cell.latency_seconds,
        cell.load_seconds,
        cell.prompt_tokens,
        cell.completion_tokens,
        cell.tokens_per_second,
        cell.resident_bytes,
        cell.resident_vram_bytes,
        cell.configuration_sha256,
    ]


def _safe(text: str) -> str:
    """Return the text as no spreadsheet calculates it and every encoder writes it."""
    shown = visible(text)
    return f"'{shown}" if text.startswith(_FORMULA_STARTS) else shown
