"""Several Ollama hosts under xdist: each has a worker and holds one model at a time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests import llamacpp_stand_in
from tests.acceptance.conftest import ONE_CELL
from tests.acceptance.sessions import members_of, started, until
from tests.gguf_files import GgufFile
from tests.ollama_double import DEFAULT_INSTALLED, OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psutil

    from tests.acceptance.conftest import Project

MODELS = ("qwen2.5:0.5b", "llama3.2:1b", "gemma3:1b", "qwen2.5:1.5b")
NARROW = ("--models", ",".join(MODELS), "--prompts", "v1", "--scenarios", "zoe-m*")
"""Four models of two cells each."""


@pytest.fixture
def hosts(ollama: OllamaDouble) -> Iterator[tuple[OllamaDouble, OllamaDouble]]:
    with OllamaDouble() as other:
        for double in (ollama, other):
            double.memory.unload_seconds = 0.1
        yield ollama, other


def both(hosts: tuple[OllamaDouble, OllamaDouble]) -> list[str]:
    return [word for double in hosts for word in ("--ollama-host", double.url)]


def worker_that_talks_to(double: OllamaDouble, session_pid: int) -> psutil.Process:
    port = int(double.url.rpartition(":")[2])
    found: list[psutil.Process] = []

    def look() -> bool:
        for member in members_of(session_pid)[1:]:
            peers = [getattr(each.raddr, "port", None) for each in member.net_connections()]
            if port in peers:
                found.append(member)
        return bool(found)

    until(look)
    return found[0]


def test_models_are_shared_out_and_each_host_holds_one(
    ollama_project: Project, hosts: tuple[OllamaDouble, OllamaDouble]
) -> None:
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run("evals", *NARROW, *both(hosts), "--residency", "model")
    assert outcome.code == 0, outcome.text
    asked = [[request["model"] for request in double.completions()] for double in hosts]
    assert [len(each) for each in asked] == [4, 4]
    assert not set(asked[0]) & set(asked[1])
    assert {*asked[0], *asked[1]} == set(MODELS)
    for double in hosts:
        assert double.max_resident_together() == 1
        assert sorted(double.loads().values()) == [1, 1]
        assert double.resident() == []
    assert "loads: 4;" in outcome.text
    assert "models resident together: 1" in outcome.text


@pytest.mark.skipif(sys.platform == "win32", reason="the double needs its client's end at once")
@pytest.mark.parametrize("residency", ["call", "model"])
def test_a_worker_killed_in_mid_cell_is_replaced_on_its_host(
    ollama_project: Project, hosts: tuple[OllamaDouble, OllamaDouble], residency: str
) -> None:
    ollama_project.workers = ("-n", "2")
    stricken, sound = hosts
    stricken.fail("hang")
    with started(
        ollama_project, "evals", *NARROW, *both(hosts), "--residency", residency
    ) as session:
        until(stricken.completions)
        worker_that_talks_to(stricken, session.pid).kill()
        outcome = session.ended()
    assert outcome.code == 1, outcome.text
    assert "replacing crashed worker" in outcome.text
    outcomes = [run.outcome.value for run in ollama_project.runs()]
    assert sorted(outcomes) == ["missing", *["ok"] * 7]
    (missing,) = (run for run in ollama_project.runs() if run.outcome == "missing")
    assert missing.cell.model.text == stricken.completions()[0]["model"]
    assert len(stricken.completions()) == 4  # the missing cell was asked for, and not again
    for double in (stricken, sound):
        assert double.max_resident_together() == 1
        assert double.resident() == []
    assert "PROBLEM" not in outcome.text


@pytest.mark.skipif(sys.platform == "win32", reason="the double needs its client's end at once")
def test_a_killed_worker_that_is_not_replaced_leaves_nothing(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """The controller looks after the model of a worker that cannot any more."""
    ollama_project.workers = ("-n", "2", "--max-worker-restart", "0")
    ollama.memory.unload_seconds = 0.1
    ollama.fail("hang")
    with started(ollama_project, "evals", *NARROW, "--residency", "model") as session:
        until(ollama.completions)
        worker_that_talks_to(ollama, session.pid).kill()
        outcome = session.ended()
    assert outcome.code in (1, 2), outcome.text
    assert [run.outcome.value for run in ollama_project.runs()] == ["missing"]
    assert ollama.resident() == []
    assert len(ollama.completions()) == 1


def test_installed_is_what_any_served_host_has(
    ollama_project: Project, hosts: tuple[OllamaDouble, OllamaDouble]
) -> None:
    """A model that only one host has runs there."""
    first, second = hosts
    for name in DEFAULT_INSTALLED:
        if name != "qwen2.5:0.5b":
            first.remove(name)
        if name != "llama3.2:1b":
            second.remove(name)
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "installed", *both(hosts))
    assert outcome.code == 0, outcome.text
    asked = [[request["model"] for request in double.completions()] for double in hosts]
    assert asked == [["qwen2.5:0.5b"], ["llama3.2:1b"]]
    assert "not used" not in outcome.text
    assert "left out" not in outcome.text


def test_beside_llamacpp_what_only_the_second_host_has_is_left_out(
    ollama_project: Project, hosts: tuple[OllamaDouble, OllamaDouble], tmp_path: Path
) -> None:
    first, second = hosts
    for name in DEFAULT_INSTALLED:
        if name != "qwen2.5:0.5b":
            first.remove(name)
    GgufFile().write(ollama_project.root / "tiny.gguf")
    llamacpp_stand_in.install(ollama_project.environment, tmp_path)
    ollama_project.workers = ("-n", "2")
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--models", "llamacpp/tiny.gguf,qwen2.5:0.5b,llama3.2:*", *both(hosts)
    )
    outcome.assert_mistake("llama3.2:1b: only on", "beside llama.cpp")
    models = ("--models", "llamacpp/tiny.gguf,installed")
    outcome = ollama_project.run("evals", *ONE_CELL, *models, *both(hosts))
    assert outcome.code == 0, outcome.text
    assert f"left out: llama3.2:1b: only on {second.url}; beside llama.cpp" in outcome.words
    assert f"not used: {second.url} (beside llama.cpp" in outcome.words
    assert [request["model"] for request in first.completions()] == ["qwen2.5:0.5b"]
    assert second.completions() == []


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "n1"])
def test_a_host_without_a_worker_is_not_asked_what_it_has(
    ollama_project: Project, hosts: tuple[OllamaDouble, OllamaDouble], workers: tuple[str, ...]
) -> None:
    first, second = hosts
    ollama_project.workers = workers
    outcome = ollama_project.run("evals", *ONE_CELL, "--models", "qwen2.5:*", *both(hosts))
    assert outcome.code == 0, outcome.text
    assert len(first.completions()) == 2
    assert second.requests == []
    assert outcome.words.count(f"not used: {second.url} (each host needs a worker") == 1
