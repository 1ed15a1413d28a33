"""Two sessions on one machine never hold two models in memory, whatever runs them."""

from __future__ import annotations

import re
import sys
import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from tests import llamacpp_stand_in
from tests.acceptance.conftest import ONE_CELL
from tests.acceptance.loopback_names import OTHER_NAMES
from tests.acceptance.sessions import started, until
from tests.gguf_files import GgufFile
from tests.llamacpp_stand_in import is_gone, pids

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble
    from tests.ollama_double.wire import Exchange

NARROW = ("--prompts", "v1", "--scenarios", "zoe-m*")
"""Two cells of each model."""
WAITING = re.compile(
    r"waiting for (?:this machine's memory|Ollama at 127\.0\.0\.1:\d+): "
    r"another session \(pid (\d+), since \d\d:\d\d:\d\d\) uses it"
)


class Gate:
    """Completions wait for it, so that two sessions are sure to meet."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()
        self.file.touch()

    def wait(self) -> None:
        self._event.wait(60)


@pytest.fixture
def gate(ollama: OllamaDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(tmp_path / "go")
    complete = ollama._complete

    def wait_and_complete(exchange: Exchange, body: dict[str, Any], name: str) -> None:
        if body.get("messages"):
            gate.wait()
        complete(exchange, body, name)

    monkeypatch.setattr(ollama, "_complete", wait_and_complete)
    return gate


@pytest.fixture
def claims(ollama_project: Project, ollama: OllamaDouble, tmp_path: Path, gate: Gate) -> Path:
    """Let the project run ``llamacpp/tiny.gguf`` as well, on a child that looks for neighbours."""
    GgufFile().write(ollama_project.root / "tiny.gguf")
    return llamacpp_stand_in.install(
        ollama_project.environment, tmp_path, neighbour_url=ollama.url, gate=gate.file
    )


@pytest.fixture
def beside(claims: Path, ollama: OllamaDouble, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was in memory already when the double began to load a model; it takes its time."""
    found: list[str] = []
    ollama.memory.load_seconds = ollama.memory.unload_seconds = 0.1
    note = ollama.memory._note

    def look_and_note(kind: str, *rest: object) -> None:
        if kind == "load" and not all(map(is_gone, pids(claims))):
            found.append("a llama.cpp child")
        note(kind, *rest)  # type: ignore[arg-type]  # handed on as they are
        if ollama.memory.max_together() > 1:
            found.append("another model")

    monkeypatch.setattr(ollama.memory, "_note", look_and_note)
    return found


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_two_ollama_sessions_at_once(
    ollama_project: Project, ollama: OllamaDouble, gate: Gate, workers: tuple[str, ...]
) -> None:
    ollama.memory.load_seconds = ollama.memory.unload_seconds = 0.05
    ollama.generate_seconds = 0.1
    models = ("qwen2.5:0.5b,llama3.2:1b", "gemma3:1b,qwen2.5:1.5b")
    with (
        started(ollama_project, "evals", "--models", models[0], *NARROW, *workers) as one,
        started(ollama_project, "evals", "--models", models[1], *NARROW) as other,
    ):
        until(lambda: "waiting for" in one.text + other.text)
        gate.open()
        outcomes = [one.ended(), other.ended()]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert ollama.max_resident_together() == 1
    assert ollama.resident() == []
    # One session's completions, then the other's.
    whose = [models[0].split(",").count(each["model"]) for each in ollama.completions()]
    assert len(whose) == 8
    assert len(list(groupby(whose))) == 2
    first, second = (0, 1) if whose[0] else (1, 0)
    waited = WAITING.search(outcomes[second].words)
    assert waited, outcomes[second].text
    assert int(waited[1]) == (one.pid, other.pid)[first]
    assert "waiting" not in outcomes[first].text


@pytest.mark.parametrize("form", OTHER_NAMES)
def test_two_sessions_that_name_one_server_differently(
    ollama_project: Project, ollama: OllamaDouble, gate: Gate, form: str
) -> None:
    ollama.memory.load_seconds = ollama.memory.unload_seconds = 0.05
    named = form.format(port=ollama.url.rpartition(":")[2])
    with (
        started(ollama_project, "evals", *NARROW) as one,
        started(
            ollama_project,
            "evals",
            *("--models", "llama3.2:1b", *NARROW, "--ollama-host", named),
        ) as other,
    ):
        until(lambda: "waiting for" in one.text + other.text)
        gate.open()
        outcomes = [one.ended(), other.ended()]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert ollama.max_resident_together() == 1
    assert len(list(groupby(each["model"] for each in ollama.completions()))) == 2


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_an_ollama_and_a_llamacpp_session_at_once(
    ollama_project: Project, claims: Path, gate: Gate, beside: list[str], workers: tuple[str, ...]
) -> None:
    with (
        started(ollama_project, "evals", "--models", "llamacpp/tiny.gguf", *NARROW) as llamacpp,
        started(ollama_project, "evals", *NARROW, "--residency", "model", *workers) as on_ollama,
    ):
        until(lambda: "waiting for" in llamacpp.text + on_ollama.text)
        gate.open()
        outcomes = [llamacpp.ended(), on_ollama.ended()]
    # The child refuses to load beside an Ollama model: its cells would be errors.
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert beside == []
    assert len(pids(claims)) == 1
    assert sum(WAITING.search(outcome.words) is not None for outcome in outcomes) == 1


def test_a_mixed_matrix_takes_turns(
    either_way: Project, ollama: OllamaDouble, claims: Path, gate: Gate, beside: list[str]
) -> None:
    gate.open()
    ollama.memory.load_seconds = ollama.memory.unload_seconds = 0.1
    models = "qwen2.5:0.5b,llamacpp/tiny.gguf,llama3.2:1b"
    outcome = either_way.run("evals", "--models", models, *NARROW, "--residency", "model")
    assert outcome.code == 0, outcome.text
    assert beside == []
    assert len(pids(claims)) == 1
    assert sum(ollama.loads().values()) == 2
    assert "models resident together: 1" in outcome.text
    assert "loads: 3;" in outcome.text


def test_a_llamacpp_session_gives_up_on_an_ollama_one(
    ollama_project: Project, ollama: OllamaDouble, claims: Path
) -> None:
    with started(ollama_project, "evals", *ONE_CELL) as holder:
        until(ollama.completions)
        outcome = ollama_project.run(
            "evals", "--models", "llamacpp/tiny.gguf", *ONE_CELL, "--lock-timeout", "0.5"
        )
        outcome.assert_mistake(
            f"is in use by another session (pid {holder.pid}, since ",
            "gave up after 0.5 s",
            "--lock-timeout",
        )
    assert pids(claims) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the double needs its client's end at once")
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_a_killed_session_makes_room_for_the_one_that_waits(
    ollama_project: Project, ollama: OllamaDouble, workers: tuple[str, ...]
) -> None:
    """A worker can outlive its controller: it is waited for, and its model not called foreign.

    A session without workers leaves nobody to unload, so that the server is seen doing it.
    """
    ollama.memory.unload_seconds = 0.1
    ollama.fail("hang", model="qwen2.5:0.5b", times=None)
    with started(ollama_project, "evals", *ONE_CELL, *workers) as holder:
        until(ollama.completions)
        with started(ollama_project, "evals", "--models", "llama3.2:1b", *ONE_CELL) as waiter:
            waiter.says(f"another session (pid {holder.pid}, since ")
            holder.process.kill()
            outcome = waiter.ended()
    assert outcome.code == 0, outcome.text
    if workers:
        assert "not loaded by this session" not in outcome.text
    assert [each["model"] for each in ollama.completions()] == ["qwen2.5:0.5b", "llama3.2:1b"]
    assert ollama.max_resident_together() == 1
