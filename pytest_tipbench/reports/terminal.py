"""Owns the board as lines of plain text; imports the board's records and verdicts, no pytest.

Lines carry no colour and no control character, whatever a model is called, and fit the width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.board_notices import counted_noun, listed
from pytest_tipbench.reports.terminal_baseline import comparison_lines
from pytest_tipbench.reports.text_layout import (
    NARROWEST_WIDTH,
    Column,
    fitted_table,
    number,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison
    from pytest_tipbench.board_records import Board, BoardRow, Comparison
    from pytest_tipbench.gates import Verdict

_DIVERSITY_HEADERS = {
    "distinct_2": "dist-2",
    "self_similarity": "self-s.",
    "specificity": "spec.",
}


def board_lines(
    board: Board,
    *,
    width: int,
    ascii_only: bool,
    verdicts: Sequence[Verdict] = (),
    comparison: BaselineComparison | None = None,
    verbose: bool = False,
) -> list[str]:
    """Return the board, what it says in words, and the gates' verdicts, as lines of plain text.

    What has changed since a baseline stands between the words and the verdicts.

    ``width`` is in columns, at least 40. What does not fit leaves the table in this order, and one
    line says what is missing: tokens/s, p95 latency, the criteria, the diversity metrics, median
    latency, usable rate, judged cells. Tier, model, prompt and composite stay; when nothing else is
    left to drop, long names are shortened in their middle. Users read this in docs/statistics.md.
    """
    width = max(width, NARROWEST_WIDTH)

    def written(sentences: Iterable[str]) -> Iterator[str]:
        return wrapped(sentences, width, ascii_only=ascii_only)

    if not board.rows and not board.older_rows:
        empty = ["the board is empty: no finished run is selected"]
        return [*written([*empty, *(verdict.line for verdict in verdicts)])]
    lines = [*written(_title(board))]
    left_out: list[str] = []
    if board.rows:
        table, left_out = fitted_table(_columns(board), width, ascii_only=ascii_only)
        lines += ["", *table, ""]
    lines += written(_words(board))
    if left_out:
        lines += written([f"left out at {width} columns: {', '.join(left_out)}"])
    if verbose:
        lines += ["", *written(_details(board))]
    if comparison is not None:
        lines += [
            "",
            *comparison_lines(comparison, width=width, ascii_only=ascii_only, verbose=verbose),
        ]
    if verdicts:
        lines += ["", *written(verdict.line for verdict in verdicts)]
    return lines


# --- the table --------------------------------------------------------------------------------


def _columns(board: Board) -> list[Column]:
    def column(
        header: str,
        cell: Callable[[BoardRow], str],
        drop_rank: int | None = None,
        *,
        name: str = "",
        short_header: str = "",
        align: str = "right",
    ) -> Column:
        texts = [cell(row) for row in board.rows]
        return Column(header, texts, align, drop_rank, name, short_header)

    def criterion(name: str) -> Column:
        return column(
            name,
            lambda row: number(row.criterion_means.get(name), 2),
            3,
            short_header=short_headers[name],
        )

    def diversity(metric: str, header: str) -> Column:
        return column(header, lambda row: number(row.diversity.get(metric), 2), 4, name=metric)

    short_headers = _short_headers(board.criteria)
    columns = [
        column("model", lambda row: row.model, align="left"),
        column("prompt", lambda row: row.prompt_version, align="left"),
        column("judged", lambda row: f"{row.judged_cells}/{row.cells}", 7),
        column("usable", lambda row: _percent(row.usable_rate), 6, name="usable rate"),
    ]
    if board.ranked:
        columns.insert(0, column("tier", lambda row: str(row.tier or "-")))
    if any(row.criteria for row in board.rows):
        columns += map(criterion, board.criteria)
    columns.append(column("composite", _composite))
    columns += [
        diversity(metric, header)
        for metric, header in _DIVERSITY_HEADERS.items()
        if any(metric in row.diversity for row in board.rows)
    ]
    return [
        *columns,
        column(
            "median s",
            lambda row: number(row.median_latency_seconds, 2),
            5,
            name="median latency",
        ),
        column("p95 s", lambda row: number(row.p95_latency_seconds, 2), 2, name="p95 latency"),
        column("tok/s", lambda row: number(row.tokens_per_second, 1), 1, name="tokens/s"),
    ]


def _short_headers(criteria: Sequence[str]) -> dict[str, str]:
    """Cut the criteria's long names short, unless two of them would then look the same."""
    short = {name: name if len(name) <= 6 else f"{name[:5]}." for name in criteria}
    return short if len(set(short.values())) == len(short) else {name: name for name in criteria}


def _composite(row: BoardRow) -> str:
    if row.composite is None:
        return "pending" if row.pending_cells else "-"
    if row.composite_high is None:
        return number(row.composite, 2)
    return f"{row.composite:.2f} ±{row.composite_high - row.composite:.2f}"


def _percent(rate: float | None) -> str:
    """Return whole per cent, where only all is 100 and only none is 0."""
    if rate is None:
        return "-"
    return f"{rate if rate in (0, 1) else min(max(rate, 0.01), 0.99):.0%}"


# --- the words --------------------------------------------------------------------------------


def _title(board: Board) -> Iterator[str]:
    judges = f", judged by {', '.join(board.judges)}" if board.judges else ""
    yield (
        f"{board.experiment}: {counted_noun(len(board.rows), 'row')}, "
        f"{counted_noun(len(board.scenarios), 'scenario')}, "
        f"rubric {board.rubric_version} ({board.rubric_sha256[:12]}){judges}"
    )


def _words(board: Board) -> Iterator[str]:
    shared = counted_noun(len(board.shared_scenarios), "shared scenario")
    if any(row.composite_high is not None for row in board.rows):
        yield "composite ± half of its 95 % interval (Student t over scenarios)"
    if board.least_significant_difference is not None:
        yield (
            f"least significant difference {board.least_significant_difference:.2f} "
            f"(Tukey, 95 %, {shared}): rows of one tier cannot be told apart"
        )
    # With one prompt the models are the rows, and have been compared as such.
    if board.models and len({row.prompt_version for row in board.ranked}) > 1:
        yield from _comparison("models", "prompts", board.models)
    if board.prompts and len({row.model for row in board.ranked}) > 1:
        yield from _comparison("prompts", "models", board.prompts)
    if board.pair:
        low, high = board.pair.low or 0.0, board.pair.high or 0.0
        yield (
            f"{board.ranked[0].label} − {board.ranked[1].label}: {board.pair.mean:+.2f} "
            f"[{low:+.2f}, {high:+.2f}], paired over {shared}, "
            f"sign-flip p = {board.pair.sign_flip_p:.3f}"
        )
    reasons: dict[str | None, list[str]] = {}
    for row in board.unranked:
        reasons.setdefault(row.unranked_because, []).append(row.label)
    for reason, labels in reasons.items():
        yield f"not ranked, {reason}: {listed(labels)}"
    for older in board.older_rows:
        row = older.row
        yield (
            f"older configuration, apart: {row.label}: {_composite(row)}, "
            f"{row.judged_cells}/{row.cells} judged; {older.reason}"
        )
    yield from board.notices
    largest = max(board.rows, key=lambda row: row.resident_bytes or 0, default=None)
    if largest is not None and largest.resident_bytes:
        yield f"largest resident size: {_gibibytes(largest.resident_bytes)} ({largest.label})"
    if board.pending_cells:
        yield (
            f"{counted_noun(board.pending_cells, 'cell')} pending "
            f"({counted_noun(board.pending_tips, 'tip')} to judge)"
        )


def _comparison(kind: str, averaged: str, comparison: Comparison) -> Iterator[str]:
    tiers: dict[int, list[str]] = {}
    for group in comparison.groups:
        tiers.setdefault(group.tier, []).append(f"{group.name} {group.composite:.2f}")
    shown = "; ".join(f"tier {tier}: {', '.join(names)}" for tier, names in tiers.items())
    yield (
        f"{kind}, averaged over {averaged} {', '.join(comparison.averaged_over)}: {shown}; "
        f"least significant difference {comparison.least_significant_difference:.2f}"
    )


def _details(board: Board) -> Iterator[str]:
    for row in board.rows:
        facts = [
            f"configuration {row.configuration_sha256[:12]}",
            f"digest {(row.model_digest or 'unknown')[:12]}",
            ", ".join(f"{count} {outcome.value}" for outcome, count in row.outcomes.items()),
        ]
        if row.parameter_count is not None:
            facts.append(f"{row.parameter_count:,} parameters")
        if row.quantization is not None:
            facts.append(row.quantization)
        if row.resident_bytes is not None:
            facts.append(f"largest resident size {_gibibytes(row.resident_bytes)}")
        if row.scenario_composites:
            scenario, worst = min(row.scenario_composites.items(), key=lambda item: item[::-1])
            facts.append(f"weakest in {scenario} at {worst:.2f}")
        yield f"{row.label}: {', '.join(facts)}"
    for other in board.other_rubrics:
        means = ", ".join(f"{name} {mean:.2f}" for name, mean in other.criterion_means.items())
        yield (
            f"{other.model} × {other.prompt_version} under rubric "
            f"{other.rubric_version or 'of unknown version'} ({other.rubric_sha256[:12]}): "
            f"{counted_noun(other.judged_cells, 'cell')} judged, {means}"
        )


def _gibibytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
