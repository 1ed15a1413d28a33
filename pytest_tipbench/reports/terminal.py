"""Owns the board as lines of plain text; imports the board's records and verdicts, no pytest.

Lines carry no colour and no control character, whatever a model is called, and fit the width.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, NamedTuple

from pytest_tipbench.board_notices import counted_noun, listed
from pytest_tipbench.reports.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pytest_tipbench.board_records import Board, BoardRow, Comparison
    from pytest_tipbench.gates import Verdict

_DIVERSITY_HEADERS = {
    "distinct_2": "dist-2",
    "self_similarity": "self-s.",
    "specificity": "spec.",
}
_NARROWEST_WIDTH = 40
_NARROWEST_NAME = 8
_GAP = 2


class _Column(NamedTuple):
    name: str
    """What it is called where it had to be left out."""
    header: str
    cell: Callable[[BoardRow], str]
    align: str = "right"
    drop_rank: int | None = None
    """Columns leave a narrow board in this order, 1 first; None = never."""


def board_lines(
    board: Board,
    *,
    width: int,
    ascii_only: bool,
    verdicts: Sequence[Verdict] = (),
    verbose: bool = False,
) -> list[str]:
    """Return the board, what it says in words, and the gates' verdicts, as lines of plain text.

    ``width`` is in columns, at least 40. What does not fit leaves the table in this order, and one
    line says what is missing: tokens/s, p95 latency, the criteria, the diversity metrics, median
    latency, usable rate, judged cells. Tier, model, prompt and composite stay; when nothing else is
    left to drop, long names are shortened in their middle.
    """
    width = max(width, _NARROWEST_WIDTH)

    def written(sentences: Iterable[str]) -> Iterator[str]:
        for sentence in sentences:
            yield from textwrap.wrap(
                printable(sentence, ascii_only=ascii_only), width, subsequent_indent="  "
            )

    if not board.rows and not board.older_rows:
        empty = ["the board is empty: no finished run is selected"]
        return [*written([*empty, *(verdict.line for verdict in verdicts)])]
    lines = [*written(_title(board))]
    left_out: list[str] = []
    if board.rows:
        table, left_out = _table(board, width, ascii_only=ascii_only)
        lines += ["", *table, ""]
    lines += written(_words(board))
    if left_out:
        lines += written([f"left out at {width} columns: {', '.join(left_out)}"])
    if verbose:
        lines += ["", *written(_details(board))]
    if verdicts:
        lines += ["", *written(verdict.line for verdict in verdicts)]
    return lines


# --- the table --------------------------------------------------------------------------------


def _table(board: Board, width: int, *, ascii_only: bool) -> tuple[list[str], list[str]]:
    """Return the table's lines, and the names of the columns that had to be left out."""
    from tabulate import tabulate

    columns = _columns(board, {name: name for name in board.criteria})
    left_out: list[str] = []
    texts = _texts(columns, board.rows, ascii_only=ascii_only)
    if _width(texts) > width:
        columns = _columns(board, _short_headers(board.criteria))
        texts = _texts(columns, board.rows, ascii_only=ascii_only)
    while _width(texts) > width and any(column.drop_rank for column in columns):
        rank = min(column.drop_rank for column in columns if column.drop_rank)
        left_out += [column.name for column in columns if column.drop_rank == rank]
        columns = [column for column in columns if column.drop_rank != rank]
        texts = _texts(columns, board.rows, ascii_only=ascii_only)
    for position, column in enumerate(columns):
        if column.align == "left" and (excess := _width(texts) - width) > 0:
            limit = max(max(map(len, texts[position])) - excess, _NARROWEST_NAME)
            mark = printable("…", ascii_only=ascii_only)
            texts[position] = [_shortened(text, limit, mark) for text in texts[position]]
    # tabulate pads headers of its own by two columns each, which a narrow board cannot spare.
    rules = ["-" * max(map(len, text)) for text in texts]
    header, *body = zip(*texts, strict=True)
    table = tabulate(
        [header, rules, *body],
        tablefmt="plain",
        disable_numparse=True,
        colalign=[column.align for column in columns],
    )
    return [line.rstrip() for line in table.splitlines()], left_out


def _texts(
    columns: Iterable[_Column], rows: Sequence[BoardRow], *, ascii_only: bool
) -> list[list[str]]:
    return [
        [
            printable(text, ascii_only=ascii_only)
            for text in (column.header, *(column.cell(row) for row in rows))
        ]
        for column in columns
    ]


def _width(texts: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, text)) for text in texts) + _GAP * (len(texts) - 1)


def _shortened(text: str, limit: int, mark: str) -> str:
    """Keep both ends: a name differs from its like by its family or by its tag."""
    if len(text) <= limit:
        return text
    tail = (limit - len(mark)) // 2
    return text[: limit - len(mark) - tail] + mark + text[len(text) - tail :]


def _columns(board: Board, headers: Mapping[str, str]) -> list[_Column]:
    columns = [
        _Column("model", "model", lambda row: row.model, "left"),
        _Column("prompt", "prompt", lambda row: row.prompt_version, "left"),
        _Column("judged", "judged", lambda row: f"{row.judged_cells}/{row.cells}", drop_rank=7),
        _Column("usable rate", "usable", lambda row: _percent(row.usable_rate), drop_rank=6),
    ]
    if board.ranked:
        columns.insert(0, _Column("tier", "tier", lambda row: str(row.tier or "-")))
    if any(row.criteria for row in board.rows):
        columns += [_criterion(name, headers[name]) for name in board.criteria]
    columns.append(_Column("composite", "composite", _composite))
    columns += [
        _diversity_metric(metric, header)
        for metric, header in _DIVERSITY_HEADERS.items()
        if any(metric in row.diversity for row in board.rows)
    ]
    return [
        *columns,
        _Column(
            "median latency",
            "median s",
            lambda row: _number(row.median_latency_seconds, 2),
            drop_rank=5,
        ),
        _Column(
            "p95 latency", "p95 s", lambda row: _number(row.p95_latency_seconds, 2), drop_rank=2
        ),
        _Column("tokens/s", "tok/s", lambda row: _number(row.tokens_per_second, 1), drop_rank=1),
    ]


def _criterion(name: str, header: str) -> _Column:
    return _Column(name, header, lambda row: _number(row.criterion_means.get(name), 2), drop_rank=3)


def _diversity_metric(name: str, header: str) -> _Column:
    return _Column(name, header, lambda row: _number(row.diversity.get(name), 2), drop_rank=4)


def _short_headers(criteria: Sequence[str]) -> dict[str, str]:
    """Cut the criteria's long names short, unless two of them would then look the same."""
    short = {name: name if len(name) <= 6 else f"{name[:5]}." for name in criteria}
    return short if len(set(short.values())) == len(short) else {name: name for name in criteria}


def _composite(row: BoardRow) -> str:
    if row.composite is None:
        return "pending" if row.pending_cells else "-"
    if row.composite_high is None:
        return _number(row.composite, 2)
    return f"{row.composite:.2f} ±{row.composite_high - row.composite:.2f}"


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


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
            scenario, worst = min(row.scenario_composites.items(), key=lambda item: item[1])
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
