"""Owns reading the files that a user edits, with faults that name file and line.

Imports errors only, of ours. All such files are UTF-8 (a byte order mark and Windows line ends are
taken off, so that a content hash does not depend on the editor), and are TOML, or Markdown with
TOML front matter between two ``+++`` lines.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ValidationError

from pytest_tipbench.errors import SourceFileError, UnknownNameError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails

FENCE = "+++"
"""The line that opens and closes front matter."""

KeyPath = tuple["str | int", ...]
"""Names of keys and indices of arrays, from the document's root to a value."""

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


# --- types of the files' values ---------------------------------------------------------------


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+", text):
        raise ValueError("should be lower-case ASCII letters, digits and '-' only")
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("should not be empty")
    return text.strip()


def _some(values: tuple[Value, ...]) -> tuple[Value, ...]:
    if not values:
        raise ValueError("should have at least one entry")
    return values


Slug = Annotated[str, AfterValidator(_slug)]
"""An id that a shell, a pytest id and a URL take as it is."""

Filled = Annotated[str, AfterValidator(_filled)]
"""A text with something in it; space around it is taken off."""

NotEmpty = AfterValidator(_some)
"""Marks a tuple that needs an entry; it speaks only when the entries themselves are sound."""


# --- faults -----------------------------------------------------------------------------------


class Fault(NamedTuple):
    """One thing that is wrong in a file, at a line that counts from 1."""

    line: int
    message: str


def refuse(path: Path, faults: Sequence[Fault]) -> NoReturn:
    """Raise one error for all faults of a file, in its order, ``PATH:LINE:`` before each."""
    first, *others = sorted(faults, key=lambda fault: fault.line)
    further = (str(SourceFileError(path, fault.message, fault.line)) for fault in others)
    raise SourceFileError(path, "\n".join([first.message, *further]), first.line)


def repeated(values: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Yield the index of each value that was there before, with the index of its first use."""
    first_uses: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        first_use = first_uses.setdefault(value, index)
        if first_use != index:
            yield index, first_use


# --- reading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class TomlSource:
    """A TOML document and the place it was read from."""

    path: Path
    text: str
    first_line: int
    """The file's line at which ``text`` begins, from 1."""
    data: dict[str, Any]

    def line_of(self, *keys: str | int) -> int:
        """Return the file's line at which the value under ``keys`` stands.

        Where the document does not have it, the line of the innermost table that would hold it.
        """
        while keys not in self._positions:
            keys = keys[:-1]
        return self.first_line + self._positions[keys]

    def fault(self, message: str, *keys: str | int) -> Fault:
        """Return the fault of the value under ``keys``."""
        return Fault(self.line_of(*keys), message)

    def repeat_faults(self, what: str, values: Sequence[str], *keys: str) -> Iterator[Fault]:
        """Yield a fault for each value that an earlier entry of the array ``keys[0]`` has.

        ``values`` has one value for each entry, found under the rest of ``keys``.
        """
        array, *rest = keys
        for index, first_use in repeated(values):
            line = self.line_of(array, first_use, *rest)
            message = f"{what} {values[index]!r} is already used on line {line}"
            yield self.fault(message, array, index, *rest)

    def read_as(self, model: type[Model]) -> Model:
        """Return the document as ``model``; a date or a time may stand where a text is expected.

        Raises:
            SourceFileError: keys are unknown or missing, or values are not as expected.
        """
        try:
            # Strict JSON takes arrays for tuples, but never "30" for 30 or true for 1.
            return model.model_validate_json(json.dumps(self.data, default=str), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
            refuse(self.path, [self.fault(_describe(d, model), *d["loc"]) for d in details])

    @cached_property
    def _positions(self) -> dict[KeyPath, int]:
        return _positions(self.text)


class Body(NamedTuple):
    """What follows a file's front matter, without the blank lines around it."""

    text: str
    first_line: int
    """The file's line at which ``text`` begins, from 1."""


def read_toml(path: Path) -> TomlSource:
    """Read a TOML file.

    Raises:
        SourceFileError: it cannot be read, is not UTF-8 or not TOML.
    """
    return _parse_toml(path, _read_text(path), first_line=1)


def read_front_matter(path: Path) -> tuple[TomlSource, Body]:
    """Read a file that has TOML between two ``+++`` lines, the first line being one of them.

    Raises:
        SourceFileError: it cannot be read, is not UTF-8, or its front matter is missing, open or
            not TOML.
    """
    lines = _read_text(path).split("\n")
    fences = [index for index, line in enumerate(lines) if line.rstrip() == FENCE]
    if not fences or fences[0] != 0:
        raise SourceFileError(path, f"expected TOML front matter, opened by a line {FENCE!r}", 1)
    if len(fences) == 1:
        raise SourceFileError(path, f"expected a second line {FENCE!r} to end the front matter", 1)
    head = _parse_toml(path, "\n".join(lines[1 : fences[1]]), first_line=2)
    body = lines[fences[1] + 1 :]
    blank_lines = next((index for index, line in enumerate(body) if line.strip()), 0)
    return head, Body("\n".join(body[blank_lines:]).rstrip(), fences[1] + 2 + blank_lines)


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise SourceFileError(path, "no such file") from None
    except OSError as error:
        reason = "it is a folder" if path.is_dir() else error.strerror
        raise SourceFileError(path, f"the file cannot be read: {reason}") from None
    try:
        return raw.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        raise SourceFileError(path, f"expected UTF-8, found byte 0x{byte:02x}", line) from None


def _parse_toml(path: Path, text: str, *, first_line: int) -> TomlSource:
    try:
        return TomlSource(path, text, first_line, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        # The reader gives the place in its message only (attributes come with Python 3.14).
        message, _, place = str(error).rpartition(" (at ")
        stated = re.match(r"line (\d+)", place)
        line = int(stated[1]) if stated else len(text.rstrip().split("\n"))
        raise SourceFileError(path, f"not TOML: {message}", first_line + line - 1) from None


# --- where a value stands ---------------------------------------------------------------------


def _positions(text: str) -> dict[KeyPath, int]:
    """Return the line, from 0, of every table, key and array entry of a sound TOML document.

    Python's TOML reader keeps no positions. But every statement (a table's header, or a key with
    its value) is a document of its own, so reading them one by one tells where each one stands.
    """
    positions: dict[KeyPath, int] = {(): 0}
    lengths: dict[KeyPath, int] = {}
    table: KeyPath = ()
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        end, seen = _read_statement(lines, start)
        if lines[start].lstrip().startswith("["):
            table = _enter_table(max(seen, key=len), lengths)
            seen = {table[:depth]: start for depth in range(1, len(table) + 1)}
        else:
            seen = {table + keys: line for keys, line in seen.items()}
        for keys, line in seen.items():
            positions.setdefault(keys, line)
        start = end
    return positions


def _read_statement(lines: list[str], start: int) -> tuple[int, dict[KeyPath, int]]:
    """Return the line after the statement at ``start``, and the lines of what it defines."""
    seen: dict[KeyPath, int] = {}
    for end in range(start + 1, len(lines) + 1):
        beginning = "\n".join(lines[start:end])
        for closed in (beginning, beginning + "\n]"):
            # An array over several lines can be read up to any of its entries, once it is closed.
            try:
                content = tomllib.loads(closed)
            except tomllib.TOMLDecodeError:
                continue
            line = start if closed is beginning else end - 1
            seen = dict.fromkeys(_key_paths(content), line) | seen
            if closed is beginning:
                return end, seen
            break
    return len(lines), seen


def _enter_table(keys: KeyPath, lengths: dict[KeyPath, int]) -> KeyPath:
    """Return the path of a header's table; ``lengths`` counts the entries of arrays of tables.

    A header that was read alone has index 0 at its end if it opens an entry (``[[a.b]]``).
    """
    is_entry = keys[-1] == 0
    names = keys[:-1] if is_entry else keys
    table: KeyPath = ()
    for depth, name in enumerate(names, start=1):
        table = (*table, name)
        if is_entry and depth == len(names):
            lengths[table] = lengths.get(table, 0) + 1
        if table in lengths:
            table = (*table, lengths[table] - 1)
    return table


def _key_paths(value: object) -> Iterator[KeyPath]:
    entries: Iterator[tuple[Any, object]] = iter(())
    if isinstance(value, dict):
        entries = iter(value.items())
    elif isinstance(value, list):
        entries = iter(enumerate(value))
    for key, entry in entries:
        yield (key,)
        yield from ((key, *keys) for keys in _key_paths(entry))


# --- what was expected ------------------------------------------------------------------------


def _describe(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """Say in one line what pydantic expected of a value in a document read as ``model``."""
    *outer, last = detail["loc"] or ("",)
    name = next((repr(key) for key in (last, *reversed(outer)) if isinstance(key, str)), "")
    table = ".".join(key for key in outer if isinstance(key, str))
    where = f" in [{table}]" if table else ""
    if detail["type"] == "missing":
        return f"key {name} is missing{where}"
    if detail["type"] == "extra_forbidden":
        return str(UnknownNameError("key", str(last), _known_keys(model, outer))) + where
    if detail["type"] == "value_error":
        return f"{name} {detail['ctx']['error']}"
    expected = detail["msg"].replace("Input", name, 1).replace("an object", "a table")
    return f"{expected}, got {_shown(detail['input'])}"


def _known_keys(model: type[BaseModel], keys: Sequence[str | int]) -> list[str]:
    """Return the keys that the table under ``keys`` may have."""
    for key in keys:
        if isinstance(key, str):
            model = next(_models_in(model.model_fields[key].annotation))
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _shown(value: object) -> str:
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "an array"
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
