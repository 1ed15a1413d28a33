from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_CELLS = ("--prompts", "v1", "--scenarios", "zoe-m*")


def test_0_where_all_is_well(either_way: Project) -> None:
    assert either_way.run("evals", *ONE_CELL).code == 0


def test_1_where_an_item_failed(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.fail("say", text="{}")
    assert either_way.run("evals", *ONE_CELL).code == 1


def test_1_where_a_gate_failed(either_way: Project) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--gate", "usable_rate<1")
    assert "1 passed" in outcome.counts
    assert outcome.code == 1


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_2_where_interrupted_and_what_was_finished_is_kept(
    ollama_project: Project, ollama: OllamaDouble, workers: tuple[str, ...]
) -> None:
    ollama_project.workers = workers
    ollama.fail("hang", nth=2)
    started = ollama_project.start("evals", *TWO_CELLS)
    deadline = time.monotonic() + 60
    while len(ollama.completions()) < 2:
        assert time.monotonic() < deadline, "the second completion was not asked for"
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    text, _ = started.communicate(timeout=60)
    assert started.returncode == 2, text
    assert "INTERNALERROR" not in text
    assert [run.outcome.value for run in ollama_project.runs()] == ["ok"]
    deadline = time.monotonic() + 20
    while ollama.resident():
        assert time.monotonic() < deadline, "the model is still resident"
        time.sleep(0.05)
    assert "tip-bench: 1 row" in text  # the board of what there is


def test_2_is_not_turned_into_1_by_a_gate(ollama_project: Project) -> None:
    ollama_project.write("evals/test_aa.py", "def test_aa():\n    raise KeyboardInterrupt\n")
    outcome = ollama_project.run("evals", *ONE_CELL, "--gate", "usable_rate<1")
    assert outcome.code == 2, outcome.text


def test_4_where_the_user_is_mistaken(either_way: Project) -> None:
    either_way.run("evals", "--prompts", "none").assert_mistake("none")


def test_5_where_nothing_is_selected(either_way: Project, ollama: OllamaDouble) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "-k", "nobody")
    assert outcome.code == 5, outcome.text
    assert ollama.requests == []


def test_a_command_that_only_reads_is_0_and_not_5(judged_project: Project) -> None:
    assert judged_project.run("--leaderboard").code == 0
    assert judged_project.run("--leaderboard", "-p", "syrupy").code == 0
