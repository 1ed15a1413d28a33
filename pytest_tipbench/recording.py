"""Owns the file that ``--record`` writes; imports errors and the replay provider's line format."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, TextIO

from pytest_tipbench.errors import UserMistakeError

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_tipbench.records import RunRecord


class Recording:
    """A replay file that grows by one line for each completion; it stands in for no store."""

    def __init__(self, path: Path) -> None:
        """Begin the file.

        Raises:
            UserMistakeError: there is a file already, or none can be written.
        """
        self._path = path
        self.problem: str | None = None
        """Why it ended before its time."""
        try:
            if path.exists():
                raise UserMistakeError(
                    f"--record {path}: exists and is not overwritten: name another file"
                )
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO | None = path.open("x", encoding="ascii")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise UserMistakeError(f"--record {path}: cannot be written: {reason}") from None

    def add(self, record: RunRecord) -> None:
        """Write the run's completion, if it has one; the first that does not fit ends the file."""
        if self._file is None or record.completion is None:
            return
        from pytest_tipbench.providers.replay import recorded_line

        try:
            self._file.write(recorded_line(record) + "\n")
            self._file.flush()
        except OSError as error:
            self.problem = (
                f"--record {self._path}: ends before {record.cell.id}: "
                f"{error.strerror or error}; the ledger has every completion"
            )
            self.close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what it could not write it tries once more
                file.close()
