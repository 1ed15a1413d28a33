"""A model's cells stay together, whatever shuffles the items: each model loads once."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

MODELS = ("llama3.2:1b", "qwen2.5:0.5b", "gemma3:1b")
NARROW = ("--models", ",".join(MODELS), "--prompts", "v1,v2-mentor", "--scenarios", "zoe-*")


def asked_in_turn(ollama: OllamaDouble) -> list[str]:
    """Return the models that were asked, each once for a row of its completions."""
    return [model for model, _ in groupby(each["model"] for each in ollama.completions())]


@pytest.mark.parametrize(
    ("blocked", "seeded"),
    [
        ("random_order", ("--randomly-seed", "7")),
        ("randomly", ("--random-order-bucket", "global", "--random-order-seed", "7")),
    ],
    ids=["pytest-randomly", "pytest-random-order"],
)
def test_plugins_that_shuffle(
    either_way: Project, ollama: OllamaDouble, blocked: str, seeded: tuple[str, ...]
) -> None:
    either_way.addopts = f"-p no:{blocked} -p no:syrupy"
    either_way.write_configuration()
    outcome = either_way.run("evals", *NARROW, "--residency", "model", *seeded)
    assert outcome.code == 0, outcome.text
    assert asked_in_turn(ollama) == list(MODELS)
    assert list(ollama.loads().values()) == [1, 1, 1]
    assert ollama.max_resident_together() == 1
    cells = [
        (run.cell.prompt_version, run.cell.scenario)
        for run in either_way.runs()
        if run.cell.model.text == MODELS[0]
    ]
    assert cells != sorted(cells), "nothing was shuffled"


@pytest.mark.parametrize("option", ["--failed-first", "--new-first"])
def test_pytests_own_reordering(ollama_project: Project, ollama: OllamaDouble, option: str) -> None:
    for model in MODELS[1:]:
        ollama.fail("say", model=model, nth=3, text="{}")
    assert ollama_project.run("evals", *NARROW).code == 1
    ollama.requests.clear()
    outcome = ollama_project.run("evals", *NARROW, option)
    assert outcome.code == 0, outcome.text
    assert asked_in_turn(ollama) == list(MODELS)
    if option == "--failed-first":  # within its model, what failed comes first
        asked = [each["messages"] for each in ollama.completions()]
        count = len(asked) // len(MODELS)
        assert asked[count] == asked[2]


@pytest.mark.parametrize("dist", ["load", "loadfile", "loadgroup", "loadscope", "worksteal"])
def test_every_way_of_xdist(ollama_project: Project, ollama: OllamaDouble, dist: str) -> None:
    ollama_project.workers = ("-n", "2", "--dist", dist)
    outcome = ollama_project.run("evals", *NARROW, "--residency", "model")
    assert outcome.code == 0, outcome.text
    assert asked_in_turn(ollama) == list(MODELS)
    assert list(ollama.loads().values()) == [1, 1, 1]
