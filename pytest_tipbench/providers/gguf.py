"""Owns what a GGUF file says of itself, read without loading it; imports errors only.

The format is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3
in either byte order. A file is walked through a memory map: nothing is built of the arrays it holds
(the vocabulary alone would take seconds), and nothing that a damaged or hostile file claims is
believed before it fits into the file.
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.errors import ModelMissingError, UnsizableModelError
from pytest_tipbench.providers.gguf_types import (
    ARRAY_TYPE,
    FILE_TYPES,
    GUESSED_FILE_TYPE,
    SCALAR_TYPES,
    STRING_TYPE,
    TENSOR_TYPES,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SMALLEST_FILE_BYTES = 24
"""Magic, version and the two counts."""
_MOST_METADATA = 2**16
_MOST_TENSORS = 2**16
_MOST_STRINGS = 2**22
"""Texts in all arrays of a file together; the largest vocabularies with merges have a million."""
_LONGEST_TEXT_BYTES = 2**16
_MOST_NAME_BYTES = 2**23
"""Names of all metadata and tensors of a file together; 2**16 tensors' longest come to half."""
_MOST_DIMENSIONS = 4
_LARGEST_COUNT = 2**63 - 1
_DEFAULT_ALIGNMENT = 32

_WANTED_TEXTS = ("general.architecture", "general.name", "general.type")
_WANTED_NUMBERS = (
    "general.alignment",
    "general.file_type",
    "split.count",
    "split.no",
    "split.tensors.count",
)

_PART_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


@dataclass(frozen=True)
class GgufModel:
    """What the file, or all parts of a split one together, says of the model."""

    paths: tuple[Path, ...]
    """Every part in order; llama.cpp is given the first and finds the others."""
    parameter_count: int
    """Elements of all tensors: exact, mixture-of-experts in full."""
    architecture: str
    quantization: str | None
    name: str | None


@dataclass(frozen=True)
class _Header:
    """One file's tensors, counted, and the few metadata that matter here."""

    parameter_count: int
    tensor_names: frozenset[str]
    texts: dict[str, str]
    numbers: dict[str, int]


class _MalformedError(Exception):
    """What is wrong with the file, without its path."""


def read_gguf(path: Path) -> GgufModel:
    """Read the exact parameter count and the names from the file's header, in milliseconds.

    Raises:
        UnsizableModelError: not a GGUF model, damaged, or a later part of a split one.
        ModelMissingError: a part of a split file is not there.
        OSError: the file cannot be read.
    """
    first = _read_header(path)
    paths = _part_paths(path, first)
    architecture = _architecture(path, first)
    headers = [first, *(_read_part(part, index, paths) for index, part in _later(paths))]
    tensor_count = sum(len(header.tensor_names) for header in headers)
    expected = first.numbers.get("split.tensors.count", tensor_count)
    if len(paths) > 1 and tensor_count != expected:
        raise UnsizableModelError(
            f"{path}: its {len(paths)} parts hold {tensor_count} tensors together, not the "
            f"{expected} that it announces"
        )
    if len(frozenset().union(*(header.tensor_names for header in headers))) < tensor_count:
        raise UnsizableModelError(f"{path}: two of its parts hold a tensor of the same name")
    parameter_count = sum(header.parameter_count for header in headers)
    if parameter_count == 0:
        raise UnsizableModelError(f"{path}: holds no weights (a vocabulary alone?)")
    return GgufModel(
        paths=paths,
        parameter_count=parameter_count,
        architecture=architecture,
        quantization=_quantization(first.numbers.get("general.file_type")),
        name=first.texts.get("general.name"),
    )


# --- split files ------------------------------------------------------------------------------


def _architecture(path: Path, header: _Header) -> str:
    """Return the language model's architecture, which only the first of several parts names."""
    kind = header.texts.get("general.type", "model")
    architecture = header.texts.get("general.architecture")
    if architecture == "clip":
        kind = "mmproj"  # projectors older than ``general.type``
    if kind != "model":
        raise UnsizableModelError(f"{path}: not a language model, its general.type is {kind!r}")
    if not architecture:
        raise UnsizableModelError(f"{path}: not a language model, it has no general.architecture")
    return architecture


def _part_paths(path: Path, header: _Header) -> tuple[Path, ...]:
    """Return the paths of all parts, named as llama.cpp's ``gguf-split`` names them."""
    count = header.numbers.get("split.count", 1)
    if count <= 1:
        return (path,)
    match = _PART_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise UnsizableModelError(
            f"{path}: is one of {count} parts, which llama.cpp finds by their names only: "
            f"NAME-00001-of-{count:05}.gguf"
        )
    prefix = match["prefix"]
    paths = tuple(
        path.with_name(f"{prefix}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)
    )
    if path != paths[0] or header.numbers.get("split.no", 0) != 0:
        raise UnsizableModelError(
            f"{path}: is not the first of {count} parts; name {paths[0].name} instead"
        )
    for number, part in enumerate(paths, start=1):
        if not part.is_file():
            raise ModelMissingError(f"{path}: part {number} of {count} is missing: {part}")
    return paths


def _later(paths: Sequence[Path]) -> Sequence[tuple[int, Path]]:
    return list(enumerate(paths))[1:]


def _read_part(path: Path, index: int, paths: Sequence[Path]) -> _Header:
    header = _read_header(path)
    place = (header.numbers.get("split.no"), header.numbers.get("split.count"))
    if place != (index, len(paths)):
        raise UnsizableModelError(
            f"{path}: says it is part {place[0]} (from 0) of {place[1]}, not {index} of "
            f"{len(paths)}: parts of two models are mixed"
        )
    return header


def _quantization(file_type: int | None) -> str | None:
    if file_type is None:
        return None
    return FILE_TYPES.get(file_type & ~GUESSED_FILE_TYPE, f"file type {file_type}")


# --- one file's header ------------------------------------------------------------------------


class _Cursor:
    """A place in the mapped file; every step stays inside it or raises."""

    def __init__(self, data: mmap.mmap, order: str) -> None:
        self._data = data
        self._order = order
        self._structs = {
            code: struct.Struct(order + code) for code in {*SCALAR_TYPES.values(), "Q"}
        }
        self._strings_left = _MOST_STRINGS
        self._name_bytes_left = _MOST_NAME_BYTES
        self.position = 4

    def scalar(self, code: str) -> int | float | bool:
        form = self._structs[code]
        value: int | float | bool = form.unpack_from(self._data, self.position)[0]
        self.position += form.size
        return value

    def count(self, code: str = "Q") -> int:
        return int(self.scalar(code))

    def skip(self, length: int) -> None:
        self.position += length
        if self.position > len(self._data):
            raise _MalformedError("ends in the middle of its header (a download cut short?)")

    def text(self) -> str:
        length = self.count()
        if length > _LONGEST_TEXT_BYTES:
            raise _MalformedError(f"a name of {length} bytes is absurd")
        start = self.position
        self.skip(length)
        return self._data[start : self.position].decode("utf-8", errors="replace")

    def new_name(self, seen: set[str], what: str) -> str:
        """Read a name and add it to those seen, which it must not be among."""
        name = self.text()
        self._name_bytes_left -= len(name)
        if self._name_bytes_left < 0:
            raise _MalformedError(f"names of more than {_MOST_NAME_BYTES} bytes are absurd")
        if not name:
            raise _MalformedError(f"has {what} without a name")
        if name in seen:
            raise _MalformedError(f"has {what} {name!r} twice")
        seen.add(name)
        return name

    def skip_strings(self, count: int) -> None:
        self._strings_left -= count
        if self._strings_left < 0:
            raise _MalformedError(f"arrays of more than {_MOST_STRINGS} texts are absurd")
        unpack, data, position = self._structs["Q"].unpack_from, self._data, self.position
        for _ in range(count):
            position += 8 + unpack(data, position)[0]
        self.position = position
        self.skip(0)

    def skip_value(self, value_type: int) -> None:
        if value_type in SCALAR_TYPES:
            self.skip(self._structs[SCALAR_TYPES[value_type]].size)
        elif value_type == STRING_TYPE:
            self.skip(self.count())
        elif value_type == ARRAY_TYPE:
            self._skip_array()
        else:
            raise _MalformedError(f"metadata of the unknown type {value_type}")

    def _skip_array(self) -> None:
        element_type, count = self.count("I"), self.count()
        if element_type == STRING_TYPE:
            self.skip_strings(count)
        elif element_type in SCALAR_TYPES:
            self.skip(count * self._structs[SCALAR_TYPES[element_type]].size)
        else:
            raise _MalformedError(f"an array of the element type {element_type} is not allowed")


def _read_header(path: Path) -> _Header:
    if path.stat().st_size < _SMALLEST_FILE_BYTES:  # and an empty file cannot be mapped
        raise UnsizableModelError(f"{path}: is too short for a GGUF file")
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _walk(data)
    except _MalformedError as error:
        raise UnsizableModelError(f"{path}: {error}") from None
    except (struct.error, OverflowError, IndexError):
        # What ``unpack_from`` raises past the end of the map, and for offsets past any map.
        raise UnsizableModelError(
            f"{path}: ends in the middle of its header (a download cut short?)"
        ) from None


def _walk(data: mmap.mmap) -> _Header:
    if data[:4] != b"GGUF":
        raise _MalformedError(f"is not a GGUF file: it begins with {data[:4]!r}, not b'GGUF'")
    # The version says the byte order: a small number read the wrong way round ends in zeros.
    order = "<" if struct.unpack_from("<I", data, 4)[0] & 0xFFFF else ">"
    cursor = _Cursor(data, order)
    version = cursor.count("I")
    if version not in (2, 3):
        raise _MalformedError(f"is GGUF version {version}; versions 2 and 3 are read")
    tensor_count, metadata_count = cursor.count(), cursor.count()
    if tensor_count > _MOST_TENSORS or metadata_count > _MOST_METADATA:
        raise _MalformedError(
            f"announces {tensor_count} tensors and {metadata_count} metadata: that is absurd"
        )
    texts, numbers = _walk_metadata(cursor, metadata_count)
    alignment = numbers.get("general.alignment", _DEFAULT_ALIGNMENT)
    if alignment < 1 or alignment & (alignment - 1):
        raise _MalformedError(f"its alignment of {alignment} is not a power of two")
    tensors = _walk_tensors(cursor, tensor_count)
    data_start = -(-cursor.position // alignment) * alignment
    for tensor in tensors.values():
        tensor.check_fits(len(data) - data_start)
    count = sum(tensor.elements for tensor in tensors.values())
    return _Header(count, frozenset(tensors), texts, numbers)


def _walk_metadata(cursor: _Cursor, count: int) -> tuple[dict[str, str], dict[str, int]]:
    texts: dict[str, str] = {}
    numbers: dict[str, int] = {}
    seen: set[str] = set()
    for _ in range(count):
        key = cursor.new_name(seen, "metadata")
        value_type = cursor.count("I")
        if key in _WANTED_TEXTS:
            if value_type != STRING_TYPE:
                raise _MalformedError(f"its {key} is not a text")
            texts[key] = cursor.text()
        elif key in _WANTED_NUMBERS:
            if SCALAR_TYPES.get(value_type, "f") in "fd?":
                raise _MalformedError(f"its {key} is not a whole number")
            numbers[key] = cursor.count(SCALAR_TYPES[value_type])
        else:
            cursor.skip_value(value_type)
    return texts, numbers


@dataclass(frozen=True)
class _Tensor:
    name: str
    elements: int
    row: int
    """Elements of the first dimension, which blocks divide."""
    type: int
    offset: int

    def check_fits(self, data_bytes: int) -> None:
        """Refuse a tensor that the file cannot hold."""
        block_elements, block_bytes = TENSOR_TYPES[self.type]
        if self.row % block_elements:
            raise _MalformedError(
                f"tensor {self.name!r} has rows of {self.row}, not of whole blocks"
            )
        size = -(-self.elements // block_elements) * block_bytes
        if self.offset + size > data_bytes:
            raise _MalformedError(
                f"tensor {self.name!r} ends {self.offset + size - data_bytes} bytes past the end "
                "of the file (a download cut short?)"
            )


def _walk_tensors(cursor: _Cursor, count: int) -> dict[str, _Tensor]:
    seen: set[str] = set()
    return {
        name: _read_tensor(cursor, name)
        for name in (cursor.new_name(seen, "tensors") for _ in range(count))
    }


def _read_tensor(cursor: _Cursor, name: str) -> _Tensor:
    dimension_count = cursor.count("I")
    if dimension_count > _MOST_DIMENSIONS:
        raise _MalformedError(f"tensor {name!r} has {dimension_count} dimensions")
    dimensions = [cursor.count() for _ in range(dimension_count)]
    elements = 1
    for dimension in dimensions:
        elements *= dimension
    if max(elements, *dimensions, 0) > _LARGEST_COUNT:
        raise _MalformedError(f"tensor {name!r} has absurd dimensions {dimensions}")
    tensor_type, offset = cursor.count("I"), cursor.count()
    if tensor_type not in TENSOR_TYPES:
        raise _MalformedError(
            f"tensor {name!r} is of ggml's type {tensor_type}, which this release does not know: "
            "newer than it, withdrawn, or no type at all"
        )
    return _Tensor(name, elements, dimensions[0] if dimensions else 1, tensor_type, offset)
