"""What to do next is said as a command that works when it is typed as it stands."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Outcome, Project


def next_command(outcome: Outcome) -> list[str]:
    """Return the arguments of the command that is offered as what is next.

    It stands on the line that says what is pending, or where it has no room there on the one below.
    """
    lines = outcome.text[outcome.text.index("\nnext: ") :].splitlines()
    line = next(line for line in lines if "pytest --judge-export" in line)
    return shlex.split(line.partition("pytest ")[2])


def test_pending_tips_are_counted_and_the_command_exports_them(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL)
    assert "next: 5 tips in 1 cell to be judged: pytest --judge-export" in outcome.words
    exported = either_way.run(*next_command(outcome))
    assert exported.code == 0, exported.text
    assert (either_way.root / "scores.json").exists()


def test_the_command_carries_what_this_call_named(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        *("evals", "--prompts", "v1", "--scenarios", "maya-*-d*", "--experiment", "my own"),
        *("--ledger", "kept/led ger.db", "--n-tips", "1"),
    )
    arguments = next_command(outcome)
    exported = ollama_project.run(*arguments)
    assert exported.code == 0, exported.text
    assert "1 of 1 pending tips" in exported.words
    assert (ollama_project.root / "scores.json").exists()


def test_from_a_subfolder_the_command_works_there(ollama_project: Project) -> None:
    evals = ollama_project.root / "evals"
    outcome = ollama_project.run("test_tips.py", *ONE_CELL, "--ledger", "own.db", cwd=evals)
    exported = ollama_project.run(*next_command(outcome), cwd=evals)
    assert exported.code == 0, exported.text
    assert "5 of 5 pending tips" in exported.words


def test_with_everything_judged_there_is_nothing_to_do(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard")
    assert "next: " not in outcome.text
    assert "pending" not in outcome.text


def test_a_leaderboard_with_pending_cells_says_it_too(generated_project: Project) -> None:
    outcome = generated_project.run("--leaderboard")
    assert "next: 6 tips in 3 cells to be judged" in outcome.words
    exported = generated_project.run(*next_command(outcome))
    assert exported.code == 0, exported.text
