"""Owns writing a file whole; imports the standard library only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(target: Path, data: bytes) -> None:
    """Write a file so that at any moment either the former or the whole new one is there.

    Missing folders are made.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not tempfile's: its files are private, and these are made to be handed on.
    temporary = target.with_name(f".{target.name}-{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
