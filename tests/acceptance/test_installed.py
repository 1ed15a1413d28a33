"""``--models installed`` and globs stand for what is installed and may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.ollama_double import DEFAULT_INSTALLED

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

WITHIN_CAP = [name for name in reversed(DEFAULT_INSTALLED) if name != "gemma3:4b"]
"""As ``/api/tags`` lists them: the newest first."""


def models_of(text: str) -> list[str]:
    """Return the models of the cells that ``--collect-only -q`` lists."""
    lines = [line for line in text.splitlines() if "[" in line and "::" in line]
    return list(dict.fromkeys(line.partition("[")[2].partition("-v1-")[0] for line in lines))


def test_installed_is_every_model_that_the_cap_admits(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.install("pocket-writer:latest")
    outcome = either_way.run("evals", *ONE_CELL, "--models", "installed")
    assert outcome.code == 0, outcome.text
    assert [each["model"] for each in ollama.completions()] == WITHIN_CAP
    assert ollama.max_resident_together() == 1
    assert "matrix: 6 models × 1 prompt × 1 scenario = 6 cells" in outcome.text
    assert "left out: gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap" in outcome.text
    assert "left out: pocket-writer:latest: " in outcome.text
    assert not any(event.kind == "cloud" for event in ollama.events)


def test_a_glob_is_the_installed_models_that_match(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--models", "llama3.2:1b,qwen2.5*,*:1B")
    assert outcome.code == 0, outcome.text
    expected = ["llama3.2:1b", "qwen2.5:1.5b", "qwen2.5:0.5b", "gemma3:1b"]
    assert [each["model"] for each in ollama.completions()] == expected


def test_the_ini_takes_them_too(ollama_project: Project) -> None:
    ollama_project.write_configuration(tipbench_models="qwen3:*")
    outcome = ollama_project.run("evals", *ONE_CELL, "--collect-only", "-q")
    assert models_of(outcome.text) == ["qwen3:4b", "qwen3:0.6b"]


def test_a_higher_cap_admits_more(ollama_project: Project) -> None:
    arguments = (*ONE_CELL, "--models", "gemma3:*", "--collect-only", "-q")
    assert models_of(ollama_project.run("evals", *arguments).text) == ["gemma3:1b"]
    more = ollama_project.run("evals", *arguments, "--max-model-b", "4.3")
    assert models_of(more.text) == ["gemma3:4b", "gemma3:1b"]


def test_two_names_of_one_model_are_one_model(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.install({"name": "my-qwen", "alias_of": "qwen2.5:0.5b"})
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "*qwen*:latest,qwen2.5:0.5b")
    assert outcome.code in (0, 4), outcome.text
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "qwen2.5:0.5b,*qwen")
    assert outcome.code == 0, outcome.text
    assert "left out: my-qwen:latest: another name of qwen2.5:0.5b" in outcome.text


def test_they_are_asked_for_once_on_the_controller(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "installed", "-k", "nothing")
    assert outcome.code == 5, outcome.text
    asked = [each["path"] for each in ollama.requests if each["path"] == "/api/show"]
    assert len(asked) == len(DEFAULT_INSTALLED)


def test_a_glob_that_matches_nothing_is_a_mistake(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--models", "qwen9*")
    outcome.assert_mistake("unknown installed model 'qwen9*'", "qwen")


def test_all_of_them_over_the_cap_is_a_mistake(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--models", "gemma3:4*")
    outcome.assert_mistake(
        "--models gemma3:4*: no installed model that it means can be run", "4,299,915,632"
    )


def test_nothing_installed_and_nobody_there_are_mistakes(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    for name in DEFAULT_INSTALLED:
        ollama.remove(name)
    arguments = ("evals", *ONE_CELL, "--models", "installed")
    ollama_project.run(*arguments).assert_mistake("no model is installed", "ollama pull")
    outcome = ollama_project.run(*arguments, "--ollama-host", NOBODY)
    outcome.assert_mistake("no Ollama server answers at http://127.0.0.1:9")
