from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


@pytest.mark.parametrize(
    ("value", "code", "said"),
    [
        ("2", 0, "PASS composite>=2: 2 rows, the closest"),
        ("2.5", 1, "FAIL composite>=2.5: 1 of 2 rows short of it:"),
        ("4.5", 1, "FAIL composite>=4.5: 2 of 2 rows short of it:"),
    ],
)
def test_each_rows_composite_is_at_least_so_much(
    judged_project: Project, value: str, code: int, said: str
) -> None:
    outcome = judged_project.run("--leaderboard", "--min-composite", value)
    assert outcome.code == code, outcome.text
    assert said in outcome.words


def test_it_gates_a_generating_run_too(judged_project: Project) -> None:
    """The cells pass, and the gate turns 0 into 1."""
    arguments = ("evals", "--prompts", "v1,v2-mentor", "--scenarios", "maya-*")
    outcome = judged_project.run(*arguments, "--min-composite", "3", "-n", "2")
    assert "6 passed" in outcome.counts
    assert outcome.code == 1, outcome.text
    outcome = judged_project.run(*arguments, "--min-composite", "1.5")
    assert outcome.code == 0, outcome.text


def test_it_gates_an_apply(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), 4)
    outcome = generated_project.run("--judge-apply", "scores.json", "--min-composite", "4.1")
    assert outcome.code == 1, outcome.text
    assert len(generated_project.judgements()) == 6


def test_the_ini_twin_gates_every_call(judged_project: Project) -> None:
    judged_project.write_configuration(tipbench_min_composite="3")
    assert judged_project.run("--leaderboard").code == 1
    assert judged_project.run("--leaderboard", "--min-composite", "1").code == 0


@pytest.mark.parametrize("value", ["high", "nan", ""])
def test_a_mistake_is_one_line_and_exit_code_4(judged_project: Project, value: str) -> None:
    judged_project.run("--leaderboard", f"--min-composite={value}").assert_mistake(
        "--min-composite"
    )
