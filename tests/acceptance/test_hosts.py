"""Several Ollama hosts under xdist: each has a worker and holds one model at a time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.sessions import members_of, started, until
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Iterator

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
