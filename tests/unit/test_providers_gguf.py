from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tipbench.errors import ModelMissingError, UnsizableModelError
from pytest_tipbench.providers.gguf import read_gguf
from tests.gguf_files import (
    ARRAY,
    BOOL,
    CODES,
    F16,
    F32,
    FLOAT,
    I32,
    Q4_K,
    STRING,
    U16,
    U32,
    U64,
    GgufFile,
    Tensor,
)

if TYPE_CHECKING:
    from pathlib import Path

MILLISECONDS_ALLOWED = 1_000
"""For a refusal, on a busy machine; the real ones take a few."""
BYTES_ALLOWED = 8 * 2**20

KNOWN_TYPES = [*range(4), *range(6, 31), 34, 35, *range(39, 43)]
"""``enum ggml_type`` of https://github.com/ggml-org/ggml/blob/master/include/ggml.h."""


def refusal(path: Path) -> str:
    """Return why the file is refused, within little time and memory."""
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(UnsizableModelError) as caught:
        read_gguf(path)
    milliseconds = (time.perf_counter() - started) * 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert milliseconds < MILLISECONDS_ALLOWED
    assert peak < BYTES_ALLOWED
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_counts_the_elements_of_all_tensors(tmp_path: Path, version: int, order: str) -> None:
    file = GgufFile(
        version=version,
        order=order,
        tensors=[
            Tensor("embedding", (4, 8), F32, 4 * 8 * 4),
            Tensor("experts", (256, 2, 3), Q4_K, 256 * 2 * 3 // 256 * 144),
            Tensor("scale", (), F32, 4),
            Tensor("norm", (5,), F16, 10),
        ],
        metadata=[
            ("general.architecture", STRING, "qwen2"),
            ("general.name", STRING, "Größe ☃"),
            ("general.file_type", U32, 15),
        ],
    )
    model = read_gguf(file.write(tmp_path / "m.gguf"))
    assert model.parameter_count == 4 * 8 + 256 * 2 * 3 + 1 + 5
    assert model.architecture == "qwen2"
    assert model.name == "Größe ☃"
    assert model.quantization == "Q4_K_M"
    assert model.paths == (tmp_path / "m.gguf",)


def test_steps_over_metadata_of_every_type(tmp_path: Path) -> None:
    scalars: list[tuple[str, int, object]] = [
        (f"scalar.{value_type}", value_type, value_type == BOOL or 1) for value_type in CODES
    ]
    arrays: list[tuple[str, int, object]] = [
        (f"array.{value_type}", ARRAY, (value_type, [1, 0, 1])) for value_type in CODES
    ]
    texts: list[tuple[str, int, object]] = [
        ("a.text", STRING, "skipped"),
        ("tokenizer.ggml.tokens", ARRAY, (STRING, ["", "a", "ß" * 300])),
        ("empty", ARRAY, (STRING, [])),
        ("general.architecture", STRING, "after them all"),
    ]
    file = GgufFile(metadata=[*scalars, *arrays, *texts])
    model = read_gguf(file.write(tmp_path / "m.gguf"))
    assert model.architecture == "after them all"
    assert model.parameter_count == 32


def test_says_nothing_that_the_file_does_not(tmp_path: Path) -> None:
    model = read_gguf(GgufFile().write(tmp_path / "m.gguf"))
    assert (model.architecture, model.quantization, model.name) == ("llama", None, None)


@pytest.mark.parametrize(
    ("file_type", "name"),
    [(0, "F32"), (1, "F16"), (7, "Q8_0"), (15, "Q4_K_M"), (1024 + 15, "Q4_K_M"), (32, "BF16")],
)
def test_names_the_quantization_as_llama_cpp_does(
    tmp_path: Path, file_type: int, name: str
) -> None:
    file = GgufFile()
    file.metadata.append(("general.file_type", U32, file_type))
    assert read_gguf(file.write(tmp_path / "m.gguf")).quantization == name


def test_an_unknown_file_type_keeps_its_number(tmp_path: Path) -> None:
    file = GgufFile()
    file.metadata.append(("general.file_type", U32, 999))
    assert read_gguf(file.write(tmp_path / "m.gguf")).quantization == "file type 999"


def test_obeys_another_alignment(tmp_path: Path) -> None:
    file = GgufFile(
        alignment=4096,
        metadata=[("general.architecture", STRING, "llama"), ("general.alignment", U32, 4096)],
        tensors=[Tensor("a", (4,), F32, 16), Tensor("b", (8,), F32, 32)],
    )
    assert read_gguf(file.write(tmp_path / "m.gguf")).parameter_count == 12


@pytest.mark.parametrize("tensor_type", KNOWN_TYPES)
def test_counts_tensors_of_every_type_that_ggml_defines(tmp_path: Path, tensor_type: int) -> None:
    # 256 elements are whole blocks of every type, and 8 bytes an element are the largest.
    file = GgufFile(tensors=[Tensor("w", (256,), tensor_type, 256 * 8)])
    assert read_gguf(file.write(tmp_path / "m.gguf")).parameter_count == 256


@pytest.mark.parametrize("tensor_type", [4, 5, 31, 33, 36, 38, 43, 99, 142, 2**32 - 1])
def test_refuses_a_type_that_ggml_does_not_define(tmp_path: Path, tensor_type: int) -> None:
    """Withdrawn ones are among them: llama.cpp loads none of these."""
    file = GgufFile(tensors=[Tensor("w", (256,), tensor_type, 256 * 8)])
    reason = refusal(file.write(tmp_path / "m.gguf"))
    assert f"tensor 'w' is of ggml's type {tensor_type}, which this release does not know" in reason


# --- files that are no models -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "too short"),
        (b"GGUF\x03\x00\x00\x00", "too short"),
        (b"hello, I am a text file", "too short"),
        (b"<!DOCTYPE html><html>not found</html>", "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
        (b"GGUF" + struct.pack(">IQQ", 4, 0, 0), "version 4"),
        (b"GGUF" + struct.pack("<IQQ", 0, 0, 0), "version 0"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "absurd"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**64 - 1), "absurd"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), "in the middle of its header"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 1) + b"key", "absurd"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1_000) + b"key", "in the middle"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no general.architecture"),
    ],
)
def test_refuses_what_is_not_a_model(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert reason in refusal(path)


def with_value(value_type: int, rest: bytes) -> bytes:
    """Return a file with one metadata whose value is given as bytes."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    return head + struct.pack("<Q", 1) + b"k" + struct.pack("<I", value_type) + rest


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_value(13, b""), "unknown type 13"),
        (with_value(STRING, struct.pack("<Q", 2**63)), "in the middle"),
        (with_value(ARRAY, struct.pack("<IQ", ARRAY, 1)), "element type 9 is not allowed"),
        (with_value(ARRAY, struct.pack("<IQ", 77, 1)), "element type 77 is not allowed"),
        (with_value(ARRAY, struct.pack("<IQ", U64, 2**64 - 1)), "in the middle"),
        (with_value(ARRAY, struct.pack("<IQ", STRING, 2**64 - 1)), "are absurd"),
        (with_value(ARRAY, struct.pack("<IQ", STRING, 3)), "in the middle"),
        (with_value(ARRAY, struct.pack("<IQQ", STRING, 2, 2**63)), "in the middle"),
        (with_value(ARRAY, struct.pack("<IQQ", STRING, 1, 2**64 - 1)), "in the middle"),
    ],
)
def test_refuses_metadata_that_the_file_cannot_hold(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_millions_of_empty_texts_cost_little(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(with_value(ARRAY, struct.pack("<IQ", STRING, 2**24)))
        file.truncate(2**28)  # sparse: zeros, that is, 2**25 empty texts
    assert "are absurd" in refusal(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([("general.architecture", U32, 7)], "general.architecture is not a text"),
        ([("general.file_type", STRING, "Q4")], "general.file_type is not a whole number"),
        ([("general.alignment", FLOAT, 32.0)], "general.alignment is not a whole number"),
        ([("general.alignment", U32, 0)], "not a power of two"),
        ([("general.alignment", U32, 48)], "not a power of two"),
        ([("general.alignment", I32, -32)], "not a power of two"),
        ([("general.name", STRING, "a"), ("general.name", STRING, "b")], "'general.name' twice"),
        ([("a.key", U32, 1), ("b.key", U32, 1), ("a.key", STRING, "")], "metadata 'a.key' twice"),
        ([("", U32, 1)], "has metadata without a name"),
        ([], "it has no general.architecture"),
        ([("general.architecture", STRING, "")], "it has no general.architecture"),
        ([("general.name", STRING, "llama")], "it has no general.architecture"),
        ([("general.type", STRING, "adapter")], "its general.type is 'adapter'"),
        ([("general.type", STRING, "mmproj")], "its general.type is 'mmproj'"),
        ([("general.architecture", STRING, "clip")], "its general.type is 'mmproj'"),
    ],
)
def test_refuses_metadata_that_make_no_sense(
    tmp_path: Path, metadata: list[tuple[str, int, object]], reason: str
) -> None:
    assert reason in refusal(GgufFile(metadata=metadata).write(tmp_path / "m.gguf"))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "holds no weights"),
        ([""], "has tensors without a name"),
        (["a", "b", "a"], "has tensors 'a' twice"),
    ],
)
def test_refuses_tensors_that_no_model_has(tmp_path: Path, names: list[str], reason: str) -> None:
    file = GgufFile(tensors=[Tensor(name, (8,), F32, 32) for name in names])
    assert reason in refusal(file.write(tmp_path / "m.gguf"))


def test_thousands_of_nothings_are_no_model(tmp_path: Path) -> None:
    """As many metadata and tensors as are read at all, every one of them zeros."""
    path = tmp_path / "m.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 2**16, 2**16))
        file.truncate(2**24)
    assert "has metadata without a name" in refusal(path)


def test_names_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    names = [f"{number:05}".ljust(2**15, ".") for number in range(2**8 + 1)]  # 2**23 bytes and more
    file = GgufFile(metadata=[(name, U32, 0) for name in names])
    path = file.write(tmp_path / "m.gguf")
    with pytest.raises(UnsizableModelError, match="bytes are absurd"):
        read_gguf(path)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (Tensor("w", (1, 1, 1, 1, 1), F32, 4), "has 5 dimensions"),
        (Tensor("w", (2**62, 4), F32, 4), "absurd dimensions"),
        (Tensor("w", (2**63, 0), F32, 4), "absurd dimensions"),
        (Tensor("w", (2**63 - 1,), F32, 4), "past the end"),
        (Tensor("w", (100,), Q4_K, 144), "not of whole blocks"),
        (Tensor("w", (9,), F32, 32), "ends 4 bytes past the end"),
    ],
)
def test_refuses_a_tensor_that_the_file_cannot_hold(
    tmp_path: Path, tensor: Tensor, reason: str
) -> None:
    path = GgufFile(tensors=[tensor]).write(tmp_path / "m.gguf")
    assert reason in refusal(path)


def test_refuses_an_offset_past_the_end(tmp_path: Path) -> None:
    content = bytearray(GgufFile().content())
    offset_at = content.rindex(b"w") + 1 + 4 + 2 * 8 + 4
    content[offset_at : offset_at + 8] = struct.pack("<Q", 2**64 - 1)
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert "past the end" in refusal(path)


def test_refuses_a_download_cut_short_in_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GgufFile().content()[:-1])
    assert "ends 1 bytes past the end of the file (a download cut short?)" in refusal(path)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_gguf(tmp_path / "none.gguf")


WHOLE = GgufFile(
    metadata=[
        ("general.architecture", STRING, "llama"),
        ("tokens", ARRAY, (STRING, ["a", "bb", "ccc"])),
        ("general.file_type", U32, 15),
    ]
).content()


@given(length=st.integers(0, len(WHOLE) - 1))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_way_to_cut_a_file_short_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(WHOLE[:length])
    refusal(path)


@given(position=st.integers(4, len(WHOLE) - 129), value=st.integers(0, 255))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_read_or_refused(tmp_path: Path, position: int, value: int) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :])
    with contextlib.suppress(UnsizableModelError):
        # The file has room for 32 numbers of 4 bytes; the smallest type packs 8 into a byte.
        assert 0 < read_gguf(path).parameter_count <= 32 * 4 * 8


# --- split files ------------------------------------------------------------------------------


def part(number: int, count: int, elements: int) -> GgufFile:
    """Return a part as ``gguf-split`` makes it: only the first says what model it is."""
    return GgufFile(
        metadata=[
            *([] if number else [("general.architecture", STRING, "llama")]),
            ("split.no", U16, number),
            ("split.count", U16, count),
            ("split.tensors.count", I32, count),
        ],
        tensors=[Tensor(f"w{number}", (elements,), F32, elements * 4)],
    )


def write_parts(folder: Path, elements: list[int]) -> list[Path]:
    count = len(elements)
    return [
        part(number, count, each).write(folder / f"big-{number + 1:05}-of-{count:05}.gguf")
        for number, each in enumerate(elements)
    ]


def test_sums_all_parts_of_a_split_model(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16, 32])
    model = read_gguf(paths[0])
    assert model.parameter_count == 8 + 16 + 32
    assert model.paths == tuple(paths)


def test_names_the_part_that_is_missing(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16, 32])
    paths[1].unlink()
    with pytest.raises(ModelMissingError, match=r"part 2 of 3 is missing: .*big-00002-of-00003"):
        read_gguf(paths[0])


def test_a_later_part_names_the_first(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16])
    assert "name big-00001-of-00002.gguf instead" in refusal(paths[1])


def test_a_renamed_part_is_refused(tmp_path: Path) -> None:
    renamed = write_parts(tmp_path, [8, 16])[0].rename(tmp_path / "big.gguf")
    assert "is one of 2 parts" in refusal(renamed)


def test_parts_of_two_models_are_refused(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16])
    part(1, 3, 16).write(paths[1])
    with pytest.raises(UnsizableModelError, match="parts of two models are mixed"):
        read_gguf(paths[0])


def test_a_tensor_missing_from_the_parts_is_noticed(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16])
    file = part(1, 2, 16)
    file.tensors.append(Tensor("extra", (1,), F32, 4))
    file.write(paths[1])
    assert "hold 3 tensors together, not the 2" in refusal(paths[0])


def test_a_tensor_that_two_parts_hold_is_noticed(tmp_path: Path) -> None:
    paths = write_parts(tmp_path, [8, 16])
    file = part(1, 2, 16)
    file.tensors = part(0, 2, 16).tensors
    file.write(paths[1])
    assert "two of its parts hold a tensor of the same name" in refusal(paths[0])
