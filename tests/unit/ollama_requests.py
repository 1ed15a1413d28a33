"""Owns the requests that tests of the Ollama provider begin with."""

from __future__ import annotations

from typing import Any

from pytest_tipbench.records import (
    CompletionRequest,
    ModelDescription,
    ModelReference,
    RenderedPrompt,
    SamplingOptions,
)

QWEN = "qwen2.5:0.5b"


def reference(name: str) -> ModelReference:
    return ModelReference(text=name, provider="ollama", name=name)


def make_request(model: ModelDescription | None = None, **changes: Any) -> CompletionRequest:
    fields: dict[str, Any] = {
        "model": model or ModelDescription(reference=reference(QWEN), digest="d", local=True),
        "prompt": RenderedPrompt(system="You give tips.", user="- Call the bank\nFive tips?"),
        "prompt_version": "v1",
        "scenario": "monday",
        "repeat": 1,
        "n_tips": 5,
        "seed": 20260427,
        "sampling": SamplingOptions(),
        "residency": "call",
        "timeout_seconds": 20.0,
    }
    return CompletionRequest(**{**fields, **changes})
