from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import MAYA, ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def test_metrics_are_recorded_and_their_columns_shown(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--diversity")
    assert outcome.code == 0, outcome.text
    (run,) = either_way.runs()
    assert set(run.diversity) == {"distinct_2", "self_similarity"}
    assert all(0 <= value <= 1 for value in run.diversity.values())
    assert "dist-2" in outcome.text
    assert "self-s." in outcome.text


def test_nothing_of_it_without_the_option(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL)
    (run,) = ollama_project.runs()
    assert run.diversity == {}
    assert "dist-2" not in outcome.text


def test_a_model_that_tells_everyone_the_same_is_not_specific(project: Project) -> None:
    """Five bigrams with one of them twice are 4 / 5 = 0.8.

    The same tip in every scenario has a similarity of 1, so a specificity of 0.
    """
    tips = ["Fetch water quickly, fetch water slowly"]
    project.write_replay("same.jsonl", {("v1", scenario): tips for scenario in MAYA})
    outcome = project.run(
        "evals",
        *("--models", "replay/same.jsonl", "--prompts", "v1", "--scenarios", "maya-*"),
        *("--n-tips", "1", "--diversity"),
    )
    assert outcome.code == 0, outcome.text
    assert [run.diversity["distinct_2"] for run in project.runs()] == [pytest.approx(0.8)] * 3
    header, _, row = (
        line.split()
        for line in outcome.text.splitlines()
        if line.startswith(("model ", "-----", "replay/"))
    )
    assert row[header.index("dist-2")] == "0.80"
    assert row[header.index("spec.")] == "0.00"


def test_the_ini_twin_switches_it_on(ollama_project: Project) -> None:
    ollama_project.write_configuration(tipbench_diversity="true")
    assert "dist-2" in ollama_project.run("evals", *ONE_CELL).text
