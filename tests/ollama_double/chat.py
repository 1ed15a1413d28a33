"""Owns ``/api/chat`` and ``/api/generate`` of the double: checks, answers, and their faults."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from tests.ollama_double import tips

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ollama_double.faults import Fault
    from tests.ollama_double.models import DoubleModel

_INTEGER_OPTIONS = ("num_ctx", "num_predict", "num_keep", "num_batch", "seed", "top_k")
_FLOAT_OPTIONS = ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty")
_GO_DURATION = re.compile(r"^([-+])?((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+|0)$")
_GO_PART = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
DEFAULT_KEEP_ALIVE_SECONDS = 300.0
_BYTES_PER_TOKEN = 4


class RefusedError(Exception):
    """The server says no, with this status and ``{"error": …}``."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def keep_alive_seconds(value: object) -> float:
    """Read ``keep_alive``: seconds, or a Go duration; negative is for ever, absent 5 minutes."""
    if value is None:
        return DEFAULT_KEEP_ALIVE_SECONDS
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if value >= 0 else math.inf
    if isinstance(value, str):
        if not _GO_DURATION.match(value):
            reason = "missing unit in" if re.match(r"^-?\d+$", value) else "invalid"
            raise RefusedError(400, f'time: {reason} duration "{value}"')
        parts = _GO_PART.findall(value)
        seconds = sum(float(number) * _GO_UNITS[unit] for number, unit in parts)
        return math.inf if value.startswith("-") else seconds
    raise RefusedError(400, "invalid duration")


def check(body: dict[str, Any], model: DoubleModel) -> None:
    """Refuse what the server refuses before it loads anything."""
    if body.get("think") and "thinking" not in model.capabilities:
        raise RefusedError(400, f'"{body["model"]}" does not support thinking')
    if "completion" not in model.capabilities:
        raise RefusedError(400, f'"{body["model"]}" does not support chat')
    options = body.get("options") or {}
    for name in _INTEGER_OPTIONS:
        if name in options and not _is_number(options[name]):
            raise RefusedError(500, f'option "{name}" must be of type integer')
    for name in _FLOAT_OPTIONS:
        if name in options and not _is_number(options[name]):
            raise RefusedError(500, f'option "{name}" must be of type float32')
    schema = body.get("format")
    if schema not in (None, "", "json") and not isinstance(schema, dict):
        raise RefusedError(
            500, f'invalid format: {schema!r}; expected "json" or a valid JSON Schema object'
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Generated:
    """What the model made of a prompt."""

    text: str
    thinking: str
    done_reason: str
    prompt_tokens: int
    tokens: int
    tokens_per_second: float


def generate(body: dict[str, Any], model: DoubleModel, fault: Fault | None) -> Generated:
    """Let the model speak, within ``num_ctx`` and ``num_predict``.

    Raises:
        RefusedError: the prompt does not fit and must not be cut.
    """
    options = body.get("options") or {}
    messages = body["messages"]
    prompt_tokens = sum(_tokens(str(message.get("content", ""))) + 4 for message in messages)
    num_ctx = int(options.get("num_ctx", 4096))
    if prompt_tokens > num_ctx:
        if body.get("truncate", True) is False:
            raise RefusedError(
                400,
                f"request ({prompt_tokens} tokens) exceeds the available context size "
                f"({num_ctx} tokens), try increasing it",
            )
        prompt_tokens = num_ctx // 2 + 2
    num_predict = int(options.get("num_predict", -1))
    most = num_ctx - prompt_tokens if num_predict < 0 else num_predict
    spoken = Generated(
        text=tips.answer(model, messages, options.get("seed"), body.get("format")),
        thinking="",
        done_reason="stop",
        prompt_tokens=prompt_tokens,
        tokens=0,
        tokens_per_second=120 / ((model.parameter_count or 1e9) / 1e9 + 0.5),
    )
    thinks = "thinking" in model.capabilities and body.get("think") is not False
    if thinks:
        spoken = replace(spoken, thinking="The user wants short tips. I keep them concrete.")
    spoken = _spoilt(spoken, fault, most)
    return _cut(spoken, most)


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", errors="replace")) / _BYTES_PER_TOKEN)


def _spoilt(spoken: Generated, fault: Fault | None, most: int) -> Generated:
    """Apply the faults that are in what a model says."""
    kind = fault.kind if fault is not None else None
    if kind == "say" and fault is not None:
        return replace(spoken, text=fault.text)
    if kind == "endless_whitespace":
        return replace(spoken, text='{"tips": [' + " \n" * _BYTES_PER_TOKEN * most)
    if kind == "format_ignored":
        return replace(spoken, text=f"Sure! Here is what I would do.\n\n{spoken.text[:40]}")
    if kind == "thinking_in_text":
        return replace(spoken, text=f"<think>\nFive tips, all short.\n</think>\n\n{spoken.text}")
    if kind == "thinking_only":
        return replace(spoken, text="", thinking="Let me think. " * most)
    return spoken


def _cut(spoken: Generated, most: int) -> Generated:
    """Stop at ``most`` tokens, thinking included."""
    most_bytes = max(most, 1) * _BYTES_PER_TOKEN
    thinking = _first_bytes(spoken.thinking, most_bytes)
    text = _first_bytes(spoken.text, most_bytes - len(thinking.encode("utf-8", errors="replace")))
    is_whole = (thinking, text) == (spoken.thinking, spoken.text)
    return replace(
        spoken,
        text=text,
        thinking=thinking,
        tokens=_tokens(thinking) + _tokens(text),
        done_reason="stop" if is_whole else "length",
    )


def _first_bytes(text: str, most: int) -> str:
    if len(text.encode("utf-8", errors="replace")) <= most:
        return text
    return text.encode("utf-8", errors="replace")[: max(most, 0)].decode("utf-8", errors="ignore")


def created_at() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


def answer(
    path: str, name: str, spoken: Generated, started: float, loaded: float
) -> dict[str, Any]:
    """Return the whole answer; metrics that are zero are left out, as Go's encoder does."""
    generation = spoken.tokens / spoken.tokens_per_second
    prompt = spoken.prompt_tokens / (10 * spoken.tokens_per_second)
    metrics = {
        "total_duration": time.monotonic() - started + generation + prompt,
        "load_duration": loaded - started,
        "prompt_eval_duration": prompt,
        "eval_duration": generation,
    }
    return {
        "model": name,
        "created_at": created_at(),
        **_said(path, spoken.text, spoken.thinking),
        "done": True,
        "done_reason": spoken.done_reason,
        **{key: value for key, seconds in metrics.items() if (value := int(seconds * 1e9))},
        **({"prompt_eval_count": spoken.prompt_tokens} if spoken.prompt_tokens else {}),
        **({"eval_count": spoken.tokens} if spoken.tokens else {}),
    }


def short_answer(path: str, name: str, done_reason: str) -> dict[str, Any]:
    """Return the answer to empty messages: ``load`` or ``unload``."""
    return {
        "model": name,
        "created_at": created_at(),
        **_said(path, "", ""),
        "done": True,
        "done_reason": done_reason,
    }


def pieces(path: str, whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an answer as a stream: a few words at a time, then the metrics."""
    said = whole["message"]["content"] if path == "/api/chat" else whole["response"]
    for piece in re.findall(r"\S*\s*", said)[:-1]:
        yield {
            "model": whole["model"],
            "created_at": created_at(),
            **_said(path, piece, ""),
            "done": False,
        }
    thinking = whole.get("message", whole).get("thinking", "")
    yield {**whole, **_said(path, "", thinking)}


def _said(path: str, text: str, thinking: str) -> dict[str, Any]:
    thought = {"thinking": thinking} if thinking else {}
    if path == "/api/chat":
        return {"message": {"role": "assistant", "content": text, **thought}}
    return {"response": text, **thought}
