"""Owns what becomes of a run that the ledger cannot take: it waits in a file; imports no pytest.

A full disk or a locked ledger must not lose what was generated. The run goes, as one line of JSON,
to the first folder that takes it, and the next session that writes puts it into the ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from pytest_tipbench.records import RunRecord, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN_CELLS = 3


def rescue_files(ledger: Path) -> tuple[Path, ...]:
    """Return where runs of that ledger may wait, in the order in which the places are tried."""
    mark = hashlib.sha256(os.fsencode(ledger)).hexdigest()[:12]
    name = f"tipbench-rescue-{mark}.jsonl"
    folders = (ledger.parent, user_data_path("pytest-tipbench"), Path(tempfile.gettempdir()))
    return tuple(folder / name for folder in folders)


def rescue(ledger: Path, record: RunRecord) -> Path | None:
    """Append the run to the first file that takes it; return the file, None where none does."""
    for path in rescue_files(ledger):
        size: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                size = file.tell()
                # It begins a line: a line before it may have been cut off by a killed process.
                file.write(f"\n{to_json(record)}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            if size is not None:
                with contextlib.suppress(OSError):
                    os.truncate(path, size)  # the next place gets it whole
            continue
        return path
    return None


class Rescue:
    """What the ledger has not taken in this session, and where it waits.

    Args:
        ledger: the ledger's file.
    """

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._cells: dict[str, list[str]] = {}
        """Where runs wait, and why: the ids of their cells."""
        self._homeless: list[RunRecord] = []
        """Runs that no file took either."""

    def keep(self, record: RunRecord, reason: str) -> None:
        """Keep a run that the ledger did not take for that reason, in memory if nowhere else."""
        path = rescue(self._ledger, record)
        if path is None:
            self._homeless.append(record)
        place = f"wait in {path} for the next session" if path else "could be kept nowhere"
        self._cells.setdefault(f"{place}: {reason}", []).append(record.cell.id)

    def take_back(self, add_run: Callable[[RunRecord], bool]) -> tuple[str, ...]:
        """Put all of it into the ledger, which may take it by now; return what there is to say.

        Raises:
            LedgerError: it still does not.
        """
        if not self._cells:
            return ()
        taken = sum([add_run(record) for record in self._homeless])
        said = take_back(self._ledger, add_run)
        self._cells.clear()
        self._homeless.clear()
        return (*said, *([_taken_line(taken)] if taken else []))

    def problems(self) -> list[str]:
        """Return, for each place and reason, which runs the ledger lacks."""
        return [
            f"the ledger lacks {len(cells)} runs ({', '.join(cells[:_SHOWN_CELLS])}"
            f"{', …' if len(cells) > _SHOWN_CELLS else ''}), which {place}"
            for place, cells in self._cells.items()
        ]


def take_back(ledger: Path, add_run: Callable[[RunRecord], bool]) -> tuple[str, ...]:
    """Put waiting runs into the ledger; return what there is to say.

    A file goes once all its lines are in the ledger. One with a line that is no whole run (it was
    cut off by a full disk, or is a newer release's) stays as it is: taking the others back again
    changes nothing.

    Raises:
        LedgerError: the ledger does not take a run; the files stay.
    """
    said: list[str] = []
    taken = 0
    for path in rescue_files(ledger):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            said.append(f"{path} may hold runs and cannot be read: {error.strerror or error}")
            continue
        unreadable = 0
        for line in filter(bytes.strip, content.split(b"\n")):
            try:
                record = from_json(RunRecord, line)
            except ValueError:
                unreadable += 1
            else:
                taken += add_run(record)
        if unreadable:
            said.append(f"{path} stays: lines in it that are no whole runs: {unreadable}")
        else:
            with contextlib.suppress(OSError):
                if path.stat().st_size == len(content):  # else another session has just added some
                    path.unlink()
    if taken:
        said.append(_taken_line(taken))
    return tuple(said)


def _taken_line(taken: int) -> str:
    return f"runs that the ledger could not take before and has now: {taken}"
