from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests import llamacpp_stand_in
from tests.acceptance.conftest import ONE_CELL
from tests.gguf_files import F32, I32, Q1_0, STRING, U16, GgufFile, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def test_a_model_over_the_cap_runs_nothing(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--max-model-b", "0.4")
    outcome.assert_mistake("qwen2.5:0.5b", "494,032,768 parameters", "over the cap of 0.4B")
    assert ollama.completions() == []


def test_the_count_is_rounded_to_a_decimal_as_ollama_prints_it(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """4,022,468,096 parameters are 4.0 billions: within the default cap of 4."""
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "qwen3:4b")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1


def test_a_higher_cap_is_a_choice_in_plain_sight(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "gemma3:4b", "--max-model-b", "5")
    assert outcome.code == 0, outcome.text
    assert "cap: 5B parameters" in outcome.text
    assert len(ollama.completions()) == 1


def test_a_projector_counts(ollama_project: Project, ollama: OllamaDouble) -> None:
    """3.9 and 0.3 billions are 4.2."""
    ollama.install("tiny-vision:latest")
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "tiny-vision")
    outcome.assert_mistake("tiny-vision", "4.2B")


def test_what_cannot_be_sized_is_refused_by_name_all_in_one_message(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    for name in ("shards:latest", "label-only:latest", "pocket-writer:latest"):
        ollama.install(name)
    names = ("shards", "label-only", "pocket-writer", "gpt-oss:20b-cloud")
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", ",".join(names), "--max-model-b", "1000"
    )
    outcome.assert_mistake(*names, "safetensors")
    assert ollama.completions() == []
    assert not any(event.kind == "cloud" for event in ollama.events)


def test_only_models_of_selected_cells_are_held_against_the_cap(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", "qwen2.5:0.5b,gemma3:4b", "-k", "not gemma3"
    )
    assert outcome.code == 0, outcome.text


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "4B"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--max-model-b", value).assert_mistake("--max-model-b", value)


# --- GGUF files -----------------------------------------------------------------------------------


@pytest.fixture
def with_llamacpp(either_way: Project, tmp_path: Path) -> Project:
    """A project that llama.cpp can run models in, with a cache of its own."""
    llamacpp_stand_in.install(either_way.environment, tmp_path)
    either_way.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    return either_way


def write_sparse(path: Path, parameter_count: int) -> None:
    """Write a whole model of that size, whose weights take no room on the disk."""
    GgufFile(tensors=[Tensor("w", (parameter_count,), Q1_0, 0)]).write(path)
    os.truncate(path, path.stat().st_size + parameter_count // 128 * 18)


def write_parts(folder: Path, sizes: Sequence[int]) -> None:
    """Write a model in parts, each of one tensor with so many parameters."""
    for number, size in enumerate(sizes):
        path = folder / f"split-{number + 1:05}-of-{len(sizes):05}.gguf"
        GgufFile(
            metadata=[
                *([] if number else [("general.architecture", STRING, "llama")]),
                ("split.no", U16, number),
                ("split.count", U16, len(sizes)),
                ("split.tensors.count", I32, len(sizes)),
            ],
            tensors=[Tensor(f"w{number}", (size,), Q1_0, 0)],
        ).write(path)
        os.truncate(path, path.stat().st_size + size // 128 * 18)


def test_every_file_that_is_no_whole_model_is_refused_in_one_message(
    with_llamacpp: Project, ollama: OllamaDouble
) -> None:
    root = with_llamacpp.root
    whole = GgufFile().content()
    (root / "truncated.gguf").write_bytes(whole[:-1])
    (root / "headless.gguf").write_bytes(whole[:60])
    (root / "fake.gguf").write_text("I am a text, whatever my name says", encoding="ascii")
    with (root / "hostile.gguf").open("wb") as hostile:
        hostile.write(b"GGUF" + struct.pack("<IQQ", 3, 2**16, 2**16))
        hostile.truncate(2**24)  # as many keys and tensors as announced, all of them nothing
    GgufFile(metadata=[]).write(root / "nobody.gguf")
    GgufFile(tensors=[Tensor("w", (8,), 99, 64)]).write(root / "unknown.gguf")
    GgufFile(tensors=[Tensor("w", (8,), F32, 32)] * 2).write(root / "twice.gguf")
    (root / "folder.gguf").mkdir()
    reasons = {
        "truncated": "bytes past the end of the file (a download cut short?)",
        "headless": "ends in the middle of its header",
        "fake": "is not a GGUF file",
        "hostile": "has metadata without a name",
        "nobody": "it has no general.architecture",
        "unknown": "is of ggml's type 99, which this release does not know",
        "twice": "has tensors 'w' twice",
        "folder": "neither the embedded model nor a .gguf file",
    }
    models = ",".join(["qwen2.5:0.5b", *(f"llamacpp/{name}.gguf" for name in reasons)])
    outcome = with_llamacpp.run("evals", *ONE_CELL, "--models", models)
    outcome.assert_mistake(
        "8 models cannot be run; no item was run",
        *(f"{name}.gguf" for name in reasons),
        *reasons.values(),
    )
    assert ollama.completions() == []


def test_a_file_over_the_cap_is_refused_before_any_weights_are_read(
    with_llamacpp: Project, ollama: OllamaDouble, tmp_path: Path
) -> None:
    """A hash of gigabytes takes seconds; each that was made is kept in the cache."""
    write_sparse(with_llamacpp.root / "large.gguf", 5_000_000_000)
    GgufFile().write(with_llamacpp.root / "tiny.gguf")
    models = "gemma3:4b,llamacpp/tiny.gguf,llamacpp/large.gguf"
    outcome = with_llamacpp.run("evals", *ONE_CELL, "--models", models)
    outcome.assert_mistake(
        "2 models cannot be run; no item was run",
        "gemma3:4b: 4.3B",
        "llamacpp/large.gguf: 5.0B (5,000,000,000 parameters) is over the cap of 4B",
    )
    assert "reading llamacpp/" not in outcome.text
    assert not (tmp_path / "cache/pytest-tipbench/sha256").exists()


def test_nor_is_it_read_before_a_pull(
    with_llamacpp: Project, ollama: OllamaDouble, tmp_path: Path
) -> None:
    write_sparse(with_llamacpp.root / "large.gguf", 5_000_000_000)
    models = "llama3.2:1b,llamacpp/large.gguf"
    outcome = with_llamacpp.run("evals", *ONE_CELL, "--pull", "--models", models)
    outcome.assert_mistake("1 model cannot be run", "llamacpp/large.gguf: 5.0B")
    assert not (tmp_path / "cache/pytest-tipbench/sha256").exists()


def test_a_large_file_that_is_admitted_is_said_to_be_read(
    with_llamacpp: Project,
) -> None:
    """7,680,000,000 / 128 × 18 = 1,080,000,000 bytes, which the second session knows already."""
    write_sparse(with_llamacpp.root / "large.gguf", 7_680_000_000)
    arguments = ("evals", *ONE_CELL, "--models", "llamacpp/large.gguf", "--max-model-b", "8")
    outcome = with_llamacpp.run(*arguments)
    assert outcome.code == 0, outcome.text
    assert "tipbench: reading llamacpp/large.gguf whole, 1.1 GB, to know it" in outcome.words
    assert "reading llamacpp/" not in with_llamacpp.run(*arguments).text


def test_a_split_file_is_held_against_the_cap_by_the_sum_of_its_parts(
    with_llamacpp: Project,
) -> None:
    write_parts(with_llamacpp.root, [256_000_000, 256_000_000, 256_000_000])
    model = ("--models", "llamacpp/split-00001-of-00003.gguf")
    outcome = with_llamacpp.run("evals", *ONE_CELL, *model, "--max-model-b", "0.7")
    outcome.assert_mistake("768,000,000 parameters", "over the cap of 0.7B")
    outcome = with_llamacpp.run("evals", *ONE_CELL, *model, "--max-model-b", "0.8")
    assert outcome.code == 0, outcome.text
    (run,) = with_llamacpp.runs()
    assert run.model is not None
    assert run.model.parameter_count == 768_000_000


def test_a_split_file_that_lacks_a_part_is_refused(with_llamacpp: Project) -> None:
    write_parts(with_llamacpp.root, [128, 128])
    (with_llamacpp.root / "split-00002-of-00002.gguf").unlink()
    outcome = with_llamacpp.run(
        "evals", *ONE_CELL, "--models", "llamacpp/split-00001-of-00002.gguf"
    )
    outcome.assert_mistake("part 2 of 2 is missing", "split-00002-of-00002.gguf")
