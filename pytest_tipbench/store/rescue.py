"""Owns what becomes of a run that the ledger cannot take: it waits in a file; imports no pytest.

A full disk or a locked ledger must not lose what was generated. The run goes, as one line of JSON,
to the first folder that takes it, and the next session that writes puts it into the ledger.
"""

from __future__ import annotations

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
    mark = hashlib.sha256(str(ledger).encode()).hexdigest()[:12]
    name = f"tipbench-rescue-{mark}.jsonl"
    folders = (ledger.parent, user_data_path("pytest-tipbench"), Path(tempfile.gettempdir()))
    return tuple(folder / name for folder in folders)


def rescue(ledger: Path, record: RunRecord) -> Path | None:
    """Append the run to the first file that takes it; return the file, None where none does."""
    for path in rescue_files(ledger):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="ascii") as file:
                file.write(to_json(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            continue
        return path
    return None


def take_back(ledger: Path, add_run: Callable[[RunRecord], bool]) -> tuple[str, ...]:
    """Put waiting runs into the ledger; return what there is to say.

    A file goes only once all its lines are in the ledger; a line that was cut off (the disk was
    full) stays where it is.
    """
    said: list[str] = []
    for path in rescue_files(ledger):
        if not path.exists():
            continue
        unreadable: list[str] = []
        count = 0
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                record = from_json(RunRecord, line)
            except ValueError:
                unreadable.append(line)
                continue
            add_run(record)
            count += 1
        if unreadable:
            path.write_text("".join(f"{line}\n" for line in unreadable), encoding="utf-8")
            said.append(f"{len(unreadable)} lines of {path} are no whole runs and stay there")
        else:
            path.unlink()
        if count:
            said.append(f"{count} runs that the ledger could not take before are in it now")
    return tuple(said)
