"""Owns the child process that holds a llama.cpp model; imports http and errors only."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pytest_tipbench.errors import CompletionTimeoutError, ProviderError, ResidencyError
from pytest_tipbench.http import open_client, send
from pytest_tipbench.providers import llamacpp_server
from pytest_tipbench.providers.openai_wire import CHAT_PATH

if TYPE_CHECKING:
    import httpx

_LAST_WORDS_SHOWN = 5
"""Lines of the child's standard error that explain its death."""
_LONGEST_LINE_BYTES = 2_000
_ANSWER_SECONDS = 5.0
_END_SECONDS = 10.0
_LONGEST_LOAD_SECONDS = 60.0
"""How long a loading server may outlive its guard, should somebody kill that alone."""


class LlamaCppChild:
    """One model in memory: from the start of its process to the end, which frees the memory."""

    def __init__(self, weights: Path, num_ctx: int) -> None:
        """Start the process; :meth:`load` waits for it. What starts has to be ended."""
        self.pid: int | None = None
        """Of the process that holds the weights."""
        self.uses_gpu: bool | None = None
        self.is_foreign = False
        """True in a process that was forked from the one that started the child."""
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._last_words: collections.deque[str] = collections.deque(maxlen=_LAST_WORDS_SHOWN)
        self._client: httpx.Client | None = None
        self._api_key = secrets.token_urlsafe()
        self._exit_code: int | None = None
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(Path(llamacpp_server.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        _children.add(self)
        self._readers = [
            _start_thread(self._read_messages, self._process.stdout),
            _start_thread(self._read_last_words, self._process.stderr),
        ]
        settings = {
            "model": str(weights),
            "num_ctx": num_ctx,
            "api_key": self._api_key,
            "sys_path": sys.path,
        }
        self._write(json.dumps(settings).encode("ascii") + b"\n")

    @property
    def is_alive(self) -> bool:
        """True while the process runs, as far as is known."""
        return self._process.poll() is None

    def load(self, deadline: float) -> None:
        """Wait until the weights are loaded and served; ``deadline`` is on the monotonic clock.

        Raises:
            CompletionTimeoutError: not loaded by then.
            ProviderError: the process refused the model, or died.
        """
        answer = self._next_answer(deadline)
        if answer is None or "failed" in answer:
            reason = answer["failed"] if answer is not None else ""
            raise ProviderError(f"llama.cpp could not load the model: {self.obituary(reason)}")
        self.uses_gpu = answer["uses_gpu"]
        self._client = open_client(
            f"{answer['address']}/v1",
            headers={"Authorization": f"Bearer {self._api_key}"},
            keep_alive=False,  # a connection that dies of idling would look like a crash
        )

    def post_chat(self, body: dict[str, Any], deadline: float) -> httpx.Response:
        """Send a chat completion request to the loaded model.

        Raises:
            TransportError: no whole answer came; the process has to be ended.
            ProviderError: the model has not been loaded.
        """
        if self._client is None:
            raise ProviderError("the model has not been loaded")
        remaining = deadline - time.monotonic()
        return send(self._client, "POST", CHAT_PATH, json=body, deadline_seconds=remaining)

    def resident_bytes(self) -> int | None:
        """Return the resident set size of the process that holds the weights."""
        self._write(b"\n")
        try:
            answer = self._next_answer(time.monotonic() + _ANSWER_SECONDS)
        except CompletionTimeoutError:
            return None
        return None if answer is None else answer.get("resident_bytes")

    def obituary(self, reason: str = "") -> str:
        """Return, of a child that has failed, the reason or its exit, and its last words."""
        for reader in self._readers:
            reader.join(_ANSWER_SECONDS)
        parts = [reason or f"its process {_exit_name(self._exit_code)}", *self._last_words]
        return " | ".join(parts)

    def end(self) -> None:
        """End the process and wait until it is gone, and with it the weights; may be repeated.

        Raises:
            ResidencyError: it is still there.
        """
        _children.discard(self)
        if self.is_foreign:
            return
        if self._client is not None:
            self._client.close()
        self._close_input()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # the guard itself hangs: the server ends with it
            self._process.kill()
            self._process.wait()
        # The pipes' far ends are held by guard and server: they close when both are gone.
        for reader in self._readers:
            reader.join(_LONGEST_LOAD_SECONDS)
            if reader.is_alive():
                raise ResidencyError(f"the llama.cpp process {self.pid} does not end")
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def leave_to_parent(self) -> None:
        """Let go of the child in a process that was forked from the one that owns it.

        Its end of the pipe has to close, else the child would outlive its owner.
        """
        self.is_foreign = True
        self._close_input()
        self._process.returncode = 0  # it is not ours to wait for

    def _close_input(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _write(self, line: bytes) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it is gone: reading will tell
                self._process.stdin.write(line)

    def _next_answer(self, deadline: float) -> dict[str, Any] | None:
        """Return what the server says next; None when it can say no more."""
        try:
            answer = self._answers.get(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise CompletionTimeoutError("llama.cpp did not answer in time") from None
        if answer is None:
            self._answers.put(None)
        return answer

    def _read_messages(self, pipe: IO[bytes]) -> None:
        for line in iter(pipe.readline, b""):
            if not line.endswith(b"\n"):  # killed in the middle of it
                break
            message = json.loads(line)
            if "pid" in message:
                self.pid = message["pid"]
            elif "ended" in message:
                self._exit_code = message["ended"]
            else:
                self._answers.put(message)
        self._answers.put(None)

    def _read_last_words(self, pipe: IO[bytes]) -> None:
        for line in iter(lambda: pipe.readline(_LONGEST_LINE_BYTES), b""):
            if text := line.decode("utf-8", errors="replace").strip():
                self._last_words.append(text)


def _start_thread(target: Any, pipe: IO[bytes] | None) -> threading.Thread:
    thread = threading.Thread(target=target, args=(pipe,), daemon=True)
    thread.start()
    return thread


def _exit_name(code: int | None) -> str:
    if code is None:
        return "was ended"
    return f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


_children: weakref.WeakSet[LlamaCppChild] = weakref.WeakSet()


def _leave_all_to_parent() -> None:
    for child in list(_children):
        child.leave_to_parent()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_leave_all_to_parent)
