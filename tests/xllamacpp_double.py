"""A stand-in for the llama.cpp binding; tests put it where the child finds it as ``xllamacpp``.

``XLLAMACPP_DOUBLE`` says how it misbehaves. A chat answer's text is the JSON of what was asked and
of how the server was set up.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil

from tests.openai_double import Answer, OpenAIDouble, chat_answer, error_answer

if TYPE_CHECKING:
    from tests.openai_double import Asked

MISBEHAVIOUR = os.environ.get("XLLAMACPP_DOUBLE", "")


class CommonParams:
    """What the real one has of the settings that matter here."""

    def __init__(self) -> None:
        self.model = SimpleNamespace(path="")
        self.n_ctx = 0
        self.n_parallel = 4
        self.cache_prompt = True
        self.cache_ram_mib = 8192
        self.verbosity = 3
        self.api_keys: list[str] = []
        self.cpuparams = SimpleNamespace(n_threads=-1)
        self.cpuparams_batch = SimpleNamespace(n_threads=-1)


class Server:
    """Loads on being made, like the real one, and serves on a free port."""

    def __init__(self, params: CommonParams) -> None:
        self._params = params
        _claim_memory()
        misbehave_loading()
        self._double = OpenAIDouble()
        self._double.chat = [self._answer]
        self._double.__enter__()
        self.listening_address = self._double.address

    def _answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self._params.api_keys[0]}":
            return error_answer(401, "Invalid API Key")
        if MISBEHAVIOUR == "dies answering":
            print("E a bad thing happened", file=sys.stderr, flush=True)
            os.abort()
        if MISBEHAVIOUR == "never answers":
            return Answer(waits_for=threading.Event())
        if MISBEHAVIOUR == "overflows":
            reason = "request (5024 tokens) exceeds the available context size (4096 tokens)"
            return error_answer(400, reason, type="exceed_context_size_error")
        if MISBEHAVIOUR == "fails once":
            return error_answer(500, "Failed to parse grammar")
        said = {"asked": asked.body, "settings": vars(self._params), "pid": os.getpid()}
        text = json.dumps(said, default=vars)
        return chat_answer(
            text,
            usage={"prompt_tokens": 11, "completion_tokens": 30},
            timings={"predicted_n": 30, "predicted_ms": 600.0},
        )


def get_device_info() -> list[dict[str, Any]]:
    if MISBEHAVIOUR == "knows no devices":
        raise AttributeError("get_device_info")
    has_gpu = MISBEHAVIOUR == "has a GPU"
    return [{"type": f"GGML_BACKEND_DEVICE_TYPE_{'GPU' if has_gpu else 'CPU'}"}]


def misbehave_loading() -> None:
    if MISBEHAVIOUR == "refuses":
        print("E the file is nonsense", file=sys.stderr, flush=True)
        raise RuntimeError("Failed to init server")
    if MISBEHAVIOUR == "dies loading":
        os.abort()
    if MISBEHAVIOUR == "never loads":
        if os.name == "posix":
            ctypes.PyDLL(None).sleep(600)  # holding the interpreter's lock, like the real one
        time.sleep(600)
    if MISBEHAVIOUR == "chatters":
        os.write(1, b'{"address": "not a message"}\n')
        for number in range(20_000):
            os.write(2, f"{number} {'x' * 100}\n".encode())


def is_gone(pid: int) -> bool:
    """Say whether the process has ended; what nobody has waited for holds no memory any more."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _claim_memory() -> None:
    """Fail where another of us is still alive: two models would be in memory together."""
    claims = Path(os.environ["XLLAMACPP_CLAIMS"])
    with contextlib.suppress(FileNotFoundError):
        for line in claims.read_text(encoding="ascii").splitlines():
            if not is_gone(int(line)):
                raise RuntimeError(f"the process {line} is still in memory")
    with claims.open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
