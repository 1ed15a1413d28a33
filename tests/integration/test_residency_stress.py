"""The memory promise under delays, faults and other clients: 500 cells over 6 models, seeded."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from pytest_tipbench.errors import ProviderError
from tests.integration.residency_driver import Session, session_on
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tipbench.records import ModelDescription, Residency
    from tests.ollama_double import Event, FaultKind

CELLS = 500
SEED = 20260427
SPEED = 20.0
"""The guard's 30 s are 1.5 s here, its two seconds of quiet 0.1 s."""
MODELS = (
    "qwen2.5:0.5b",
    "qwen2.5:1.5b",
    "qwen3:0.6b",
    "gemma3:1b",
    "llama3.2:1b",
    "my-qwen:latest",  # an alias of the first
    "smollm2:135m",
)
FOREIGN = ("qwen3:4b", "gemma3:4b")
CHAT_FAULTS: tuple[FaultKind, ...] = (
    "busy",
    "out_of_memory",
    "runner_died",
    "error",
    "hang",
    "disconnect",
    "broken_json",
    "load_answer",
    "delay",
)


def ours_together(events: list[Event]) -> int:
    """Return the largest number of models that held memory through us at one time."""
    most = now = 0
    for event in events:
        if not event.foreign:
            now += {"load": 1, "gone": -1}.get(event.kind, 0)
            most = max(most, now)
    return most


def stretches(dice: random.Random) -> Iterator[tuple[str, Residency, int]]:
    """Yield a model, its residency and how many cells it has, until there are enough cells."""
    left = CELLS
    while left:
        count = min(dice.randint(1, 6), left)
        left -= count
        yield dice.choice(MODELS), dice.choice(("call", "model")), count


def disturb(dice: random.Random, double: OllamaDouble) -> None:
    double.memory.load_seconds = dice.choice((0.0, 0.0, 0.005, 0.02))
    double.memory.unload_seconds = dice.choice((0.0, 0.005, 0.03))
    double.generate_seconds = dice.choice((0.0, 0.0, 0.01))
    double.ps_block_seconds = dice.choice((0.0, 0.0, 0.02))
    if dice.random() < 0.08:
        double.fail(dice.choice(CHAT_FAULTS), seconds=0.02)
    if dice.random() < 0.08:
        double.fail(dice.choice(("error", "disconnect", "broken_json")), path="/api/ps")
    if dice.random() < 0.04:
        double.load_foreign(dice.choice(FOREIGN), dice.uniform(0.0, 0.15))
    if dice.random() < 0.04:  # another client prolongs what is there, ours as well
        for name in double.resident():
            double.load_foreign(name, dice.uniform(0.0, 0.3))


def complete(
    session: Session, model: ModelDescription, residency: Residency, timeout_seconds: float
) -> str:
    try:
        session.complete(model, residency, timeout_seconds)
    except ProviderError as error:
        return type(error).__name__
    return "completed"


def test_never_two_models_in_memory_through_us() -> None:
    dice = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    with OllamaDouble([*MODELS[:5], MODELS[6], *FOREIGN]) as double:
        double.install({"name": MODELS[5], "alias_of": MODELS[0]})
        with session_on(double.url, speed=SPEED) as session:
            session.guard.start("ollama")
            models = {name: session.describe(name) for name in MODELS}
            for name, residency, count in stretches(dice):
                for _ in range(count):
                    disturb(dice, double)
                    timeout_seconds = dice.choice((0.15, 1.0, 1.0))
                    outcomes[complete(session, models[name], residency, timeout_seconds)] += 1
                if dice.random() < 0.7:
                    session.guard.leave(models[name])
        ours = {model.digest for model in models.values()}
        held = Counter(
            {digest: count for digest, count in double.loads().items() if digest in ours}
        )
        events = double.events
        assert not {resident for resident in double.resident() if resident in MODELS}
    assert ours_together(events) == 1
    # The run was worth its name: every model was loaded, most cells came through, and things went
    # wrong in several ways.
    assert len(held) == len(MODELS) - 1
    assert outcomes["completed"] > 0.8 * CELLS
    assert outcomes["CompletionTimeoutError"] >= 3
    assert len(outcomes) >= 3
    assert any(event.foreign for event in events)
