"""A resumed session runs a cell again when what went into it changed, and says which part did."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL
from tests.ollama_double.models import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_CELLS = ("--prompts", "v1,v2-mentor", "--scenarios", "maya-morning-deadline")


def resumed(project: Project, *arguments: str) -> list[str]:
    """Resume; return what the summary says of it."""
    outcome = project.run("evals", *arguments, "--resume")
    assert outcome.code in (0, 1), outcome.text
    return [line for line in outcome.text.splitlines() if line.startswith("resume: ")]


def change_prompt(project: Project) -> None:
    path = project.root / "evals/prompts/v1.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nBe brief.\n", encoding="utf-8")


def change_scenario(project: Project) -> None:
    project.edit("evals/scenarios.toml", 'name = "Maya Okafor"', 'name = "Maja Okafor"')


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_prompt, "prompt text changed (v1)"),
        (change_scenario, "scenario changed (maya-morning-deadline)"),
    ],
    ids=["prompt", "scenario"],
)
def test_a_changed_file(
    ollama_project: Project,
    ollama: OllamaDouble,
    change: Callable[[Project], None],
    said: str,
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    change(ollama_project)
    assert resumed(ollama_project, *ONE_CELL) == [
        "resume: 0 cells from the store, 1 generated",
        f"resume: 1 cell run again: {said}",
    ]
    assert len(ollama.completions()) == 2


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--seed", "7"), "seed changed (20260427 to 7)"),
        (("--temperature", "0"), "temperature changed (0.7 to 0.0)"),
        (("--num-ctx", "2048"), "num_ctx changed (4096 to 2048)"),
        (("--num-predict", "512"), "num_predict changed (1024 to 512)"),
        (("--n-tips", "3"), "n_tips changed (5 to 3)"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_changed_option(
    ollama_project: Project, ollama: OllamaDouble, option: tuple[str, ...], said: str
) -> None:
    ollama_project.run("evals", *ONE_CELL)
    assert f"resume: 1 cell run again: {said}" in resumed(ollama_project, *ONE_CELL, *option)
    assert len(ollama.completions()) == 2
    # Back to the former value: its run is still there.
    assert resumed(ollama_project, *ONE_CELL) == ["resume: 1 cell from the store, 0 generated"]
    assert len(ollama.completions()) == 2


def test_a_changed_model_digest(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama_project.run("evals", *ONE_CELL)
    ollama.install(dataclasses.replace(CATALOGUE["qwen2.5:0.5b"], digest="ab" * 32))
    assert "resume: 1 cell run again: model digest changed (qwen2.5:0.5b)" in resumed(
        ollama_project, *ONE_CELL
    )
    assert len(ollama.completions()) == 2


def test_several_changes_are_named_together_and_cells_grouped(ollama_project: Project) -> None:
    ollama_project.run("evals", *TWO_CELLS)
    change_prompt(ollama_project)
    lines = resumed(ollama_project, *TWO_CELLS, "--seed", "3")
    assert "resume: 1 cell run again: prompt text changed (v1), seed changed (20260427 to 3)" in (
        lines
    )
    assert "resume: 1 cell run again: seed changed (20260427 to 3)" in lines


def test_a_new_cell_is_no_changed_one(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama_project.run("evals", *ONE_CELL)
    assert resumed(ollama_project, *TWO_CELLS) == [
        "resume: 1 cell from the store, 1 generated",
        "resume: 1 cell run for the first time",
    ]
    assert len(ollama.completions()) == 2


def test_repeats_are_cells_of_their_own(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama_project.run("evals", *ONE_CELL)
    assert "resume: 2 cells run for the first time" in resumed(
        ollama_project, *ONE_CELL, "--repeats", "3"
    )
    assert len(ollama.completions()) == 3
    # One base seed for all: one reason.
    assert "resume: 3 cells run again: seed changed (20260427 to 90)" in resumed(
        ollama_project, *ONE_CELL, "--repeats", "3", "--seed", "90"
    )


@pytest.mark.parametrize("fault", ["out_of_memory", "runner_died", "error"])
def test_machine_errors_are_tried_again(
    ollama_project: Project, ollama: OllamaDouble, fault: str
) -> None:
    ollama.fail("error" if fault == "error" else fault, text="")  # type: ignore[arg-type]  # a kind
    assert ollama_project.run("evals", *ONE_CELL).code == 1
    assert resumed(ollama_project, *ONE_CELL) == [
        "resume: 0 cells from the store, 1 generated",
        "resume: 1 cell run again: not measured before (provider_error)",
    ]
    assert [run.outcome.value for run in ollama_project.runs()] == ["provider_error", "ok"]


def test_a_timeout_is_tried_again(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("hang")
    ollama_project.run("evals", *ONE_CELL, "--completion-timeout", "0.5")
    assert [run.outcome.value for run in ollama_project.runs()] == ["timeout"]
    assert "resume: 1 cell run again: not measured before (timeout)" in resumed(
        ollama_project, *ONE_CELL
    )


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"tips": []}', "malformed"),
        ("   ", "empty"),
        ("I'm sorry, but I can't help with that.", "refused"),
    ],
)
def test_a_models_own_failure_is_not_tried_again(
    ollama_project: Project, ollama: OllamaDouble, text: str, outcome: str
) -> None:
    ollama.fail("say", text=text)
    assert ollama_project.run("evals", *ONE_CELL).code == 1
    assert resumed(ollama_project, *ONE_CELL) == ["resume: 1 cell from the store, 0 generated"]
    assert [run.outcome.value for run in ollama_project.runs()] == [outcome]
    assert len(ollama.completions()) == 1


def test_under_xdist_it_is_said_once(ollama_project: Project) -> None:
    ollama_project.run("evals", *TWO_CELLS)
    change_prompt(ollama_project)
    ollama_project.workers = ("-n", "2")
    assert resumed(ollama_project, *TWO_CELLS) == [
        "resume: 1 cell from the store, 1 generated",
        "resume: 1 cell run again: prompt text changed (v1)",
    ]


def test_without_resume_nothing_is_said(ollama_project: Project) -> None:
    ollama_project.run("evals", *ONE_CELL)
    assert "resume: " not in ollama_project.run("evals", *ONE_CELL).text
