"""Owns the report as Markdown, for a pull request or a job's summary; imports the report's records.

The dialect is GitHub's. Text that a model or a user wrote stands in code spans, where nothing is
markup, a link, an emoji or a mention; sentences of ours that name such things are escaped.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pytest_tipbench.board_notices import counted_noun
from pytest_tipbench.reports.change_text import in_print, p_value, signed, with_interval
from pytest_tipbench.reports.charts import letters
from pytest_tipbench.reports.visible_text import one_line, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pytest_tipbench.reports.report_records import (
        Report,
        ReportBaseline,
        ReportCell,
        ReportRow,
        ReportRowChange,
        ReportTip,
    )

_NAMES = ("model", "prompt")
"""Headers of columns that are no numbers."""
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

    What is folded away (each scenario's change, examples of tips) is left out where it would not
    fit.
    """
    blocks = [block for block in _blocks(report) if block]
    footer = _footer(report)
    length = sum(len(block) + 2 for block in [*blocks, footer])
    for lines in (_scenario_changes(report), _examples(report)):
        folded = "\n".join(lines)
        if folded and length + len(folded) < _LIMIT_CHARACTERS:
            blocks.append(folded)
            length += len(folded) + 2
    return "\n\n".join([*blocks, footer]) + "\n"


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
    if report.comparison is not None:
        yield from _baseline(report.comparison)


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
    yield _line(escaped(header) for header in headers)
    yield _line(":--" if header in _NAMES else "--:" for header in headers)
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


# --- a baseline -------------------------------------------------------------------------------


def _baseline(comparison: ReportBaseline) -> Iterator[str]:
    yield f"### Compared with {code(comparison.baseline or 'the baseline')}"
    yield f"After − before, paired by scenario: {escaped(comparison.outcome)}."
    compared = _compared(comparison)
    if compared:
        headers = ("", "model", "prompt", "before", "after", "change", "p", "pairs")
        lines = [_line(headers), _line("--:" if h not in _NAMES else ":--" for h in headers)]
        lines += [_line(_row_change(letter, row)) for letter, row in compared.items()]
        yield "\n".join(lines)
    yield "\n".join(f"- {escaped(notice)}" for notice in comparison.notices)


def _compared(comparison: ReportBaseline) -> dict[str, ReportRowChange]:
    """Return the rows that both have, with the letters of the page's rows."""
    named = zip(letters(len(comparison.rows)), comparison.rows, strict=True)
    return {letter: row for letter, row in named if row.standing == "compared"}


def _row_change(letter: str, row: ReportRowChange) -> Iterator[str]:
    yield letter
    yield code(row.model)
    yield code(row.prompt_version)
    yield _number(row.composite_before, 2)
    yield _number(row.composite_after, 2)
    change = in_print(with_interval(row.difference))
    yield f"**{change}**" if row.direction else change
    yield escaped(in_print(p_value(row.difference)))
    yield str(row.pairs)


def _scenario_changes(report: Report) -> Iterator[str]:
    """Yield the table of scenarios × rows, folded away."""
    if report.comparison is None or not report.comparison.scenario_means:
        return
    means = report.comparison.scenario_means
    changes = {
        letter: {change.scenario: change.difference for change in row.scenarios}
        for letter, row in _compared(report.comparison).items()
    }
    yield "<details><summary>The change in each scenario</summary>"
    yield ""
    yield _line(["scenario", *changes, "mean"])
    yield _line([":--", *("--:" for _ in changes), "--:"])
    for name, mean in means.items():
        cells = [of_row.get(name) for of_row in changes.values()]
        yield _line([code(name), *(in_print(signed(cell)) for cell in [*cells, mean])])
    yield ""
    yield "</details>"


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
