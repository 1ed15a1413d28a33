"""Owns the shapes of Ollama's HTTP API: bodies, answers, errors; pure, imports no httpx.

Written against https://github.com/ollama/ollama/blob/main/docs/api.md and the server's source.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from pytest_tipbench.errors import (
    ModelMissingError,
    ProviderBusyError,
    ProviderError,
    UnsizableModelError,
)
from pytest_tipbench.providers.tips_schema import tips_schema
from pytest_tipbench.records import Completion, ResidentModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_tipbench.records import CompletionRequest

JsonObject = dict[str, Any]

NANOSECONDS = 1e9
_MODEL_KEEP_ALIVE = "30s"
_CONTEXT_OVERFLOW = re.compile(r"context (length|size|window)|exceed_context_size", re.IGNORECASE)
_OUT_OF_MEMORY = re.compile(r"out[ -]of[ -]memory|requires more system memory", re.IGNORECASE)
_RUNNER_DIED = re.compile(
    r"(runner|llama-server) (process )?(has terminated|has unexpectedly stopped)", re.IGNORECASE
)


def chat_body(request: CompletionRequest) -> JsonObject:
    """Return the body of ``POST /api/chat`` for one completion.

    ``truncate`` and ``shift`` are off, so that a prompt that does not fit is an error instead of a
    shorter prompt. Thinking is on by default since 0.12.4 where a model can; it is turned off,
    and the field left out for the others, which older servers refuse it for.
    """
    body: JsonObject = {
        "model": request.model.reference.name,
        "messages": [
            {"role": role, "content": text}
            for role, text in (("system", request.prompt.system), ("user", request.prompt.user))
            if text or role == "user"
        ],
        "stream": False,
        "format": tips_schema(request.n_tips),
        "keep_alive": 0 if request.residency == "call" else _MODEL_KEEP_ALIVE,
        "truncate": False,
        "shift": False,
        "options": {
            "temperature": request.sampling.temperature,
            "num_ctx": request.sampling.num_ctx,
            "num_predict": request.sampling.num_predict,
            "seed": request.seed,
        },
    }
    if "thinking" in request.model.capabilities:
        body["think"] = False
    return body


def unload_body(name: str) -> JsonObject:
    """Return the body of ``POST /api/chat`` that unloads a model, loaded or not."""
    return {"model": name, "messages": [], "stream": False, "keep_alive": 0}


def read_object(status: int, content_type: str, body: bytes, address: str) -> JsonObject:
    """Return the JSON object of a successful answer, whatever bytes its texts are made of.

    Raises:
        ProviderError: a status other than 200, an ``error`` inside a 200, or no JSON object.
    """
    text = body.decode("utf-8", errors="replace")
    try:
        answer: object = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and status == 200 and "error" not in answer:
        return answer
    raise _error(status, content_type, text, answer, address)


def _error(
    status: int, content_type: str, text: str, answer: object, address: str
) -> ProviderError:
    """Say in one line what an unusable answer means and how to mend it."""
    reason = answer.get("error") if isinstance(answer, dict) else None
    if reason is not None:
        return api_error(status, reason, address)
    if status == 403 and not text.strip():
        return ProviderError(
            f"Ollama at {address} refused the request without a word (403): it does not know this "
            f"host name; address it as 127.0.0.1, or start it with OLLAMA_HOST=0.0.0.0 (a web page "
            f"would need OLLAMA_ORIGINS)"
        )
    if status in (429, 503):
        return ProviderBusyError(f"{address} is busy ({status})")
    kind = content_type.partition(";")[0].strip() or "something unnamed"
    if status in (404, 405):
        return ProviderError(
            f"{address} answered {status} {_one_line(text)!r}: is it an Ollama server?"
        )
    if status == 200 and "json" in kind:
        return ProviderError(f"{address} answered broken JSON: {_one_line(text)!r}")
    return ProviderError(f"{address} answered {status} with {kind} instead of JSON")


def api_error(status: int, reason: object, address: str) -> ProviderError:
    """Map an ``{"error": …}`` of Ollama's, from an answer or from inside a stream."""
    text = _one_line(reason if isinstance(reason, str) else json.dumps(reason))
    where = f"Ollama at {address}"
    if status in (429, 503):
        return ProviderBusyError(f"{where} is busy: {text}")
    if status == 404:
        return ModelMissingError(f"{where}: {text}")
    if _OUT_OF_MEMORY.search(text):
        return ProviderError(f"{where} is out of memory: {text}")
    if _RUNNER_DIED.search(text):
        return ProviderError(f"{where}: the model's runner died: {text}")
    if _CONTEXT_OVERFLOW.search(text):
        return ProviderError(
            f"{where}: the prompt does not fit into the context, raise --num-ctx: {text}"
        )
    return ProviderError(f"{where} ({status}): {text}")


def _one_line(text: str, most: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"


def read_completion(
    answer: Mapping[str, Any], request: CompletionRequest, latency_seconds: float, address: str
) -> Completion:
    """Return the completion in an answer of ``/api/chat``; what was not said is None.

    Raises:
        ProviderError: the model did not run (``done_reason`` other than ``stop`` and ``length``),
            or it saw only a part of the prompt.
    """
    stop_reason = answer.get("done_reason")
    message = answer.get("message")
    if stop_reason not in ("stop", "length") or not isinstance(message, dict):
        raise ProviderError(
            f"Ollama at {address} did not complete the prompt (done_reason {stop_reason!r})"
        )
    prompt_tokens = _count(answer.get("prompt_eval_count"))
    completion_tokens = _count(answer.get("eval_count"))
    _check_whole_prompt(request, prompt_tokens, address)
    load = _positive(answer.get("load_duration"))
    generation = _positive(answer.get("eval_duration"))
    return Completion(
        text=text_of(message.get("content")),
        thinking=text_of(message.get("thinking")) or None,
        stop_reason=stop_reason,
        latency_seconds=latency_seconds,
        load_seconds=load / NANOSECONDS if load else None,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        tokens_per_second=completion_tokens / (generation / NANOSECONDS)
        if completion_tokens and generation
        else None,
    )


def _check_whole_prompt(
    request: CompletionRequest, prompt_tokens: int | None, address: str
) -> None:
    """Refuse an answer to a prompt that a server without ``truncate`` has cut.

    Such a server keeps half of ``num_ctx`` and a few tokens. Tokens of real text hold some four
    bytes, so a count just there and more than six bytes to a token is a cut prompt.
    """
    if prompt_tokens is None:
        return
    num_ctx = request.sampling.num_ctx
    text = request.prompt.system + request.prompt.user
    sent_bytes = len(text.encode("utf-8", errors="replace"))
    kept_half = 0 <= prompt_tokens - num_ctx // 2 <= 64
    if prompt_tokens >= num_ctx or (kept_half and sent_bytes > 6 * prompt_tokens):
        raise ProviderError(
            f"Ollama at {address} cut the prompt to fit the context of {num_ctx} tokens, "
            f"raise --num-ctx"
        )


def read_resident_models(answer: Mapping[str, Any]) -> tuple[ResidentModel, ...]:
    """Return the models of an answer of ``/api/ps``.

    Raises:
        ProviderError: not an answer of ``/api/ps``.
    """
    return tuple(
        ResidentModel(
            name=name_of(model),
            digest=digest_of(model),
            resident_bytes=_count(model.get("size")) or 0,
            resident_vram_bytes=_count(model.get("size_vram")) or 0,
        )
        for model in read_models(answer)
    )


def read_models(answer: Mapping[str, Any]) -> list[JsonObject]:
    """Return the entries of an answer of ``/api/ps`` or ``/api/tags``.

    Raises:
        ProviderError: the answer has another shape.
    """
    models = answer.get("models")
    if models is None and "models" in answer:  # an empty list, to some of Go's encoders
        return []
    if not isinstance(models, list) or not all(isinstance(model, dict) for model in models):
        raise ProviderError("Ollama did not answer with a list of models")
    return models


def name_of(model: Mapping[str, Any]) -> str:
    """Return the name of an entry of ``/api/ps`` or ``/api/tags``."""
    return text_of(model.get("name")) or text_of(model.get("model"))


def digest_of(model: Mapping[str, Any]) -> str:
    """Return the digest of an entry, in bare hexadecimal digits."""
    return text_of(model.get("digest")).lower().removeprefix("sha256:")


def parameter_count(show: Mapping[str, Any], name: str) -> int:
    """Return the exact parameter count in an answer of ``/api/show``, a projector's included.

    Raises:
        UnsizableModelError: a remote model, safetensors (under-counted), or no count. The label
            ``parameter_size`` is made when a model is published, and sometimes wrong.
    """
    refuse_remote(show, name)
    details = show.get("details")
    model_format = details.get("format") if isinstance(details, dict) else None
    if model_format == "safetensors":
        raise UnsizableModelError(
            f"{name}: in safetensors format, whose parameters Ollama counts too low"
        )
    total = _stated_count(show.get("model_info"))
    if total is None:
        raise UnsizableModelError(f"{name}: Ollama does not say its exact parameter count")
    if projector := show.get("projector_info"):
        extra = _stated_count(projector)
        if extra is None:
            raise UnsizableModelError(
                f"{name}: Ollama does not say the parameter count of its projector"
            )
        total += extra
    return total


def refuse_remote(model: Mapping[str, Any], name: str) -> None:
    """Refuse a stub of a model that runs elsewhere, whatever its name.

    Raises:
        UnsizableModelError: the model has a remote host or a remote name.
    """
    remote = text_of(model.get("remote_host")) or text_of(model.get("remote_model"))
    if remote:
        raise UnsizableModelError(f"{name}: a cloud model, it runs elsewhere ({_one_line(remote)})")


def _stated_count(info: object) -> int | None:
    value = info.get("general.parameter_count") if isinstance(info, dict) else None
    return _count(value) or None


def text_of(value: object) -> str:
    """Return a text of an answer; whatever is none is an empty one."""
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    number = _positive(value)
    return int(number) if number is not None and number == int(number) else None


def _positive(value: object) -> float | None:
    """Return a finite number above 0; Go leaves zeros out, so a 0 says as little as nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value > 0 else None
