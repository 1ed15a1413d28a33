"""Owns what the double's models say: tips that read like tips, the same for the same question."""

from __future__ import annotations

import hashlib
import json
import random
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.ollama_double.models import DoubleModel

_LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.{4,80}?)(?:\s*[(\[;:,–—|].*)?$", re.MULTILINE)

_ABOUT_A_TASK = (
    "Start with “{task}” for {minutes} minutes now, before you open your messages.",
    "Put “{task}” first: it gets harder to begin the longer it sits on the list.",
    "Split “{task}” in two and finish only the first half before your next break.",
    "Block {minutes} minutes in your calendar for “{task}” and turn notifications off.",
    "Write down the one next step of “{task}”, then do just that step.",
    "Move “{task}” to the hour when your energy is highest and protect that slot.",
    "Tell one person that “{task}” will be done by the end of the slot, then start.",
    "If “{task}” is not done after {minutes} minutes, note where you stopped and move on.",
    "Gather everything “{task}” needs on one screen, so that you can work without searching.",
    "Do “{task}” straight after a short walk; {minutes} minutes of focus are enough to begin.",
)
_ABOUT_ANYTHING = (
    "Pick the one thing that matters most today and give it your first {minutes} minutes.",
    "Silence your phone and work in a single block of {minutes} minutes, then stand up.",
    "Batch the small messages into one round of {minutes} minutes later in the day.",
    "Drink a glass of water and stretch before you begin the next thing on your list.",
    "Close every tab you do not need; one open window is one thing on your mind.",
    "Plan a real break after the hardest task, and put its time into your calendar.",
    "Say no to one request today, so that what you already promised gets done well.",
    "Write tomorrow's first task on paper before you stop, so that starting is easy.",
    "Do the task you have put off longest for {minutes} minutes; stop there if you like.",
    "Leave ten minutes free between meetings, to write down what you agreed to do.",
    "Keep the afternoon for work that needs little thought, and guard the morning.",
    "Set a timer for {minutes} minutes, work until it rings, and note what is left.",
)


def answer(
    model: DoubleModel, messages: Sequence[dict[str, Any]], seed: int | None, schema: object
) -> str:
    """Return what the model says: JSON where a format was asked for, else a numbered list.

    Larger models speak of the tasks in the question, smaller ones rather of anything at all.
    """
    question = json.dumps([model.digest, messages, seed], sort_keys=True)
    dice = random.Random(int(hashlib.sha256(question.encode()).hexdigest(), 16))
    said = str(messages[-1].get("content", "")) if messages else ""
    tips = _tips(dice, _LIST_ITEM.findall(said), _share_about_tasks(model))
    if isinstance(schema, dict):
        return json.dumps(_shaped(schema, tips), ensure_ascii=False)
    if schema == "json":
        return json.dumps({"tips": [next(tips) for _ in range(5)]}, ensure_ascii=False)
    return "\n".join(f"{number}. {next(tips)}" for number in range(1, 6))


def _share_about_tasks(model: DoubleModel) -> float:
    billions = (model.parameter_count or 1_000_000_000) / 1e9
    return min(0.2 + 0.2 * billions, 0.9)


def _tips(dice: random.Random, tasks: Sequence[str], share: float) -> Iterator[str]:
    """Yield tips without end, none twice."""
    given: set[str] = set()
    number = 0
    while True:
        number += 1
        template = dice.choice(_ABOUT_ANYTHING)
        task = ""
        if tasks and dice.random() < share:
            template, task = dice.choice(_ABOUT_A_TASK), dice.choice(tasks).strip()
        tip = template.format(task=task, minutes=dice.choice((10, 15, 20, 25, 30, 40, 45)))
        if tip in given and number > 50:
            tip = f"{tip} Round {number}."
        if tip not in given:
            given.add(tip)
            yield tip


def _shaped(schema: dict[str, Any], tips: Iterator[str]) -> object:
    """Return a value of the JSON schema, its strings filled with tips."""
    kind = schema.get("type")
    if kind == "object":
        return {key: _shaped(sub, tips) for key, sub in schema.get("properties", {}).items()}
    if kind == "array":
        count = schema.get("minItems", schema.get("maxItems", 3))
        return [_shaped(schema.get("items", {"type": "string"}), tips) for _ in range(count)]
    if kind in ("integer", "number"):
        return 1
    if kind == "boolean":
        return True
    return next(tips)[: schema.get("maxLength")]
