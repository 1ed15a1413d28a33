"""Owns the OpenAI chat completions format, for ``openai/`` and ``llamacpp/``; imports no provider.

The format is that of https://platform.openai.com/docs/api-reference/chat; servers that imitate it
add fields and leave some out, so an answer is read for what it has.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from pytest_tipbench.errors import ModelMissingError, ProviderError
from pytest_tipbench.providers.tips_schema import tips_schema
from pytest_tipbench.records import Completion

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from pytest_tipbench.records import CompletionRequest

CHAT_PATH = "/chat/completions"
_LONGEST_MESSAGE_CHARACTERS = 500


def response_format(n_tips: int, *, strict: bool) -> dict[str, Any]:
    """Return the ``response_format`` that asks for the schema.

    ``strict`` binds the model to it, and lets a server refuse keywords that it cannot enforce.
    """
    schema = {"name": "tips", "schema": tips_schema(n_tips), "strict": strict}
    return {"type": "json_schema", "json_schema": schema}


def chat_body(request: CompletionRequest, model_name: str) -> dict[str, Any]:
    """Return the body that every server of this format takes, without ``response_format``."""
    messages = [
        {"role": "system", "content": request.prompt.system},
        {"role": "user", "content": request.prompt.user},
    ]
    return {
        "model": model_name,
        "messages": [message for message in messages if message["content"]],
        "seed": request.seed,
        "temperature": request.sampling.temperature,
        "max_tokens": request.sampling.num_predict,
        "stream": False,
    }


# --- answers ----------------------------------------------------------------------------------


def status_of(response: httpx.Response) -> int:
    """Return the status that is meant: gateways answer 200 with an ``error`` that carries one."""
    error = _body_of(response).get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if response.status_code == 200 and isinstance(code, int) and 400 <= code < 600:
        return code
    return response.status_code


def error_message(response: httpx.Response) -> str:
    """Return the server's own words of what is wrong, on one line."""
    body = _body_of(response)
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    message = message or body.get("message") or body.get("detail") or response.text
    text = message if isinstance(message, str) else json.dumps(message)
    return " ".join(text.split())[:_LONGEST_MESSAGE_CHARACTERS] or "no reason given"


def error_code(response: httpx.Response) -> str:
    """Return the server's word for the error, e.g. ``model_not_found``; empty where it has none."""
    error = _body_of(response).get("error")
    if not isinstance(error, dict):
        return ""
    return next(
        (error[key] for key in ("code", "type") if isinstance(error.get(key), str)),
        "",
    )


def is_model_missing(response: httpx.Response) -> bool:
    """Say whether the server answered that it does not know the model."""
    if error_code(response) == "model_not_found":
        return True
    return status_of(response) == 404 and "model" in error_message(response).lower()


def error_of(response: httpx.Response, where: str) -> ProviderError:
    """Return the error that a refusal stands for; being busy is the caller's to deal with."""
    status, message = status_of(response), error_message(response)
    if is_model_missing(response):
        return ModelMissingError(f"{where}: {message}")
    if status == 404:
        return ProviderError(
            f"{where}: has no {CHAT_PATH} ({message}); does the base URL lack its /v1?"
        )
    return ProviderError(f"{where}: {status}: {message}")


def read_completion(response: httpx.Response, where: str, *, latency_seconds: float) -> Completion:
    """Return what a successful answer holds; measurements it lacks are None.

    Raises:
        ProviderError: the answer is not a chat completion.
    """
    body = _body_of(response)
    choice = _first_choice(body)
    message = choice.get("message") if choice is not None else None
    if choice is None or not isinstance(message, dict):
        raise ProviderError(f"{where}: not a chat completion: {error_message(response)}")
    usage, timings = _object(body, "usage"), _object(body, "timings")
    finish_reason = choice.get("finish_reason")
    return Completion(
        text=_text(message.get("content")) or _text(message.get("refusal")),
        thinking=_text(message.get("reasoning_content")) or _text(message.get("reasoning")) or None,
        stop_reason=finish_reason if isinstance(finish_reason, str) else None,
        latency_seconds=latency_seconds,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        tokens_per_second=_generation_speed(timings),
    )


def _body_of(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of the body; empty where it is none.

    A model's text may hold what is not UTF-8: such bytes are replaced, the answer is kept.
    """
    try:
        body = json.loads(response.content.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _object(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key)
    return value if isinstance(value, dict) else {}


def _first_choice(body: Mapping[str, Any]) -> dict[str, Any] | None:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _text(content: object) -> str:
    """Return a message's text; some servers send it in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None


def _generation_speed(timings: Mapping[str, Any]) -> float | None:
    """Return llama.cpp's tokens per second of generation alone."""
    tokens, milliseconds = timings.get("predicted_n"), timings.get("predicted_ms")
    if not isinstance(tokens, int) or not isinstance(milliseconds, (int, float)):
        return None
    if not tokens or not math.isfinite(milliseconds) or milliseconds <= 0:
        return None
    return tokens * 1000 / milliseconds
