from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import MAYA

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


@pytest.fixture
def half_judged(generated_project: Project) -> Project:
    """Two of three cells are judged with 4, the third is pending."""
    sheet = generated_project.export()
    generated_project.judge(sheet, lambda item: None if item["scenario"]["id"] == MAYA[0] else 4)
    assert generated_project.run("--judge-apply", "scores.json").code == 0
    return generated_project


@pytest.mark.parametrize("arguments", [(), ("--gate-pending", "fail")])
def test_pending_cells_leave_a_judged_metric_undecided_which_fails(
    half_judged: Project, arguments: tuple[str, ...]
) -> None:
    outcome = half_judged.run("--leaderboard", "--min-composite", "3", *arguments)
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED composite>=3: 1 cell pending" in outcome.words


def test_ignored_pending_cells_are_left_out(half_judged: Project) -> None:
    ignore = ("--leaderboard", "--gate-pending", "ignore")
    outcome = half_judged.run(*ignore, "--min-composite", "4")
    assert outcome.code == 0, outcome.text
    assert "PASS composite>=4: " in outcome.words
    assert half_judged.run(*ignore, "--min-composite", "4.1").code == 1


def test_they_do_not_matter_to_other_metrics(half_judged: Project) -> None:
    outcome = half_judged.run("--leaderboard", "--gate", "usable_rate>=1")
    assert outcome.code == 0, outcome.text


def test_nothing_judged_at_all_is_undecided_all_the_same(generated_project: Project) -> None:
    outcome = generated_project.run(
        "--leaderboard", "--min-composite", "1", "--gate-pending", "ignore"
    )
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED composite>=1: nothing judged" in outcome.words


def test_the_ini_twin(half_judged: Project) -> None:
    half_judged.write_configuration(tipbench_gate_pending="ignore")
    assert half_judged.run("--leaderboard", "--min-composite", "4").code == 0


def test_another_word_is_a_mistake(half_judged: Project) -> None:
    half_judged.run("--leaderboard", "--gate-pending", "wait").assert_mistake(
        "--gate-pending", "expected fail or ignore", "wait"
    )
