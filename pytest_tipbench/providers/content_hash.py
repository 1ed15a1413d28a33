"""Owns content hashes of big files, computed once; imports records only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tipbench.records import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONG_READ_BYTES = 2**30
"""What takes seconds to hash, more where the disk is slow."""


def content_sha256(
    paths: Sequence[Path], cache: Path, *, on_long_read: Callable[[int], None] = lambda _: None
) -> str:
    """Return the SHA-256 of the file's content; of several parts, the hash of their hashes.

    Args:
        paths: the file, or its parts in order.
        cache: as for :func:`file_sha256`.
        on_long_read: told the bytes that will be read, if they are many, before they are.

    Raises:
        OSError: a file cannot be read.
    """
    to_read = sum(_stamp(path)[0] for path in paths if _kept(path.resolve(), cache) is None)
    if to_read >= LONG_READ_BYTES:
        on_long_read(to_read)
    hashes = [file_sha256(path, cache) for path in paths]
    return hashes[0] if len(hashes) == 1 else sha256_of(hashes)


def file_sha256(path: Path, cache: Path) -> str:
    """Return the SHA-256 of the file's content.

    Hashing gigabytes takes seconds, so the hash is kept in the folder ``cache`` and holds for as
    long as path, size and modification time stay what they are.

    Raises:
        OSError: the file cannot be read.
    """
    path = path.resolve()
    before = _stamp(path)
    kept = _kept(path, cache)
    if kept is not None:
        return kept
    digest = _hash(path)
    if _stamp(path) == before:  # else it is being written, and the hash is of nothing lasting
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            _write_whole(_entry(path, cache), json.dumps({"stamp": before, "sha256": digest}))
    return digest


def _kept(path: Path, cache: Path) -> str | None:
    """Return the hash that is kept of the file as it is now; None where there is none."""
    stamp = _stamp(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_entry(path, cache).read_text(encoding="ascii"))
        if kept["stamp"] == stamp and re.fullmatch(r"[0-9a-f]{64}", kept["sha256"]):
            return str(kept["sha256"])
    return None


def _entry(path: Path, cache: Path) -> Path:
    return cache / "sha256" / f"{sha256_of(str(path))[:32]}.json"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _write_whole(path: Path, text: str) -> None:
    """Write the file so that nobody ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
