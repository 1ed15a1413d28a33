"""Writes small GGUF files, whole or wrong, after the format's own description."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

F32, F16, Q4_K, Q1_0 = 0, 1, 12, 41
U8, I8, U16, I16, U32, I32, FLOAT, BOOL, STRING, ARRAY, U64, I64, DOUBLE = range(13)
CODES = dict(
    zip((U8, I8, U16, I16, U32, I32, FLOAT, BOOL, U64, I64, DOUBLE), "BbHhIif?Qqd", strict=True)
)
"""Scalar type → its code in the ``struct`` module."""


@dataclass(frozen=True)
class Tensor:
    name: str
    dimensions: tuple[int, ...]
    type: int
    data_bytes: int
    """How long its data is made, right or wrong."""


@dataclass
class GgufFile:
    """A file to be: change what should be wrong, then write it."""

    tensors: list[Tensor] = field(default_factory=lambda: [Tensor("w", (4, 8), F32, 128)])
    metadata: list[tuple[str, int, object]] = field(
        default_factory=lambda: [("general.architecture", STRING, "llama")]
    )
    """Key, value type, value; an array's value is (element type, elements)."""
    version: int = 3
    order: str = "<"
    alignment: int = 32

    def write(self, path: Path) -> Path:
        path.write_bytes(self.content())
        return path

    def content(self) -> bytes:
        out = b"GGUF" + self.pack("I", self.version)
        out += self.pack("Q", len(self.tensors)) + self.pack("Q", len(self.metadata))
        for key, value_type, value in self.metadata:
            out += self.text(key) + self.pack("I", value_type) + self.value(value_type, value)
        offset = 0
        for tensor in self.tensors:
            out += self.text(tensor.name) + self.pack("I", len(tensor.dimensions))
            out += b"".join(self.pack("Q", dimension) for dimension in tensor.dimensions)
            out += self.pack("I", tensor.type) + self.pack("Q", offset)
            offset += self.padded(tensor.data_bytes)
        out += bytes(self.padded(len(out)) - len(out))
        return out + b"".join(bytes(self.padded(tensor.data_bytes)) for tensor in self.tensors)

    def padded(self, length: int) -> int:
        return -(-length // self.alignment) * self.alignment

    def pack(self, code: str, value: object) -> bytes:
        return struct.pack(self.order + code, value)

    def text(self, text: str) -> bytes:
        content = text.encode("utf-8", errors="surrogateescape")
        return self.pack("Q", len(content)) + content

    def value(self, value_type: int, value: object) -> bytes:
        if value_type == STRING:
            assert isinstance(value, str)
            return self.text(value)
        if value_type == ARRAY:
            assert isinstance(value, tuple)
            element_type, elements = value
            head = self.pack("I", element_type) + self.pack("Q", len(elements))
            return head + b"".join(self.value(element_type, element) for element in elements)
        return self.pack(CODES[value_type], value)
