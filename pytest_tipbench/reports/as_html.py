"""Owns the report as one self-contained page; imports the report's records, charts and Jinja2.

The page asks nothing of a network, and its content security policy forbids it to. Everything but
the tips is plain HTML that needs no script.
"""

from __future__ import annotations

import base64
import hashlib
import statistics
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_tipbench.board_notices import counted_noun
from pytest_tipbench.reports import charts
from pytest_tipbench.reports.change_text import in_print, p_value, signed, with_interval
from pytest_tipbench.reports.markdown import percent
from pytest_tipbench.reports.page_baseline import changes_view
from pytest_tipbench.reports.page_data import packed, page_data
from pytest_tipbench.reports.visible_text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.reports.report_records import Report, ReportCell, ReportRow


class HeatCell(NamedTuple):
    """One row in one scenario, as the heat map shows it."""

    text: str
    """The score, or a sign where there is none."""
    style: str
    """A class name: the score's shade, or what stands in its place."""
    told: str
    """The same in words."""


def render_html(report: Report) -> str:
    """Return the page, to be written as UTF-8."""
    letters = tuple(charts.letters(len(report.rows)))
    style, script = _text("report.css"), _text("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            named_rows=list(zip(letters, report.rows, strict=True)),
            heat_rows=_heat_map(report),
            scenario_means=[_scenario_mean(report, s.id) for s in report.scenarios],
            latency_chart=_scatter(report, letters, lambda row: row.median_latency_seconds),
            memory_chart=_scatter(report, letters, _resident_gibibytes),
            interval_ticks=_ticks(report.rubric.scale),
            tier_reach=_tier_reach(report),
            changes=changes_view(report),
            policy=_policy(style, script),
            style=style,
            script=script,
            data=packed(page_data(report, letters)),
        )
    )


def _environment() -> Environment:
    def shown(value: Any) -> Any:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        loader=PackageLoader("pytest_tipbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": _breakable,
        "fixed": fixed,
        "percent": _percent,
        "gibibytes": _gibibytes,
        "signed": lambda difference: in_print(signed(difference)),
        "with_interval": lambda difference: in_print(with_interval(difference)),
        "p_value": lambda difference: in_print(p_value(difference)),
    }
    environment.globals |= {
        "counted": counted_noun,
        "step": charts.step,
        "segments": charts.segments,
        "interval_bar": charts.interval_bar,
        "interval_width": charts.INTERVAL_WIDTH,
        "steps": charts.STEPS,
    }
    return environment


def _text(name: str) -> str:
    folder = files("pytest_tipbench.reports").joinpath("templates")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the page's content security policy: our own style and script, and nothing else.

    With no trusted type, a script that made markup of a text would fail.
    """
    return (
        f"default-src 'none'; style-src '{_source_hash(style)}'; "
        f"script-src '{_source_hash(script)}'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _breakable(name: str) -> Markup:
    """Return the name so that a narrow column breaks it after a slash, not inside a word."""
    return Markup("/<wbr>").join(visible(name).split("/"))  # join escapes the parts


# --- numbers ----------------------------------------------------------------------------------


def fixed(value: float | None, decimals: int) -> str:
    """Return the number with so many decimals, or a dash where it is not known."""
    return "–" if value is None else f"{value:.{decimals}f}"


def _percent(rate: float | None) -> str:
    return "–" if rate is None else percent(rate)


def _gibibytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 2**30:.2f}"


def _resident_gibibytes(row: ReportRow) -> float | None:
    return None if row.resident_bytes is None else row.resident_bytes / 2**30


# --- charts -----------------------------------------------------------------------------------


def _ticks(scale: tuple[int, int]) -> list[charts.Tick]:
    """Return the whole scores on the intervals' axis; of a long scale its two ends."""
    low, high = scale
    marks = range(low, high + 1) if high - low <= 10 else scale
    return [charts.Tick(charts.on_scale(mark, scale), str(mark)) for mark in marks]


def _tier_reach(report: Report) -> tuple[float, float] | None:
    """Return where the intervals' axis holds what cannot be told apart from the leader."""
    difference = report.least_significant_difference
    leader = report.rows[0].shared_composite if report.rows else None
    if difference is None or leader is None:
        return None
    scale = report.rubric.scale
    low, high = charts.on_scale(leader - difference, scale), charts.on_scale(leader, scale)
    return low, round(high - low, 1)


def _scatter(
    report: Report, letters: Sequence[str], cost: Callable[[ReportRow], float | None]
) -> charts.Scatter | None:
    return charts.scatter(
        [
            charts.Datum(letter, x, row.composite, row.composite_low, row.composite_high)
            for letter, row in zip(letters, report.rows, strict=True)
            if (x := cost(row)) is not None and row.composite is not None
        ],
        report.rubric.scale,
    )


# --- heat map ---------------------------------------------------------------------------------


def _heat_map(report: Report) -> list[list[HeatCell | None]]:
    """Return rows × scenarios; None where the row has no cell."""
    cells: dict[tuple[str, str, str], list[ReportCell]] = {}
    for cell in report.cells:
        cells.setdefault((cell.model, cell.prompt_version, cell.scenario), []).append(cell)
    return [
        [
            _heat_cell(report, row, of_scenario)
            if (of_scenario := cells.get((row.model, row.prompt_version, scenario.id)))
            else None
            for scenario in report.scenarios
        ]
        for row in report.rows
    ]


def _heat_cell(report: Report, row: ReportRow, cells: Sequence[ReportCell]) -> HeatCell:
    outcomes = ", ".join(dict.fromkeys(cell.outcome.value for cell in cells))
    score = row.scenario_composites.get(cells[0].scenario)
    if score is not None:
        shade = f"s{charts.step(score, report.rubric.scale)}"
        if not any(cell.tips for cell in cells if cell.is_measured):
            return HeatCell("∅", shade, f"{score:.2f}, no usable tip: {outcomes}")
        return HeatCell(f"{score:.1f}", shade, f"{score:.2f}, {outcomes}")
    if not any(cell.is_measured for cell in cells):
        return HeatCell("×", "unmeasured", f"not measured: {outcomes}")
    if not any(cell.tips for cell in cells):
        return HeatCell("∅", "pending", f"no usable tip: {outcomes}; counts once others are judged")
    return HeatCell("?", "pending", f"not judged yet, {outcomes}")


def _scenario_mean(report: Report, name: str) -> float | None:
    scores = [
        row.scenario_composites[name] for row in report.rows if name in row.scenario_composites
    ]
    return statistics.fmean(scores) if scores else None
