"""The stand-in for the llama.cpp binding in whole sessions: it gives tips, and looks around first.

``install`` puts it where a project's sessions find it as ``xllamacpp``. It refuses to load beside
another of itself, and beside a model in the memory of an Ollama double that it is told of.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import xllamacpp_double
from tests.openai_double import chat_answer
from tests.xllamacpp_double import CommonParams, get_device_info, is_gone

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tests.openai_double import Answer, Asked

__all__ = ["CommonParams", "Server", "get_device_info", "install", "is_gone", "pids"]

CLAIMS, NEIGHBOUR, GATE = "XLLAMACPP_CLAIMS", "XLLAMACPP_NEIGHBOUR", "XLLAMACPP_GATE"


class Server(xllamacpp_double.Server):
    """Gives as many tips as it is asked for, once it may answer."""

    def __init__(self, params: CommonParams) -> None:
        if os.environ.get(NEIGHBOUR) and _models_held_by(os.environ[NEIGHBOUR]):
            raise RuntimeError("Ollama holds a model")
        super().__init__(params)

    def _answer(self, asked: Asked) -> Answer:
        refused = super()._answer(asked)
        if refused.status != 200:
            return refused
        gate = os.environ.get(GATE)
        while gate and not Path(gate).exists():
            time.sleep(0.01)
        schema = asked.body["response_format"]["json_schema"]["schema"]
        count = schema["properties"]["tips"]["minItems"]
        tips = [f"Take task number {number} first, then rest a little." for number in range(count)]
        return chat_answer(
            json.dumps({"tips": tips}),
            usage={"prompt_tokens": 11, "completion_tokens": 30},
            timings={"predicted_n": 30, "predicted_ms": 600.0},
        )


def install(
    environment: MutableMapping[str, str],
    folder: Path,
    *,
    neighbour_url: str = "",
    gate: Path | None = None,
) -> Path:
    """Let sessions with this environment import the stand-in; return the file of its claims.

    Args:
        environment: of the sessions to come.
        folder: where to put the module and the file.
        neighbour_url: an Ollama double whose memory has to be empty when a model loads.
        gate: a file for which each completion waits; None waits for nothing.
    """
    module = folder / "binding" / "xllamacpp.py"
    module.parent.mkdir(parents=True)
    module.write_text("from tests.llamacpp_stand_in import *\n", encoding="utf-8")
    repository = os.fspath(Path(__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join([os.fspath(module.parent), repository])
    environment[CLAIMS] = os.fspath(folder / "claims")
    environment[NEIGHBOUR] = neighbour_url
    environment[GATE] = "" if gate is None else os.fspath(gate)
    return folder / "claims"


def pids(claims: Path) -> list[int]:
    """Return the processes that have loaded a model, in their order."""
    if not claims.exists():
        return []
    return [int(line) for line in claims.read_text(encoding="ascii").splitlines()]


def _models_held_by(url: str) -> int:
    """Count the models that hold memory, those that are loading or unloading too."""
    with urllib.request.urlopen(f"{url}/__record__", timeout=10) as answer:
        record: dict[str, Any] = json.load(answer)
    changes = {"load": 1, "gone": -1}
    return sum(changes.get(event["kind"], 0) for event in record["events"])
