"""``--show-tips``: the tips under each cell, on the command line and as a project's habit.

How they look on a terminal, whatever a model says and however narrow it is, is in
``test_terminal.py``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import MAYA, known_tip

if TYPE_CHECKING:
    from tests.acceptance.conftest import Outcome, Project

CELLS = [(prompt_version, scenario) for prompt_version in ("v1", "v2-mentor") for scenario in MAYA]
SIX_CELLS = ("--prompts", "v1,v2-mentor", "--scenarios", "maya-*")


@pytest.fixture
def known_project(either_way: Project) -> Project:
    """Six cells with one known tip each."""
    either_way.write_replay("known.jsonl", {cell: [known_tip(*cell)] for cell in CELLS})
    either_way.write_configuration(tipbench_models="replay/known.jsonl", tipbench_n_tips="1")
    return either_way


def shown(outcome: Outcome) -> dict[tuple[str, str], list[str]]:
    """Return the numbered lines under each cell's line, by cell."""
    found: dict[tuple[str, str], list[str]] = {}
    cell = None
    for line in outcome.text.splitlines():
        named = [
            (prompt_version, scenario)
            for prompt_version, scenario in CELLS
            if re.search(rf"\b{prompt_version}\b.*\b{scenario}\b.* 1/1 tip", line)
        ]
        if named:
            (cell,) = named
            found[cell] = []
        elif cell is not None and (tip := re.fullmatch(r" +1\. (.*)", line)):
            found[cell].append(tip[1])
        else:
            cell = None
    return found


@pytest.mark.parametrize("verbosity", [(), ("-v",)])
def test_every_tip_stands_under_its_own_cell(
    known_project: Project, verbosity: tuple[str, ...]
) -> None:
    """Whichever worker made it, and in whatever order they came."""
    outcome = known_project.run("evals", *SIX_CELLS, "--show-tips", *verbosity)
    assert outcome.code == 0, outcome.text
    assert shown(outcome) == {cell: [known_tip(*cell)] for cell in CELLS}


def test_the_ini_twin_is_a_projects_habit(known_project: Project) -> None:
    known_project.write_configuration(tipbench_show_tips="true")
    assert shown(known_project.run("evals", *SIX_CELLS)) == {
        cell: [known_tip(*cell)] for cell in CELLS
    }
    known_project.write_configuration(tipbench_show_tips="false")
    assert "Begin with the first thing" not in known_project.run("evals", *SIX_CELLS).text


def test_without_it_no_tip_is_shown(known_project: Project) -> None:
    for verbosity in ((), ("-v",)):
        outcome = known_project.run("evals", *SIX_CELLS, *verbosity)
        assert outcome.code == 0, outcome.text
        assert "Begin with the first thing" not in outcome.text


def test_tips_that_are_taken_from_the_store_are_shown_too(known_project: Project) -> None:
    known_project.run("evals", *SIX_CELLS)
    outcome = known_project.run("evals", *SIX_CELLS, "--resume", "--show-tips", "-v")
    assert outcome.code == 0, outcome.text
    for cell in CELLS:
        assert outcome.words.count(known_tip(*cell)) == 1, outcome.text
    assert len(known_project.runs()) == len(CELLS)


def test_a_command_that_runs_nothing_shows_none(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--show-tips")
    assert outcome.code == 0, outcome.text
    assert "Begin with the first thing" not in outcome.text


def test_it_takes_no_value(known_project: Project) -> None:
    outcome = known_project.run("evals", *SIX_CELLS, "--show-tips=yes")
    outcome.assert_mistake("--show-tips", "'yes'")
    known_project.write_configuration(tipbench_show_tips="perhaps")
    known_project.run("evals", *SIX_CELLS).assert_mistake("tipbench_show_tips", "perhaps")
