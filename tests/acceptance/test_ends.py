"""However a session ends, nothing of ours stays in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests import llamacpp_stand_in
from tests.acceptance.conftest import ONE_CELL
from tests.acceptance.sessions import are_gone, members_of, started, until
from tests.gguf_files import GgufFile
from tests.llamacpp_stand_in import is_gone, pids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows ends a process without a signal"
)
TWO_MODELS = ("--models", "llama3.2:1b,qwen2.5:0.5b", "--prompts", "v1", "--scenarios", "zoe-m*")
"""Two cells of the first model, then two of the second."""
SIGNALS = pytest.mark.parametrize(
    "number",
    [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")],
    ids=["ctrl-c", "sigterm", "sighup"],
)
ON_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Makes a new session's standard input its terminal, and goes on as the command."""


def wait_for_the_second_model(ollama: OllamaDouble) -> None:
    until(lambda: any(event.model == "qwen2.5:0.5b" for event in ollama.events))


def assert_nothing_is_left(ollama: OllamaDouble) -> None:
    assert ollama.resident() == []
    assert [event.kind for event in ollama.events][-1] == "gone"
    assert ollama.max_resident_together() == 1


@pytest.fixture(autouse=True)
def _closed_terminals_are_told() -> Iterator[None]:
    """Let SIGHUP reach what a test starts, also where it is ignored here (under `nohup`)."""
    if not hasattr(signal, "SIGHUP"):
        yield
        return
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@SIGNALS
def test_interrupted_while_it_generates(
    either_way: Project, ollama: OllamaDouble, number: signal.Signals
) -> None:
    ollama.memory.unload_seconds = 0.1
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    with started(either_way, "evals", *TWO_MODELS, "--residency", "model") as session:
        wait_for_the_second_model(ollama)
        family = members_of(session.pid)
        session.process.send_signal(number)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert_nothing_is_left(ollama)
    assert are_gone(family)
    assert "PROBLEM" not in outcome.text
    # What was done before is kept, and its board and evidence are shown.
    assert [run.outcome for run in either_way.runs()] == ["ok", "ok"]
    assert "models resident together: 1" in outcome.text
    assert "loads: 2; proved empty: " in outcome.text, outcome.text


@SIGNALS
def test_interrupted_while_it_loads(
    ollama_project: Project, ollama: OllamaDouble, number: signal.Signals
) -> None:
    """A model that is loading is listed nowhere; closing the connection aborts the load."""
    ollama.memory.load_seconds = 30.0
    with started(ollama_project, "evals", *ONE_CELL, "--residency", "model") as session:
        until(lambda: ollama.events)
        session.process.send_signal(number)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert_nothing_is_left(ollama)
    assert not any(event.kind == "loaded" for event in ollama.events)


def test_cells_of_a_test_outside_the_folder_of_evaluations(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("hang", times=None)
    ollama_project.write(
        "tests/test_quality.py", "def test_quality(tip_run): assert tip_run.tips\n"
    )
    with started(ollama_project, "tests", *ONE_CELL, "--residency", "model") as session:
        until(ollama.completions)
        session.process.terminate()
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert_nothing_is_left(ollama)


def test_a_terminal_interrupts_the_whole_group(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    ollama.memory.unload_seconds = 0.1
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    with started(ollama_project, "evals", *TWO_MODELS, "--residency", "model") as session:
        wait_for_the_second_model(ollama)
        family = members_of(session.pid)
        for member in family:
            member.send_signal(signal.SIGINT)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert_nothing_is_left(ollama)
    assert are_gone(family)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_second_signal_waits_for_the_model_to_go(
    either_way: Project, ollama: OllamaDouble, second: signal.Signals
) -> None:
    ollama.memory.unload_seconds = 1.0
    ollama.fail("hang", times=None)
    with started(either_way, "evals", *ONE_CELL, "--residency", "model") as session:
        until(ollama.completions)
        session.process.send_signal(signal.SIGINT)
        until(lambda: any(event.kind == "unload" for event in ollama.events))
        session.process.send_signal(second)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert "Traceback" not in outcome.text
    assert "/pytest_tipbench/safety/emptiness.py" not in outcome.text
    assert "models resident together: 1" in outcome.text
    assert "next: 1 cell to be run: pytest evals" in outcome.words
    assert_nothing_is_left(ollama)


def test_ctrl_c_while_a_finished_session_unloads(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """All its cells are kept, and shown; it was interrupted all the same."""
    ollama.memory.unload_seconds = 1.0
    with started(ollama_project, "evals", *ONE_CELL, "--residency", "model") as session:
        until(lambda: any(event.kind == "unload" for event in ollama.events))
        session.process.send_signal(signal.SIGINT)
        outcome = session.ended()
    assert outcome.code == 2, outcome.text
    assert "1 passed" in outcome.text
    assert "next: 5 tips in 1 cell to be judged" in outcome.words
    assert_nothing_is_left(ollama)


def test_a_closed_terminal_leaves_no_model(either_way: Project, ollama: OllamaDouble) -> None:
    """The system tells everything that the terminal had in its foreground; nobody reads it now."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals like these")
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [
            *(sys.executable, "-c", ON_TERMINAL),
            *either_way.command("evals", *TWO_MODELS, "--residency", "model"),
        ],
        cwd=either_way.root,
        env=either_way.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        try:
            os.close(theirs)
            wait_for_the_second_model(ollama)
            family = members_of(process.pid)
            os.close(ours)
            until(lambda: are_gone(family), seconds=40)
        finally:
            process.kill()
    assert_nothing_is_left(ollama)
    assert [run.outcome for run in either_way.runs()] == ["ok", "ok"]


def test_without_a_terminal_it_goes_on(ollama_project: Project, ollama: OllamaDouble) -> None:
    """`nohup` has SIGHUP ignored."""
    ollama.generate_seconds = 1.0
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with started(ollama_project, "evals", *ONE_CELL) as session:
            until(ollama.completions)
            session.process.send_signal(signal.SIGHUP)
            outcome = session.ended()
    finally:
        signal.signal(signal.SIGHUP, former)
    assert outcome.code == 0, outcome.text


def test_x_after_a_failing_item(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.memory.unload_seconds = 0.1
    ollama.fail("say", text="{}", nth=2)
    outcome = either_way.run("evals", *TWO_MODELS, "--residency", "model", "-x")
    assert outcome.code == 1, outcome.text
    assert "PROBLEM" not in outcome.text
    assert_nothing_is_left(ollama)
    assert "models resident together: 1" in outcome.text


def test_a_timeout_in_a_cell(either_way: Project, ollama: OllamaDouble) -> None:
    """The next cell is of another model: it loads once the broken request's model is gone."""
    ollama.memory.unload_seconds = 0.1
    ollama.fail("hang", model="llama3.2:1b", nth=2)
    outcome = either_way.run(
        "evals", *TWO_MODELS, "--residency", "model", "--completion-timeout", "2"
    )
    assert outcome.code == 1, outcome.text
    assert [run.outcome for run in either_way.runs()] == ["ok", "timeout", "ok", "ok"]
    assert_nothing_is_left(ollama)


@pytest.mark.parametrize("how", ["raise RuntimeError('boom')", "pytest.exit('enough', 3)"])
def test_an_item_that_breaks(either_way: Project, ollama: OllamaDouble, how: str) -> None:
    """The run is over by then, and its model still in memory."""
    ollama.memory.unload_seconds = 0.1
    either_way.write(
        "evals/test_breaks.py",
        f"import pytest\n\ndef test_breaks(tip_run):\n    {how}\n",
    )
    outcome = either_way.run("evals/test_breaks.py", *TWO_MODELS, "--residency", "model")
    assert outcome.code != 0, outcome.text
    assert_nothing_is_left(ollama)
    assert either_way.runs()[0].outcome == "ok"


@pytest.mark.parametrize("residency", ["call", "model"])
def test_a_killed_session_leaves_its_model_to_its_keep_alive(
    ollama_project: Project, ollama: OllamaDouble, residency: str
) -> None:
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    with started(ollama_project, "evals", *TWO_MODELS, "--residency", residency) as session:
        wait_for_the_second_model(ollama)
        session.process.kill()
        session.ended()
    if residency == "call":
        until(lambda: ollama.resident() == [], seconds=5)
    else:
        until(lambda: all(not each.in_use for each in ollama.memory.listed()), seconds=5)
        latest = max((each.expires_at for each in ollama.memory.listed()), default=0.0)
        assert latest - time.monotonic() <= 30.0
    assert ollama.max_resident_together() == 1


def test_workers_of_a_killed_controller_unload_and_end(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama_project.workers = ("-n", "2")
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    with started(ollama_project, "evals", *TWO_MODELS, "--residency", "model") as session:
        wait_for_the_second_model(ollama)
        family = members_of(session.pid)
        assert len(family) == 3
        session.process.kill()
        until(lambda: are_gone(family), seconds=40)
        until(lambda: ollama.resident() == [], seconds=5)
    assert_nothing_is_left(ollama)


# --- llama.cpp ------------------------------------------------------------------------------------


@pytest.fixture(params=["alone", "n2"])
def llamacpp_project(request: pytest.FixtureRequest, project: Project) -> Project:
    project.write_configuration(tipbench_models="llamacpp/tiny.gguf")
    GgufFile().write(project.root / "tiny.gguf")
    if request.param == "n2":
        project.workers = ("-n", "2")
    return project


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 2), (signal.SIGTERM, 2), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["ctrl-c", "sigterm", "sigkill"],
)
def test_a_llamacpp_child_ends_with_its_session(
    llamacpp_project: Project, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    claims = llamacpp_stand_in.install(
        llamacpp_project.environment, tmp_path, gate=tmp_path / "never"
    )
    with started(llamacpp_project, "evals", *ONE_CELL) as session:
        until(lambda: pids(claims))
        family = members_of(session.pid)
        session.process.send_signal(number)
        outcome = session.ended()
        (child,) = pids(claims)
        until(lambda: is_gone(child), seconds=40 if number == signal.SIGKILL else 0.5)
        until(lambda: are_gone(family), seconds=40)
    assert outcome.code == code, outcome.text


def test_a_llamacpp_child_ends_after_its_last_cell(
    llamacpp_project: Project, tmp_path: Path
) -> None:
    claims = llamacpp_stand_in.install(llamacpp_project.environment, tmp_path)
    outcome = llamacpp_project.run("evals", "--prompts", "v1", "--scenarios", "zoe-m*")
    assert outcome.code == 0, outcome.text
    (child,) = pids(claims)
    assert is_gone(child)
    assert "models resident together: 1" in outcome.text
    assert "loads: 1;" in outcome.text
    assert all(
        run.completion is not None and run.completion.resident_bytes
        for run in llamacpp_project.runs()
    )


def test_a_llamacpp_child_ends_after_a_timeout(llamacpp_project: Project, tmp_path: Path) -> None:
    claims = llamacpp_stand_in.install(
        llamacpp_project.environment, tmp_path, gate=tmp_path / "never"
    )
    outcome = llamacpp_project.run("evals", *ONE_CELL, "--completion-timeout", "5")
    assert outcome.code == 1, outcome.text
    assert [run.outcome for run in llamacpp_project.runs()] == ["timeout"]
    (child,) = pids(claims)
    assert is_gone(child)
