"""What to do next is said as a command that works when it is typed as it stands."""

from __future__ import annotations

import shlex
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL
from tests.acceptance.sessions import started, until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Outcome, Project
    from tests.ollama_double import OllamaDouble


def next_command(outcome: Outcome, start: str = "pytest --judge-export") -> list[str]:
    """Return the arguments of the command that is offered as what is next.

    It stands on the line that says what is to do, or where it has no room there on the one below.
    """
    lines = outcome.text[outcome.text.index("\nnext: ") :].splitlines()
    line = next(line for line in lines if start in line)
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


def test_the_next_round_has_a_file_of_its_own(either_way: Project) -> None:
    sheet = either_way.root / "scores.json"
    assert either_way.run(*next_command(either_way.run("evals", *ONE_CELL))).code == 0
    either_way.judge(sheet)
    filled = sheet.read_bytes()
    outcome = either_way.run("evals", *ONE_CELL, "--seed", "7")
    arguments = next_command(outcome)
    assert arguments[1] == "scores-2.json"
    exported = either_way.run(*arguments)
    assert exported.code == 0, exported.text
    assert (either_way.root / "scores-2.json").exists()
    assert sheet.read_bytes() == filled


def test_the_command_reads_the_configuration_of_this_call(ollama_project: Project) -> None:
    configuration = (ollama_project.root / "pytest.ini").read_text(encoding="utf-8")
    ollama_project.write("other.ini", f"{configuration}tipbench_ledger = other.db\n")
    outcome = ollama_project.run(
        *("evals", *ONE_CELL, "-c", "other.ini", "-o", "tipbench_experiment=my own"),
        *("-o", "log_level=INFO"),
    )
    assert outcome.code == 0, outcome.text
    arguments = next_command(outcome)
    assert arguments[-4:] == ["-c", "other.ini", "-o", "tipbench_experiment=my own"]
    exported = ollama_project.run(*arguments)
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
@pytest.mark.parametrize("finished", [0, 1], ids=["nothing finished", "one finished"])
def test_an_interrupted_session_goes_on_with_its_own_options(
    either_way: Project, ollama: OllamaDouble, finished: int
) -> None:
    """The recording has been begun and is not overwritten: it is left out."""
    ollama.fail("hang", nth=finished + 1)
    with started(
        either_way,
        *("evals", "--prompts", "v1", "--scenarios", "zoe-m*", "--experiment", "my own"),
        *("--n-tips", "1", "--seed", "3", "--record", "record.jsonl"),
    ) as session:
        until(lambda: len(ollama.completions()) > finished)
        session.process.send_signal(signal.SIGINT)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert f"next: {2 - finished} cell" in outcome.words
    assert "--judge-export" not in outcome.text
    resumed = either_way.run(*next_command(outcome, "pytest evals"))
    assert resumed.code == 0, resumed.text
    assert len(ollama.completions()) == 3
    runs = either_way.runs("my own")
    assert [(run.seed, run.n_tips, run.outcome.value) for run in runs] == [(3, 1, "ok")] * 2
    assert "next: 2 tips in 2 cells to be judged" in resumed.words


def test_a_stop_at_the_first_failure_was_wanted(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.fail("say", text="{}", times=None)
    for switch in ("-x", "--sw"):
        outcome = either_way.run("evals", "--prompts", "v1", "--scenarios", "zoe-*", switch)
        assert outcome.code in (1, 2), outcome.text
        assert "--resume" not in outcome.text
