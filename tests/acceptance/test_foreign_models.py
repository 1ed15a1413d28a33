"""Models that others hold in the same server's memory: waited for, recorded, never unloaded."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests import llamacpp_stand_in
from tests.acceptance import hurried
from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.acceptance.sessions import ours_together, started, until
from tests.gguf_files import GgufFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

TWO_MODELS = ("--models", "llama3.2:1b,qwen2.5:0.5b", "--prompts", "v1", "--scenarios", "zoe-m*")
"""Two cells of the first model, then two of the second."""


def unloads_asked_for(ollama: OllamaDouble) -> set[str]:
    return {
        request["body"]["model"]
        for request in ollama.requests
        if request["path"] == "/api/chat" and not request["body"].get("messages")
    }


def test_at_the_start_it_is_waited_for(either_way: Project, ollama: OllamaDouble) -> None:
    ollama.load_foreign("gemma3:4b")
    with started(either_way, "evals", *ONE_CELL) as session:
        session.says("waiting up to 30 s for gemma3:4b, not loaded by this session")
        assert ollama.completions() == []
        ollama.unload_foreign("gemma3:4b")
        outcome = session.ended()
    assert outcome.code == 0, outcome.text
    assert ollama.max_resident_together() == 1
    assert "models resident together: 1" in outcome.text


@pytest.mark.parametrize("name", ["gemma3:4b", "qwen2.5:0.5b"], ids=["another", "the-same"])
def test_at_the_start_one_that_stays_is_exit_code_4(
    either_way: Project, ollama: OllamaDouble, name: str
) -> None:
    """Also where it is the model that the session is about to use: somebody else's it is."""
    hurried.install(either_way, give_up_after_seconds=1.0)
    ollama.load_foreign(name)
    outcome = either_way.run("evals", *ONE_CELL)
    outcome.assert_mistake(f"{name} is still resident", "not loaded by this session", "--evict")
    assert ollama.completions() == []
    assert ollama.resident() == [name]
    assert unloads_asked_for(ollama) == set()
    assert not either_way.ledger_path.exists()


def test_in_mid_run_it_is_recorded_on_the_runs_it_overlapped(
    either_way: Project, ollama: OllamaDouble
) -> None:
    ollama.generate_seconds = 0.3
    ollama.fail("delay", model="llama3.2:1b", nth=2, seconds=2.0)
    with started(either_way, "evals", *TWO_MODELS) as session:
        until(lambda: len(ollama.completions()) == 2)
        ollama.load_foreign("gemma3:4b")
        if either_way.workers:  # a worker tells it with its next report
            until(lambda: len(either_way.runs()) == 2)
            ollama.load_foreign("gemma3:4b", 2.0)
        else:
            session.says("waiting up to 30 s for gemma3:4b")
            ollama.unload_foreign("gemma3:4b")
        outcome = session.ended()
    assert outcome.code == 0, outcome.text
    assert "waiting up to 30 s for gemma3:4b, not loaded by this session, to go" in outcome.text
    overlapped = [
        run.completion.foreign_models for run in either_way.runs() if run.completion is not None
    ]
    assert overlapped == [(), ("gemma3:4b",), (), ()]
    assert "models resident together: 2" in outcome.text
    assert "loaded by others: gemma3:4b" in outcome.text
    assert ours_together(ollama.events) == 1
    assert "gemma3:4b" not in unloads_asked_for(ollama)


def test_two_that_come_one_after_the_other_are_not_counted_together(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    """Three models are seen in one completion, and never more than two of them in one look."""
    ollama.generate_seconds = 6.0
    with started(ollama_project, "evals", *ONE_CELL, "--tipbench-report", "report.json") as session:
        until(lambda: ollama.resident() == ["qwen2.5:0.5b"])
        for name in ("gemma3:1b", "llama3.2:1b"):
            ollama.load_foreign(name)
            until(_looked_twice_more(ollama))
            ollama.unload_foreign(name)
            until(lambda: ollama.resident() == ["qwen2.5:0.5b"])
        outcome = session.ended()
    assert outcome.code == 0, outcome.text
    assert ollama.max_resident_together() == 2
    assert "models resident together: 2" in outcome.text
    assert "loaded by others: gemma3:1b, llama3.2:1b" in outcome.words
    (run,) = ollama_project.runs()
    assert run.completion is not None
    assert run.completion.foreign_models == ("gemma3:1b", "llama3.2:1b")
    report = json.loads((ollama_project.root / "report.json").read_text(encoding="utf-8"))
    assert report["models_resident_together"] == 2


def _looked_twice_more(ollama: OllamaDouble) -> Callable[[], bool]:
    def looks() -> int:
        return sum(request["path"] == "/api/ps" for request in ollama.requests)

    wanted = looks() + 2
    return lambda: looks() >= wanted


def test_in_mid_run_one_that_stays_ends_the_local_cells(
    either_way: Project, ollama: OllamaDouble
) -> None:
    hurried.install(either_way, give_up_after_seconds=1.5)
    ollama.generate_seconds = 0.3
    ollama.fail("delay", model="llama3.2:1b", nth=2, seconds=2.0)
    either_way.write("replies.jsonl", _recorded())
    with started(
        either_way,
        "evals",
        *("--models", "llama3.2:1b,qwen2.5:0.5b,gemma3:1b,replay/replies.jsonl"),
        *TWO_MODELS[2:],
    ) as session:
        until(lambda: len(ollama.completions()) == 2)
        ollama.load_foreign("gemma3:4b")
        began = time.monotonic()
        outcome = session.ended()
    assert outcome.code == 1, outcome.text
    assert time.monotonic() - began < 40, "it was waited for once for each cell"
    by_model = {
        model: [run for run in either_way.runs() if run.cell.model.text == model]
        for model in ("llama3.2:1b", "qwen2.5:0.5b", "gemma3:1b", "replay/replies.jsonl")
    }
    outcomes = [[run.outcome.value for run in runs] for runs in by_model.values()]
    # Recorded completions need no memory: they go on.
    assert outcomes == [["ok"] * 2, ["provider_error"] * 2, ["provider_error"] * 2, ["ok"] * 2]
    for run in by_model["gemma3:1b"]:
        assert "no further model may be loaded: gemma3:4b is still resident" in (run.error or "")
    assert len(ollama.completions()) == 2
    assert ollama.resident() == ["gemma3:4b"]
    assert "loaded by others: gemma3:4b" in outcome.text


def _recorded() -> str:
    tips = [f"Begin with task number {number}, and then rest." for number in range(5)]
    lines = [
        {"prompt_version": "v1", "scenario": scenario, "completion": json.dumps({"tips": tips})}
        for scenario in ("zoe-morning-after-nights", "zoe-midday-day-off")
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_one_that_is_there_at_the_end_is_no_concern_of_ours(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("delay", seconds=2.0)
    with started(ollama_project, "evals", *ONE_CELL, "--residency", "model") as session:
        until(ollama.completions)
        ollama.load_foreign("gemma3:4b")
        outcome = session.ended()
    assert outcome.code == 0, outcome.text
    assert ollama.resident() == ["gemma3:4b"]
    assert "loaded by others: gemma3:4b" in outcome.text


# --- beside llama.cpp alone -----------------------------------------------------------------------


@pytest.fixture
def child_project(either_way: Project, tmp_path: Path) -> Project:
    """The project with ``llamacpp/tiny.gguf``, and no model of Ollama's in its matrix."""
    GgufFile().write(either_way.root / "tiny.gguf")
    llamacpp_stand_in.install(either_way.environment, tmp_path)
    either_way.write_configuration(tipbench_models="llamacpp/tiny.gguf")
    return either_way


def test_beside_a_child_one_that_stays_is_exit_code_4(
    child_project: Project, ollama: OllamaDouble
) -> None:
    hurried.install(child_project, give_up_after_seconds=1.0)
    ollama.load_foreign("gemma3:4b")
    outcome = child_project.run("evals", *ONE_CELL)
    outcome.assert_mistake("gemma3:4b is still resident", "not loaded by this session", "--evict")
    assert unloads_asked_for(ollama) == set()
    assert not child_project.ledger_path.exists()


def test_beside_a_child_it_is_evicted_where_that_is_wanted(
    child_project: Project, ollama: OllamaDouble
) -> None:
    ollama.load_foreign("gemma3:4b")
    outcome = child_project.run("evals", *ONE_CELL, "--evict")
    assert outcome.code == 0, outcome.text
    assert "unloading gemma3:4b, not loaded by this session" in outcome.text
    assert ollama.resident() == []
    assert "models resident together: 1" in outcome.text


def test_where_no_ollama_is_a_child_needs_none(child_project: Project) -> None:
    outcome = child_project.run("evals", *ONE_CELL, "--ollama-host", NOBODY)
    assert outcome.code == 0, outcome.text
    assert NOBODY not in outcome.text
    assert "waiting" not in outcome.text
