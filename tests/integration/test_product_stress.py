"""Whole sessions under delays, faults, others and a kill: 540 cells over 6 models, seeded."""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance import hurried
from tests.acceptance.sessions import are_gone, members_of, ours_together, started, until
from tests.integration.test_residency_stress import CHAT_FAULTS, FOREIGN
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double.wire import Exchange

SEED = 20260427
MODELS = (
    *("qwen2.5:0.5b", "qwen2.5:1.5b", "qwen3:0.6b", "gemma3:1b", "llama3.2:1b", "smollm2:135m"),
)
MATRIX = (
    "--models",
    ",".join(MODELS),
    "--scenarios",
    "maya-*,zoe-*,lukasz-*,misaki-morning-*",
    "--repeats",
    "3",
)
CELLS = 540
KILLED_AT = 200
"""Completions asked for when the first session is killed."""


class Weather:
    """Changes the double's ways before each completion, as the dice of its number say."""

    def __init__(self, double: OllamaDouble) -> None:
        self._double = double
        self._complete = double._complete
        self._lock = threading.Lock()
        self.count = 0

    def complete(self, exchange: Exchange, body: dict[str, Any], name: str) -> None:
        if body.get("messages"):
            with self._lock:
                self.count += 1
                self._change(random.Random(SEED * 1_000 + self.count))
        self._complete(exchange, body, name)

    def _change(self, dice: random.Random) -> None:
        double = self._double
        double.memory.load_seconds = dice.choice((0.0, 0.0, 0.005, 0.02))
        double.memory.unload_seconds = dice.choice((0.0, 0.005, 0.03))
        double.generate_seconds = dice.choice((0.0, 0.0, 0.01))
        double.ps_block_seconds = dice.choice((0.0, 0.0, 0.02))
        if dice.random() < 0.03:
            double.fail(dice.choice(CHAT_FAULTS), seconds=0.02)
        if dice.random() < 0.05:
            double.fail(dice.choice(("error", "disconnect", "broken_json")), path="/api/ps")
        if dice.random() < 0.03:
            double.load_foreign(dice.choice(FOREIGN), dice.uniform(0.0, 0.3))
        if dice.random() < 0.03:  # another client prolongs what is there, ours as well
            for resident in double.resident():
                double.load_foreign(resident, dice.uniform(0.0, 0.3))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
def test_never_two_models_in_memory_through_us(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried.install(project, give_up_after_seconds=20.0, quiet_seconds=0.2)
    with OllamaDouble([*MODELS, *FOREIGN]) as ollama:
        weather = Weather(ollama)
        monkeypatch.setattr(ollama, "_complete", weather.complete)
        project.environment["OLLAMA_HOST"] = ollama.url
        arguments = ("evals", *MATRIX, "--residency", "model", "--completion-timeout", "2", "-q")
        with started(project, *arguments) as session:
            until(lambda: weather.count >= KILLED_AT)
            session.process.kill()
            session.ended()
        kept = len(project.runs())
        # What the killed session left is foreign to the next one, and goes by its keep-alive.
        with started(project, *arguments, "-n", "2", "--resume", "--evict") as session:
            until(lambda: not session.is_running or weather.count >= KILLED_AT + CELLS // 2)
            family = members_of(session.pid)
            outcome = session.ended(180)
        assert outcome.code in (0, 1), outcome.text
        assert are_gone(family)
        until(lambda: not set(ollama.resident()) & set(MODELS), seconds=5)
        events = ollama.events
        asked = weather.count
    assert ours_together(events) == 1
    # A run is kept before the next completion is asked for; the last one was under way.
    assert KILLED_AT - 2 <= kept <= KILLED_AT + 5
    newest = {run.cell.id: run.outcome.value for run in project.runs()}
    assert len(newest) == CELLS
    outcomes = Counter(newest.values())
    assert outcomes["missing"] == 0
    assert outcomes["ok"] > 0.9 * CELLS
    assert CELLS <= asked <= CELLS * 1.2
    # The run was worth its name: things went wrong in several ways.
    assert len(outcomes) >= 3
    assert any(event.foreign for event in events)
    assert "PROBLEM" not in outcome.text
