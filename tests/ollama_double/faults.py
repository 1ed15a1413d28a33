"""Owns what can go wrong on demand: which request, and how."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from tests.ollama_double.wire import Exchange

FaultKind = Literal[
    "busy",  # 503
    "out_of_memory",  # 500 since 0.30
    "out_of_memory_before_loading",  # 500, the older wording
    "runner_died",  # 500, and the model is gone
    "not_found",  # 404, as when the model was removed a moment ago
    "error",  # 500 with the fault's text
    "error_in_answer",  # {"error": text} inside a 200
    "forbidden",  # 403 without a body, as for a host name it does not know
    "hang",  # no answer, for as long as the client waits
    "trickle",  # a byte now and then, for as long as the client reads
    "disconnect",  # the connection closes without an answer
    "html",  # a page of some other server
    "broken_json",  # a whole answer that is half a JSON text
    "load_answer",  # done_reason "load", as for empty messages
    "no_metrics",  # an answer without counts and durations
    "delay",  # the answer comes `seconds` later
    "say",  # the model says the fault's text, whatever was asked
    "endless_whitespace",  # until num_predict, done_reason "length"
    "format_ignored",  # prose instead of JSON
    "thinking_in_text",  # "<think>…</think>" before the JSON
    "thinking_only",  # the thinking took all of num_predict; the content is empty
    "pull_stops",  # the stream of a pull ends half-way
    "pull_breaks",  # {"error": text} amid the stream of a pull
]
_ERRORS = {
    "busy": (503, "server busy, please try again.  maximum pending requests exceeded"),
    "out_of_memory": (
        500,
        "llama-server reported out-of-memory during startup: failed to allocate buffer",
    ),
    "out_of_memory_before_loading": (
        500,
        "model requires more system memory (5.6 GiB) than is available (3.1 GiB)",
    ),
    "not_found": (404, "model not found"),
    "error": (500, "something went wrong"),
    "error_in_answer": (200, "something went wrong"),
}
_PAGE = "<!DOCTYPE html><html><head><title>Welcome</title></head><body>It works!</body></html>"
FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass
class Fault:
    """What befalls the requests to ``path`` for ``model`` from the ``nth`` on, ``times`` times.

    Every request that fits is counted, also one that another fault befalls.
    """

    kind: FaultKind
    path: str = "/api/chat"
    model: str | None = None
    """As the client wrote it; None is any."""
    nth: int = 1
    times: int | None = 1
    """None is every one from the nth on."""
    seconds: float = 0.0
    text: str = ""
    seen: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown fault {self.kind!r}")

    def befalls(self, path: str, model: str) -> bool:
        """Count a matching request and say whether it is one of those that go wrong."""
        if path != self.path or self.model not in (None, model):
            return False
        self.seen += 1
        past = self.seen - self.nth
        return past >= 0 and (self.times is None or past < self.times)


class Faults:
    """The faults that lie in wait; the first that fits a request befalls it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def of(self, path: str, model: str) -> Fault | None:
        """Return what befalls this request; each fault counts the request once."""
        with self._lock:
            fitting = [fault for fault in self._faults if fault.befalls(path, model)]
        return fitting[0] if fitting else None


def answers_at_once(exchange: Exchange, fault: Fault) -> bool:
    """Let happen what happens before a model is loaded; say whether that was the answer."""
    if fault.kind in _ERRORS:
        status, message = _ERRORS[fault.kind]
        exchange.json(status, {"error": fault.text or message})
    elif fault.kind == "forbidden":
        exchange.whole(403, None, b"")
    elif fault.kind == "html":
        exchange.whole(200, "text/html; charset=utf-8", _PAGE.encode())
    else:
        return False
    return True


def answers_late(exchange: Exchange, fault: Fault) -> bool:
    """Let happen what happens once the request is being worked on; say whether that was all."""
    if fault.kind == "delay":
        exchange.wait(fault.seconds)
    elif fault.kind == "hang":
        exchange.hang()
    elif fault.kind == "trickle":
        exchange.trickle()
    elif fault.kind == "disconnect":
        exchange.disconnect()
    return fault.kind in ("hang", "trickle", "disconnect")
