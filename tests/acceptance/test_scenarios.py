from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import MAYA

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def test_an_id_and_a_glob_name_scenarios(either_way: Project) -> None:
    outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "amadou-midday-tax,maya-*")
    assert outcome.code == 0, outcome.text
    assert {run.cell.scenario for run in either_way.runs()} == {*MAYA, "amadou-midday-tax"}


def test_a_scenario_that_two_patterns_name_runs_once_and_keeps_the_files_order(
    ollama_project: Project,
) -> None:
    ollama_project.run(
        "evals", "--prompts", "v1", "--scenarios", "maya-afternoon-slump", "--scenarios", "maya-*"
    )
    assert [run.cell.scenario for run in ollama_project.runs()] == list(MAYA)


def test_all_that_are_found_are_collected_by_default(ollama_project: Project) -> None:
    """At least twelve scenarios, of at least four personas and three times of the day."""
    outcome = ollama_project.run("evals", "--prompts", "v1", "--collect-only", "-q")
    ids = [line for line in outcome.text.splitlines() if "test_tips[" in line]
    text = (ollama_project.root / "evals/scenarios.toml").read_text(encoding="utf-8")
    assert len(ids) == text.count("[[scenarios]]") >= 12
    assert text.count("[[personas]]") >= 4
    assert text.count("[[time_slots]]") >= 3
    assert not text.isascii()


def test_the_facts_of_the_scenario_reach_the_model(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.run("evals", "--prompts", "v1", "--scenarios", "zoe-morning-after-nights")
    said = ollama.completions()[0]["messages"][1]["content"]
    for fact in ("Zoë", "08:00", "Noor", "inhaler"):
        assert fact in said


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("maya-morning-deadlin", ("unknown scenario", "maya-morning-deadline")),
        ("nobody-*", ("unknown scenario 'nobody-*'",)),
        ("maya-*,maya-*", ("--scenarios: 'maya-*' is named twice",)),
        ("", ("--scenarios", "expected names separated by commas")),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    ollama_project: Project, ollama: OllamaDouble, value: str, parts: tuple[str, ...]
) -> None:
    ollama_project.run("evals", "--scenarios", value).assert_mistake(*parts)
    assert ollama.requests == []
