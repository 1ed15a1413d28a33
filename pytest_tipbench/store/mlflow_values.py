"""Owns what MLflow's fields can hold: keys, limits, splitting, packing; imports nothing of ours.

MLflow cuts values that are too long, and drops those that are not proper JSON or UTF-8, with a 200.
So every value is made to fit here, before it is sent.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import posixpath
import re
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TAG_VALUE_LIMIT = 8000
PARAM_VALUE_LIMIT = 6000
KEY_LIMIT = 250
"""Characters; MLflow's ``mlflow/utils/validation.py``."""
BATCH_TAG_LIMIT = 100
BATCH_PARAM_LIMIT = 100
BATCH_METRIC_LIMIT = 800
BATCH_BYTE_LIMIT = 450_000
"""Per ``log-batch``, for tags and params each: MLflow takes 1,000 items together, and 1 MB."""

_PACKED = "zlib+base64:"
_PART = re.compile(r"(?P<key>.+)\.part(?P<number>[2-9]|[1-9][0-9]+)", re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_VALID_KEY = re.compile(r"[\w\-. /]+")
_LOOKS_ESCAPED = re.compile(r"_x[0-9a-f]*_")
_TO_ESCAPE = re.compile(r"_(?=x[0-9a-f]*_)|[^\w\- ]|^$")


def is_storable(text: str) -> bool:
    """Say whether every database takes the text as it is: valid Unicode without NUL."""
    return _UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    r"""Return the text with NUL and lone surrogates written as ``\x00`` and ``\udXXX``.

    For people to read; what a record is rebuilt from goes through JSON and keeps every character.
    """
    return _UNSTORABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def readable_json(value: Any) -> str:
    """Return indented JSON that shows every script as it is and still is valid UTF-8."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def safe_key(name: str) -> str:
    """Return a key that MLflow takes; different names give different keys.

    A name of word characters, ``-``, ``.``, spaces and ``/`` that is no odd path stays as it is.
    In others each character besides letters, digits, ``_``, ``-`` and space becomes ``_xHEX_``, its
    code point. Past MLflow's limit the end is replaced by a hash.
    """
    fits = _VALID_KEY.fullmatch(name) and posixpath.normpath(name) == name
    if not fits or name.startswith((".", "/")) or _LOOKS_ESCAPED.search(name):
        name = _TO_ESCAPE.sub(lambda found: f"_x{ord(found[0]):x}_" if found[0] else "_x_", name)
    if len(name) <= KEY_LIMIT:
        return name
    digest = hashlib.sha256(name.encode("ascii", "backslashreplace")).hexdigest()
    return f"{name[: KEY_LIMIT - len(digest) - 1]}_{digest}"


def split(key: str, value: str, limit: int = TAG_VALUE_LIMIT) -> dict[str, str]:
    """Return the value under ``key``, past the limit also under ``key.part2``, ``.part3`` …"""
    parts = [value[start : start + limit] for start in range(0, len(value), limit)] or [""]
    return {_part_key(key, number): part for number, part in enumerate(parts, start=1)}


def join(key: str, values: Mapping[str, str]) -> str | None:
    """Return what :func:`split` divided; None where there is no ``key``."""
    if key not in values:
        return None
    parts: list[str] = []
    while (part := values.get(_part_key(key, len(parts) + 1))) is not None:
        parts.append(part)
    return "".join(parts)


def blanked(parts: Mapping[str, str], present: Iterable[str]) -> dict[str, str]:
    """Return the parts, and an empty one for each older part that a shorter value leaves over."""
    left_over = {}
    for key in present:
        match = _PART.fullmatch(key)
        if match and match["key"] in parts and key not in parts:
            left_over[key] = ""
    return {**parts, **left_over}


def _part_key(key: str, number: int) -> str:
    return key if number == 1 else f"{key}.part{number}"


def pack(text: str) -> str:
    """Return ASCII text, compressed, as a tag's value: less for a search to carry."""
    return _PACKED + base64.b64encode(zlib.compress(text.encode("ascii"), 6)).decode("ascii")


def unpack(value: str) -> str:
    """Return what :func:`pack` was given.

    Raises:
        ValueError: the value was not made by it.
    """
    if not value.startswith(_PACKED):
        raise ValueError(f"does not start with {_PACKED!r}")
    try:
        return zlib.decompress(base64.b64decode(value[len(_PACKED) :], validate=True)).decode(
            "ascii"
        )
    except zlib.error as error:
        raise ValueError(str(error)) from error


def finite(metrics: Mapping[str, float | int | None]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the metrics as MLflow can hold them, and the names of those that are not finite.

    What was not measured (None) is left out. A bare ``NaN`` would make MLflow drop the whole batch.
    """
    kept: dict[str, float] = {}
    skipped: list[str] = []
    for name, value in metrics.items():
        if value is None:
            continue
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            kept[safe_key(name)] = number
        else:
            skipped.append(name)
    return kept, tuple(skipped)


def batches(values: Mapping[str, str], limit: int) -> Iterator[dict[str, str]]:
    """Yield tags or params in batches that one ``log-batch`` takes, by number and by bytes."""
    batch: dict[str, str] = {}
    size = 0
    for key, value in values.items():
        added = len(key.encode()) + len(json.dumps(value, ensure_ascii=False).encode()) + 24
        if batch and (len(batch) >= limit or size + added > BATCH_BYTE_LIMIT):
            yield batch
            batch, size = {}, 0
        batch[key] = value
        size += added
    if batch:
        yield batch
