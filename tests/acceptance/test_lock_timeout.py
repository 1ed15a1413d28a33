from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


def wait_for_a_completion(ollama: OllamaDouble) -> None:
    deadline = time.monotonic() + 60
    while not ollama.completions():
        assert time.monotonic() < deadline, "no completion was asked for"
        time.sleep(0.02)


def test_a_second_session_gives_up_and_names_the_first(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("hang", times=None)
    first = ollama_project.start("evals", *ONE_CELL, "--completion-timeout", "60")
    try:
        wait_for_a_completion(ollama)
        second = ollama_project.run("evals", *ONE_CELL, "--lock-timeout", "0.2")
        second.assert_mistake("is in use by", f"pid {first.pid}", "since", "--lock-timeout")
        assert len(ollama.completions()) == 1
    finally:
        first.kill()
        first.communicate()


def test_a_second_session_waits_for_the_first(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("delay", seconds=4.0)
    first = ollama_project.start("evals", *ONE_CELL)
    wait_for_a_completion(ollama)
    second = ollama_project.run("evals", *ONE_CELL)
    told, _ = first.communicate(timeout=60)
    assert first.returncode == 0, told
    assert second.code == 0, second.text
    assert "waiting for" in second.text
    assert ollama.max_resident_together() == 1
    assert len(ollama_project.runs()) == 2


def test_a_killed_session_leaves_no_lock(ollama_project: Project, ollama: OllamaDouble) -> None:
    ollama.fail("hang")
    first = ollama_project.start("evals", *ONE_CELL)
    wait_for_a_completion(ollama)
    first.kill()
    first.communicate()
    second = ollama_project.run("evals", *ONE_CELL, "--lock-timeout", "20")
    assert second.code == 0, second.text


def test_sessions_without_local_weights_take_no_lock(
    judged_project: Project, ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("hang", times=None)
    judged_project.environment["XDG_RUNTIME_DIR"] = ollama_project.environment["XDG_RUNTIME_DIR"]
    first = ollama_project.start("evals", *ONE_CELL, "--completion-timeout", "60")
    try:
        wait_for_a_completion(ollama)
        outcome = judged_project.run("evals", *ONE_CELL, "--lock-timeout", "0.2")
        assert outcome.code == 0, outcome.text
    finally:
        first.kill()
        first.communicate()


@pytest.mark.parametrize("value", ["-1", "long"])
def test_a_mistake_is_one_line_and_exit_code_4(ollama_project: Project, value: str) -> None:
    ollama_project.run("evals", "--lock-timeout", value).assert_mistake("--lock-timeout", value)
