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
    from collections.abc import Sequence


def content_sha256(paths: Sequence[Path], cache: Path) -> str:
    """Return the SHA-256 of the file's content; of several parts, the hash of their hashes.

    Raises:
        OSError: a file cannot be read.
    """
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
    entry = cache / "sha256" / f"{sha256_of(str(path))[:32]}.json"
    before = _stamp(path)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(entry.read_text(encoding="ascii"))
        if kept["stamp"] == before and re.fullmatch(r"[0-9a-f]{64}", kept["sha256"]):
            return str(kept["sha256"])
    digest = _hash(path)
    if _stamp(path) == before:  # else it is being written, and the hash is of nothing lasting
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, no more
            _write_whole(entry, json.dumps({"stamp": before, "sha256": digest}))
    return digest


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
