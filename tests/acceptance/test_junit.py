"""The gates in the JUnit file, and what ``-x`` and a failed item leave of their exit code."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL, TWO_SCENARIOS

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

GATES = ("--gate", "usable_rate>=0.95", "--gate", "tokens_per_second<0")


def suites(project: Project) -> dict[str, ET.Element]:
    root = ET.parse(project.root / "junit.xml").getroot()
    return {suite.get("name", ""): suite for suite in root}


def test_the_gates_are_a_suite_beside_the_cells(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, *GATES, "--junitxml", "junit.xml")
    assert outcome.code == 1, outcome.text
    found = suites(either_way)
    assert found["pytest"].get("tests") == "1"
    gates = found["tipbench gates"]
    assert (gates.get("tests"), gates.get("failures")) == ("2", "1")
    assert [case.get("name") for case in gates] == ["usable_rate>=0.95", "tokens_per_second<0"]
    assert gates[0].find("failure") is None
    failure = gates[1].find("failure")
    assert failure is not None
    assert failure.get("type") == "FAIL"


def test_without_a_gate_pytests_suite_stands_alone(ollama_project: Project) -> None:
    assert ollama_project.run("evals", *ONE_CELL, "--junitxml", "junit.xml").code == 0
    assert list(suites(ollama_project)) == ["pytest"]


def test_the_leaderboards_gates_come_into_the_file_too(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--min-composite", "3", "--junitxml", "junit.xml")
    assert outcome.code == 1, outcome.text
    assert suites(judged_project)["tipbench gates"].get("failures") == "1"


def test_a_failed_item_and_x_leave_1_with_the_verdict_said(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    outcome = ollama_project.run(
        "evals", "--prompts", "v1", *TWO_SCENARIOS, "-x", "--gate", "usable_rate>=0.95"
    )
    assert outcome.code == 1, outcome.text
    assert "usable_rate>=0.95: " in outcome.words
    assert "1 failed" in outcome.text


def test_x_reached_by_workers_is_failed_tests_as_without_them(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("say", text="{}")
    outcome = either_way.run(
        *("evals", "--prompts", "v1", *TWO_SCENARIOS, "-x", "--gate", "usable_rate>=0.95"),
        *("--junitxml", "junit.xml"),
    )
    assert outcome.code == 1, outcome.text
    assert suites(either_way)["tipbench gates"].get("failures") == "1"


def test_the_files_name_is_expanded_as_pytest_does_it(judged_project: Project) -> None:
    judged_project.environment["REPORTS"] = str(judged_project.root)
    outcome = judged_project.run(
        "--leaderboard", "--min-composite", "3", "--junitxml", "$REPORTS/junit.xml"
    )
    assert outcome.code == 1, outcome.text
    assert "tipbench gates" in suites(judged_project)
