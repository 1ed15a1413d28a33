"""Everything that keeps models from running is told at once, by the controller, before any item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def test_all_of_it_in_one_message(either_way: Project, ollama: OllamaDouble) -> None:
    for name in (
        "shards:latest",
        "label-only:latest",
        "pocket-writer:latest",
        "tiny-vision:latest",
    ):
        ollama.install(name)
    ollama.install({"name": "my-qwen", "alias_of": "qwen2.5:0.5b"})
    models = (
        *("qwen2.5:0.5b", "qwen3:4b", "gemma3:4b", "tiny-vision", "shards", "label-only"),
        *("pocket-writer", "gpt-oss:20b-cloud", "nope:1b", "my-qwen", "llamacpp/none.gguf"),
    )
    outcome = either_way.run("evals", *ONE_CELL, "--models", ",".join(models))
    outcome.assert_mistake(
        "9 models cannot be run; no item was run",
        "gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B (--max-model-b)",
        "tiny-vision: 4.2B (4,200,000,000 parameters) is over the cap",
        "shards: ",
        "safetensors",
        "label-only: ",
        "pocket-writer: ",
        "gpt-oss:20b-cloud: a cloud model",
        "nope:1b is not installed",
        "mend it with: ollama pull nope:1b",
        "my-qwen: the same model as qwen2.5:0.5b",
        "llamacpp/none.gguf: ",
    )
    assert "qwen3:4b:" not in outcome.words  # 4.02 is 4.0, as Ollama prints it
    assert outcome.text.count("cannot be run") == 1
    assert ollama.events == []
    assert ollama.completions() == []
    assert not either_way.ledger_path.exists()


def test_a_server_that_is_away_is_told_once_beside_the_rest(either_way: Project) -> None:
    outcome = either_way.run(
        "evals",
        *(*ONE_CELL, "--models", "qwen2.5:0.5b,gemma3:1b,llamacpp/none.gguf"),
        *("--ollama-host", NOBODY),
    )
    outcome.assert_mistake(
        "3 models cannot be run",
        "no Ollama server answers at http://127.0.0.1:9",
        "(needed by qwen2.5:0.5b, gemma3:1b)",
        "llamacpp/none.gguf",
    )
    assert outcome.text.count("no Ollama server answers") == 1


@pytest.mark.parametrize("arguments", [("--collect-only", "-q"), ("-k", "nothing")])
def test_where_nothing_is_run_no_server_is_asked(
    either_way: Project, ollama: OllamaDouble, arguments: tuple[str, ...]
) -> None:
    outcome = either_way.run("evals", "--models", "gemma3:4b,nope:1b", *arguments)
    assert outcome.code == (0 if "-q" in arguments else 5), outcome.text
    assert ollama.requests == []


def test_a_host_of_two_that_is_away_is_told(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--ollama-host", ollama.url, "--ollama-host", NOBODY
    )
    outcome.assert_mistake("no Ollama server answers at http://127.0.0.1:9")
    assert ollama.completions() == []


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_a_server_that_unloads_slowly_and_stumbles(
    ollama_project: Project, workers: tuple[str, ...]
) -> None:
    """``ps`` blocks up to 5 s while memory is reclaimed, and answers 500 once amid an unload."""
    ollama_project.workers = workers
    with OllamaDouble(unload_seconds=5.5, ps_block_seconds=5.0) as ollama:
        ollama.fail("error", path="/api/ps", nth=2)
        outcome = ollama_project.run(
            "evals",
            *(*ONE_CELL, "--models", "qwen2.5:0.5b,llama3.2:1b", "--ollama-host", ollama.url),
        )
        assert outcome.code == 0, outcome.text
        assert ollama.max_resident_together() == 1
        assert ollama.resident() == []
        assert list(ollama.loads().values()) == [1, 1]
    assert "PROBLEM" not in outcome.text
    assert "models resident together: 1" in outcome.text
