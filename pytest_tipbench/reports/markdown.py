"""Owns the report as Markdown, for a pull request or a job's summary; imports the report's records.

The dialect is GitHub's. Text that a model or a user wrote stands in code spans, where nothing is
markup, a link, an emoji or a mention; sentences of ours that name such things are escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_tipbench.board_notices import counted_noun
from pytest_tipbench.reports.visible_text import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_tipbench.reports.report_records import Report, ReportCell, ReportRow, ReportTip

_STATUS_SIGNS = {"PASS": "✅", "FAIL": "❌", "UNDECIDED": "❔"}
_TIP_CHARACTERS = 280
_ROWS_WITH_TIPS = 20
_LIMIT_CHARACTERS = 60_000
"""GitHub takes comments of 65,536 characters."""

_PLAIN_CODE = re.compile(r"[^`|\\\s]+(?: [^`|\\\s]+)*")
_MARKUP = re.compile(r"[&<>|\\`*_\[\]~$^]")
_LINKS = re.compile(r"@|#|(?<=:)//|(?i:(?<=www)\.)")
"""Mentions, issue numbers and bare addresses: GitHub looks for them in the finished page, where an
entity is a plain character again; an element of their own keeps them apart."""


def render_markdown(report: Report) -> str:
    """Return the report as one Markdown text that fits a comment on a pull request.

    Examples of tips are left out where they would not fit.
    """
    blocks = [*_blocks(report)]
    examples = "\n".join(_examples(report))
    text = "\n\n".join(block for block in [*blocks, _footer(report)] if block)
    if examples and len(text) + len(examples) < _LIMIT_CHARACTERS:
        text = "\n\n".join(block for block in [*blocks, examples, _footer(report)] if block)
    return f"{text}\n"


def code(text: str) -> str:
    """Return the text, on one line, as code in which nothing is markup, in a table too."""
    shown = one_line(text)
    if _PLAIN_CODE.fullmatch(shown):
        return f"`{shown}`"
    # A backtick, a pipe or a backslash: no code span holds all of them inside a table.
    entities = re.sub(r"[!-/:-@[-`{-~]", lambda match: f"&#{ord(match.group())};", shown)
    return f"<code>{entities}</code>"


def escaped(text: str) -> str:
    """Return a sentence with everything in it that would be markup, a mention or a link as text."""
    literal = _MARKUP.sub(lambda match: f"&#{ord(match.group())};", one_line(text))
    # The entities above hold '#', which must stay.
    return re.sub(
        r"&#\d+;|" + _LINKS.pattern,
        lambda match: match.group() if len(match.group()) > 2 else f"<span>{match.group()}</span>",
        literal,
    )


def _blocks(report: Report) -> Iterator[str]:
    yield f"## {escaped(report.experiment) or 'tipbench'}"
    yield f"**{escaped(report.headline)}**"
    yield "\n".join(_gates(report))
    yield "\n".join(_board(report))
    yield "\n".join(f"- {escaped(sentence)}" for sentence in _sentences(report))


def _gates(report: Report) -> Iterator[str]:
    for gate in report.gates:
        sign = _STATUS_SIGNS[gate.status]
        yield f"- {sign} **{gate.status}** {code(gate.name)}: {escaped(gate.detail)}"


# --- the board --------------------------------------------------------------------------------


def _board(report: Report) -> Iterator[str]:
    if not report.rows:
        return
    criteria = [criterion.name for criterion in report.rubric.criteria]
    has_tiers = any(row.tier for row in report.rows)
    headers = [
        *(["tier"] if has_tiers else []),
        "model",
        "prompt",
        "composite",
        *criteria,
        "usable",
        "judged",
        "median s",
        "tok/s",
        "GiB",
    ]
    names = {"model", "prompt"}
    yield _line(escaped(header) for header in headers)
    yield _line(":--" if header in names else "--:" for header in headers)
    for row in report.rows:
        yield _line(_cells(row, criteria, has_tiers=has_tiers))


def _cells(row: ReportRow, criteria: Sequence[str], *, has_tiers: bool) -> Iterator[str]:
    if has_tiers:
        yield str(row.tier or "–")
    yield code(row.model)
    yield code(row.prompt_version)
    yield _composite(row)
    for name in criteria:
        yield _number(row.criteria[name].mean if name in row.criteria else None, 2)
    yield "–" if row.usable_rate is None else percent(row.usable_rate)
    yield f"{row.judged_cells}/{row.cells}"
    yield _number(row.median_latency_seconds, 2)
    yield _number(row.tokens_per_second, 1)
    yield _number(None if row.resident_bytes is None else row.resident_bytes / 2**30, 2)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _composite(row: ReportRow) -> str:
    if row.composite is None:
        return "pending" if row.pending_cells else "–"
    mean = f"{row.composite:.2f}"
    if row.composite_high is not None:
        mean += f" ±{row.composite_high - row.composite:.2f}"
    return f"**{mean}**" if row.tier == 1 else mean


def percent(rate: float) -> str:
    """Return whole per cent, where only all is 100 and only none is 0."""
    return f"{rate if rate in (0, 1) else min(max(rate, 0.01), 0.99):.0%}"


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


# --- the words --------------------------------------------------------------------------------


def _sentences(report: Report) -> Iterator[str]:
    yield from report.findings
    for row in report.rows:
        if row.unranked_because:
            yield f"Not ranked, {row.unranked_because}: {row.label}"
    for older in report.older_rows:
        yield f"Older configuration, apart: {older.model} × {older.prompt_version}; {older.reason}"
    yield from report.notices
    if report.pending_cells:
        yield (
            f"{counted_noun(report.pending_cells, 'cell')} pending "
            f"({counted_noun(report.pending_tips, 'tip')} to judge): "
            "pytest --judge-export scores.json"
        )
    if report.models_resident_together is not None and report.largest_resident_bytes:
        yield (
            f"Memory: models resident together: {report.models_resident_together}; "
            f"the largest {report.largest_resident_bytes / 2**30:.2f} GiB"
        )


def _examples(report: Report) -> Iterator[str]:
    """Yield each judged row's highest and lowest scored tip, folded away."""
    examples = [
        (row, *tips)
        for row in report.rows[:_ROWS_WITH_TIPS]
        if (tips := _highest_and_lowest(row, report.cells))
    ]
    if not examples:
        return
    yield "<details><summary>The highest and the lowest scored tip of each row</summary>"
    yield ""
    for row, highest, lowest in examples:
        yield f"- {code(row.label)}"
        for cell, tip in (highest, lowest):
            score = _number(tip.composite, 2)
            text = code(shortened(one_line(tip.text), _TIP_CHARACTERS))
            yield f"  - **{score}** {code(cell.scenario)}: {text}"
    yield ""
    yield "</details>"


def _highest_and_lowest(
    row: ReportRow, cells: Iterable[ReportCell]
) -> tuple[tuple[ReportCell, ReportTip], tuple[ReportCell, ReportTip]] | None:
    judged = [
        (cell, tip)
        for cell in cells
        if (cell.model, cell.prompt_version) == (row.model, row.prompt_version)
        for tip in cell.tips
        if tip.composite is not None
    ]
    if not judged:
        return None
    judged.sort(key=lambda scored: scored[1].composite or 0)
    return judged[-1], judged[0]


def _footer(report: Report) -> str:
    judges = f", judged by {', '.join(report.judges)}" if report.judges else ""
    said = (
        f"Rubric {report.rubric.version} ({report.rubric.sha256[:12]}){judges}; "
        f"{counted_noun(len(report.rows), 'row')}, "
        f"{counted_noun(len(report.scenarios), 'scenario')}; ± is half of the 95 % interval "
        f"(Student t over scenarios); pytest-tipbench {report.tipbench_version}"
    )
    return f"<sub>{escaped(said)}</sub>"
