from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def pulled(ollama: OllamaDouble) -> list[str]:
    return [each["body"]["model"] for each in ollama.requests if each["path"] == "/api/pull"]


def test_a_missing_model_is_fetched_and_run(either_way: Project, ollama: OllamaDouble) -> None:
    models = ("--models", "qwen2.5:0.5b,smollm2:135m")
    outcome = either_way.run("evals", *ONE_CELL, *models, "--pull")
    assert outcome.code == 0, outcome.text
    assert pulled(ollama) == ["smollm2:135m"]
    assert "tipbench: pulling smollm2:135m: " in outcome.text
    assert "tipbench: pulled smollm2:135m" in outcome.text
    assert [run.outcome for run in either_way.runs()] == ["ok", "ok"]
    again = either_way.run("evals", *ONE_CELL, *models, "--pull")
    assert again.code == 0, again.text
    assert len(pulled(ollama)) == 1


def test_without_it_the_command_that_mends_it_is_named(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--models", "smollm2:135m")
    outcome.assert_mistake("smollm2:135m is not installed", "ollama pull smollm2:135m")
    assert pulled(ollama) == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pull_breaks", "max retries exceeded: unexpected EOF"),
        ("pull_stops", "ended half-way"),
        ("busy", "server busy"),
    ],
)
def test_what_goes_wrong_amid_a_pull_is_told(
    either_way: Project, ollama: OllamaDouble, kind: str, said: str
) -> None:
    ollama.fail(kind, path="/api/pull")  # type: ignore[arg-type]  # one of the kinds
    outcome = either_way.run("evals", *ONE_CELL, "--models", "smollm2:135m", "--pull")
    outcome.assert_mistake("smollm2:135m", said, "could not be pulled; no item was run")
    assert ollama.completions() == []


def test_what_the_registry_does_not_have(ollama_project: Project, ollama: OllamaDouble) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "smolm2:135m", "--pull")
    outcome.assert_mistake("the registry has no model 'smolm2:135m'", "file does not exist")


def test_a_name_over_the_cap_is_not_fetched_nor_is_anything_beside_it(
    either_way: Project, ollama: OllamaDouble
) -> None:
    models = "smollm2:135m,qwen2.5:7b,gemma3n:e4b,gemma3:4b,gpt-oss:20b-cloud"
    outcome = either_way.run("evals", *ONE_CELL, "--models", models, "--pull")
    outcome.assert_mistake(
        "qwen2.5:7b: over the cap of 4B by its name (--max-model-b); it was not pulled",
        "gemma3n:e4b: over the cap",
        "gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap",  # installed: by its count
        "gpt-oss:20b-cloud: a cloud model",
        "4 models cannot be run; no item was run",
    )
    assert pulled(ollama) == []
    assert ollama.completions() == []


def test_a_model_that_turns_out_over_the_cap_is_not_run_and_is_on_disk(
    either_way: Project, ollama: OllamaDouble
) -> None:
    """``nemotron-mini`` says no size; it has 4.19 billion parameters."""
    outcome = either_way.run("evals", *ONE_CELL, "--models", "nemotron-mini", "--pull")
    outcome.assert_mistake(
        "nemotron-mini: 4.2B (4,190,000,000 parameters) is over the cap of 4B",
        "it was pulled and is on disk, remove it with: ollama rm nemotron-mini",
    )
    assert pulled(ollama) == ["nemotron-mini"]
    assert ollama.completions() == []
    assert ollama.events == []


def test_a_higher_cap_lets_the_name_through(ollama_project: Project, ollama: OllamaDouble) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", "qwen2.5:7b", "--pull", "--max-model-b", "8"
    )
    assert outcome.code == 0, outcome.text
    assert pulled(ollama) == ["qwen2.5:7b"]


def test_a_model_that_another_host_has_is_not_fetched(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    with OllamaDouble(["smollm2:135m"]) as other:
        outcome = ollama_project.run(
            "evals",
            *(*ONE_CELL, "--models", "qwen2.5:0.5b,smollm2:135m", "--pull"),
            *("--ollama-host", ollama.url, "--ollama-host", other.url),
        )
        assert outcome.code == 0, outcome.text
        assert pulled(ollama) == pulled(other) == []
        assert [each["model"] for each in other.completions()] == ["smollm2:135m"]


def test_nothing_is_fetched_where_nothing_is_run(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    models = ("--models", "smollm2:135m", "--pull")
    assert ollama_project.run("evals", *models, "--collect-only", "-q").code == 0
    assert ollama_project.run("evals", *models, "-k", "nothing").code == 5
    assert ollama.requests == []
    outcome = ollama_project.run("evals", *ONE_CELL, *models, "--ollama-host", NOBODY)
    outcome.assert_mistake("no Ollama server answers at http://127.0.0.1:9")
