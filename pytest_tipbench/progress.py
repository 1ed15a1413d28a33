"""Owns the lines of a finished cell and of its tips; imports records, and how a line is fitted."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from pytest_tipbench.reports.printable import readable
from pytest_tipbench.reports.text_layout import in_lines, shortened, text_width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tipbench.records import RunRecord

_INDENT = "  "
_NARROWEST_NAME = 16


class Progress:
    """Counts the cells of a session, and guesses from the finished ones what is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seconds: list[float] = []

    def count(self, record: RunRecord, *, is_resumed: bool) -> None:
        """Take note of a cell that has just finished; one from the store took no time."""
        if is_resumed:
            self._total -= 1
        else:
            self._seconds.append(_seconds(record))

    def lines(
        self, record: RunRecord, *, is_resumed: bool, width: int, ascii_only: bool
    ) -> list[str]:
        """Return what to say of a cell that has been counted.

        It is one line, with long names cut in their middle where it needs be; on a terminal that is
        too narrow for that, whole names in several.
        """
        cell = record.cell
        names = [
            readable(name, ascii_only=ascii_only)
            for name in (cell.model.text, cell.prompt_version, cell.scenario)
        ]
        repeat = f" repeat {cell.repeat}" if cell.repeats > 1 else ""
        facts = f"{repeat}: {self._facts(record, is_resumed=is_resumed)}"
        room = width - len(_INDENT) - len(facts) - (len(names) - 1)
        line = f"{_INDENT}{' '.join(_fitted(names, room, ascii_only=ascii_only))}{facts}"
        if text_width(line) > width:
            line = f"{_INDENT}{' '.join(names)}{facts}"
        return in_lines(line, width, 2 * _INDENT)

    def _facts(self, record: RunRecord, *, is_resumed: bool) -> str:
        spent = "from the store" if is_resumed else f"{_seconds(record):.1f} s"
        parts = [record.outcome.value, f"{len(record.tips)}/{record.n_tips} tips", spent]
        left = self._total - len(self._seconds)
        if left > 0 and self._seconds:
            parts.append(f"{_duration(left * median(self._seconds))} left")
        return ", ".join(parts)


def tip_lines(record: RunRecord, *, width: int, ascii_only: bool) -> list[str]:
    """Return the cell's tips, numbered; what came instead where there are none."""
    indent = 2 * _INDENT
    if not record.tips:
        why = readable(record.error or record.why_unusable or "", ascii_only=ascii_only)
        return in_lines(why, width, indent, first=indent)
    lines: list[str] = []
    for number, tip in enumerate(record.tips, 1):
        mark = f"{indent}{number}. "
        text = readable(tip, ascii_only=ascii_only)
        lines += in_lines(text, width, " " * len(mark), first=mark)
    return lines


def _seconds(record: RunRecord) -> float:
    return (record.finished_at - record.started_at).total_seconds()


def _fitted(names: Sequence[str], width: int, *, ascii_only: bool) -> list[str]:
    """Cut the longest names first, and none of them beyond recognition."""
    fitted = list(names)
    for place in sorted(range(len(names)), key=lambda place: -text_width(names[place])):
        excess = sum(map(text_width, fitted)) - width
        if excess > 0:
            limit = max(text_width(fitted[place]) - excess, _NARROWEST_NAME)
            fitted[place] = shortened(fitted[place], limit, ascii_only=ascii_only)
    return fitted


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
