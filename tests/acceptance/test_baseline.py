"""``--baseline`` and ``--max-drop``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import KNOWN_SCORES, MAYA

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project

CHANGES = {MAYA[0]: -2, MAYA[1]: -1, MAYA[2]: -1}
"""From 5, 4, 3 to 3, 3, 2: a mean change of −1.333 with a standard deviation of 0.577.

Half of the interval is 4.3027 × 0.577 / √3 = 1.434: [−2.77, +0.10]. It is not wholly below 0.
"""
EVENLY = dict.fromkeys(MAYA, -1)
"""The same drop everywhere: [−1, −1]."""


def judge_anew(project: Project, changes: dict[str, int]) -> None:
    """Make row v1 again in another experiment, with tips of its own, and judge them."""
    tips = {
        ("v1", scenario): [f"Another first step for {scenario}, taken now."] for scenario in MAYA
    }
    project.write_replay("known.jsonl", tips)
    outcome = project.run(
        *("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", "new"),
        *("--judge-export", "new.json"),
    )
    assert outcome.code == 0, outcome.text
    scores = {
        scenario: KNOWN_SCORES["v1", scenario] + change for scenario, change in changes.items()
    }
    project.judge(project.root / "new.json", lambda item: scores[item["scenario"]["id"]])
    outcome = project.run("--judge-apply", "new.json")
    assert outcome.code == 0, outcome.text


NEW = ("--leaderboard", "--experiment", "new", "--baseline", "tip-bench")


def test_a_change_that_may_be_chance_passes(judged_project: Project) -> None:
    judge_anew(judged_project, CHANGES)
    outcome = judged_project.run(*NEW)
    assert outcome.code == 0, outcome.text
    assert "PASS change from tip-bench, replay/known.jsonl × v1: " in outcome.words
    assert "-1.33 [-2.77, +0.10]" in outcome.words
    assert "sign-flip p = 0.250" in outcome.words
    assert "3 scenarios" in outcome.words


def test_a_drop_past_the_limit_fails(judged_project: Project) -> None:
    judge_anew(judged_project, EVENLY)
    outcome = judged_project.run(*NEW)
    assert outcome.code == 1, outcome.text
    assert "FAIL change from tip-bench, replay/known.jsonl × v1: " in outcome.words
    assert "-1.00 [-1.00, -1.00]" in outcome.words
    assert judged_project.run(*NEW, "--max-drop", "0.5").code == 1
    assert judged_project.run(*NEW, "--max-drop", "1").code == 0


def test_an_experiment_against_itself_passes(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--baseline", "tip-bench")
    assert outcome.code == 0, outcome.text
    assert outcome.text.count("PASS change from tip-bench") == 2


def test_without_such_a_row_it_is_undecided_and_fails(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--baseline", "nothing-there")
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED change from nothing-there" in outcome.words


def test_fewer_than_three_shared_scenarios_are_undecided(judged_project: Project) -> None:
    outcome = judged_project.run(
        "--leaderboard", "--baseline", "tip-bench", "--scenarios", f"{MAYA[0]},{MAYA[1]}"
    )
    assert outcome.code == 1, outcome.text
    assert "2 judged scenarios in common, 3 are needed" in outcome.words


def test_pending_cells_leave_it_undecided(judged_project: Project) -> None:
    judge_anew(judged_project, EVENLY)
    outcome = judged_project.run("--leaderboard", "--baseline", "new", "--prompts", "v1")
    assert outcome.code == 0, outcome.text  # from new to tip-bench everything rose
    tips = {("v1", scenario): [f"Yet another step for {scenario}, now."] for scenario in MAYA}
    judged_project.write_replay("known.jsonl", tips)
    judged_project.run("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", "newer")
    outcome = judged_project.run(
        "--leaderboard", "--experiment", "newer", "--baseline", "tip-bench"
    )
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED change from tip-bench, replay/known.jsonl × v1: 3 cells pending" in (
        outcome.words
    )


@pytest.mark.parametrize("value", ["-0.5", "nan", "some"])
def test_a_mistake_is_one_line_and_exit_code_4(judged_project: Project, value: str) -> None:
    judged_project.run("--leaderboard", "--max-drop", value).assert_mistake("--max-drop", value)
