"""Owns the line of a finished cell and of its tips; imports records only."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tipbench.records import RunRecord


class Progress:
    """Counts the cells of a session, and guesses from the finished ones what is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seconds: list[float] = []

    def line(self, record: RunRecord, *, is_resumed: bool) -> str:
        """Return one line for a cell that has just finished, and count it."""
        if is_resumed:
            self._total -= 1
            spent = "from the store"
        else:
            seconds = (record.finished_at - record.started_at).total_seconds()
            self._seconds.append(seconds)
            spent = f"{seconds:.1f} s"
        cell = record.cell
        repeat = f" repeat {cell.repeat}" if cell.repeats > 1 else ""
        parts = [
            f"{cell.model} {cell.prompt_version} {cell.scenario}{repeat}: {record.outcome.value}",
            f"{len(record.tips)}/{record.n_tips} tips",
            spent,
        ]
        left = self._total - len(self._seconds)
        if left > 0 and self._seconds:
            parts.append(f"{_duration(left * median(self._seconds))} left")
        return ", ".join(parts)


def tip_lines(record: RunRecord) -> list[str]:
    """Return the cell's tips, a line each, numbered; what came instead where there are none."""
    if record.tips:
        return [f"  {number}. {tip}" for number, tip in enumerate(record.tips, 1)]
    return [f"  {record.error or record.why_unusable}"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
