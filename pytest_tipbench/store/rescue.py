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


def rescue_files(ledger: Path) -> tuple[Path, ...]:
    """Return where runs of that ledger may wait, in the order in which the places are tried."""
    mark = hashlib.sha256(os.fsencode(ledger)).hexdigest()[:12]
    name = f"tipbench-rescue-{mark}.jsonl"
    folders = (ledger.parent, user_data_path("pytest-tipbench"), Path(tempfile.gettempdir()))
    return tuple(folder / name for folder in folders)


def rescue(ledger: Path, record: RunRecord) -> Path | None:
    """Append the run to the first file that takes it; return the file, None where none does."""
    for path in rescue_files(ledger):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                # It begins a line: a line before it may have been cut off by a full disk.
                file.write(f"\n{to_json(record)}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            continue
        return path
    return None


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
            lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
        except FileNotFoundError:
            continue
        except OSError as error:
            said.append(f"{path} may hold runs and cannot be read: {error.strerror or error}")
            continue
        unreadable = 0
        for line in lines:
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
                path.unlink()
    if taken:
        said.append(f"runs that the ledger could not take before and has now: {taken}")
    return tuple(said)
