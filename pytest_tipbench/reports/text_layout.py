"""Owns how tables and sentences fit a terminal's columns; imports nothing of a board.

Lines carry no colour and no control character, whatever stands in them.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from pytest_tipbench.reports.printable import printable, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

NARROWEST_WIDTH = 40
_NARROWEST_NAME = 8
GAP = 2
_BEFORE_COMMAND = re.compile(r"(?<=:) (?=(?:pytest|mlflow|cd) )")
"""A line of ours ends with the command that it offers."""


class Column(NamedTuple):
    """A column of a table, with one text for each of its lines."""

    header: str
    texts: Sequence[str]
    align: str = "right"
    """``left`` is a name, which can be shortened."""
    drop_rank: int | None = None
    """Columns leave a narrow table in this order, 1 first; None = never."""
    name: str = ""
    """What it is called where it had to be left out; empty: as its header."""
    short_header: str = ""
    """Instead of the header where the table does not fit with it."""

    @property
    def full_name(self) -> str:
        """What a reader who does not see the column is told of."""
        return self.name or self.header

    @property
    def with_short_header(self) -> Column:
        """The same column, a little narrower."""
        return self._replace(header=self.short_header or self.header, name=self.full_name)


def fitted_table(
    columns: Sequence[Column], width: int, *, ascii_only: bool
) -> tuple[list[str], list[str]]:
    """Return the table's lines, and the names of the columns that had to be left out.

    First the headers are shortened, then columns leave, then names are cut in their middle.
    """
    from tabulate import tabulate

    left_out: list[str] = []
    texts = _texts(columns, ascii_only=ascii_only)
    if _width(texts) > width:
        columns = [column.with_short_header for column in columns]
        texts = _texts(columns, ascii_only=ascii_only)
    while _width(texts) > width and any(column.drop_rank for column in columns):
        rank = min(column.drop_rank for column in columns if column.drop_rank)
        left_out += [column.full_name for column in columns if column.drop_rank == rank]
        columns = [column for column in columns if column.drop_rank != rank]
        texts = _texts(columns, ascii_only=ascii_only)
    for position, column in enumerate(columns):
        if column.align == "left" and (excess := _width(texts) - width) > 0:
            limit = max(widest(texts[position]) - excess, _NARROWEST_NAME)
            texts[position] = [
                shortened(text, limit, ascii_only=ascii_only) for text in texts[position]
            ]
    # tabulate pads headers of its own by two columns each, which a narrow board cannot spare.
    rules = ["-" * widest(text) for text in texts]
    header, *body = zip(*texts, strict=True)
    table = tabulate(
        [header, rules, *body],
        tablefmt="plain",
        disable_numparse=True,
        colalign=[column.align for column in columns],
    )
    return [line.rstrip() for line in table.splitlines()], left_out


def wrapped(sentences: Iterable[str], width: int, *, ascii_only: bool) -> Iterator[str]:
    """Yield each sentence as lines of at most ``width`` columns; what goes on is indented."""
    for sentence in sentences:
        yield from in_lines(readable(sentence, ascii_only=ascii_only), width, "  ")


def copyable_lines(text: str, width: int, *, ascii_only: bool) -> list[str]:
    """Return what we say as lines of ``width`` columns, out of which it can be copied.

    A command at the end that has no room stands whole in a line of its own, and a word wider than
    the line (a path, a URL) is left whole too.
    """
    text = readable(text, ascii_only=ascii_only)
    if text_width(text) <= width:
        return [text]
    indent = " " * (len(text) - len(text.lstrip(" ")) + 2)
    words, *command = _BEFORE_COMMAND.split(text, maxsplit=1)
    lines = in_lines(words, width, indent, break_words=False)
    return [*lines, *(f"{indent}{each}" for each in command)]


def in_lines(
    text: str, width: int, further: str, *, first: str = "", break_words: bool = True
) -> list[str]:
    """Return readable text as lines of at most ``width`` columns.

    The lines begin with ``first``, and with ``further`` from the second on. Names are not broken at
    their hyphens; a word wider than the line is broken, unless ``break_words`` is false.
    """
    if text.isascii():
        wrap = textwrap.wrap
    else:
        from wcwidth import wrap
    return wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=further,
        break_on_hyphens=False,
        break_long_words=break_words,
    )


def shortened(text: str, limit: int, *, ascii_only: bool) -> str:
    """Keep both ends: a name differs from its like by its family or by its tag."""
    if text_width(text) <= limit:
        return text
    mark = printable("…", ascii_only=ascii_only)
    tail_width = (limit - len(mark)) // 2
    head = tail = text
    while text_width(head) > limit - len(mark) - tail_width:
        head = head[:-1]
    while text_width(tail) > tail_width:
        tail = tail[1:]
    return head + mark + tail


def text_width(text: str) -> int:
    """Return how many columns the text takes: a Chinese letter or an emoji takes two."""
    if text.isascii():
        return len(text)
    from wcwidth import width

    return width(text)


def widest(texts: Iterable[str]) -> int:
    """Return the columns that the widest of the texts takes."""
    return max(map(text_width, texts))


def number(value: float | None, decimals: int) -> str:
    """Return the number with so many decimals, or a dash where it is not known."""
    return "-" if value is None else f"{value:.{decimals}f}"


def _texts(columns: Iterable[Column], *, ascii_only: bool) -> list[list[str]]:
    return [
        [printable(text, ascii_only=ascii_only) for text in (column.header, *column.texts)]
        for column in columns
    ]


def _width(texts: Sequence[Sequence[str]]) -> int:
    return sum(map(widest, texts)) + GAP * (len(texts) - 1)
