"""Owns a proxy on 127.0.0.1 before a real HTTP server that lets requests go wrong on demand."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Literal, cast, get_args

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from socketserver import BaseServer

FaultKind = Literal[
    "refused",  # the connection is reset, and for a moment none is taken
    "reset_before",  # reset, and the server never saw the request
    "reset_after",  # reset once the server has applied the request
    "closed_after",  # closed in order, without an answer, once it is applied
    "timeout_before",  # silence, and the server never saw it
    "timeout_after",  # silence although the server has applied it
    "silence",  # the answer is late, and may still come in time
    "half_answer",  # the connection breaks amid the answer to an applied request
    "busy_429",  # with Retry-After
    "error_500",  # before it is applied
    "error_500_after",
    "gateway_502",
    "gateway_502_after",
    "unavailable_503",
    "gateway_504_after",
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
SLOW_KINDS: tuple[FaultKind, ...] = ("timeout_before", "timeout_after", "silence")
"""Those that cost a test the proxy's silence."""

_STATUS: dict[FaultKind, int] = {
    "busy_429": 429,
    "error_500": 500,
    "error_500_after": 500,
    "gateway_502": 502,
    "gateway_502_after": 502,
    "unavailable_503": 503,
    "gateway_504_after": 504,
}
APPLIED_KINDS: tuple[FaultKind, ...] = (
    "reset_after",
    "closed_after",
    "timeout_after",
    "silence",
    "half_answer",
    "error_500_after",
    "gateway_502_after",
    "gateway_504_after",
)
"""Those in which the server has done what it was asked."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on with no time: closing sends RST instead of FIN."""
_PASSED_ON = ("content-type", "date")


def seeded_plan(
    seed: int, *, length: int, share: float, slow_share: float = 0.1
) -> list[FaultKind | None]:
    """Return what befalls each of the next requests, the same for the same seed.

    Args:
        seed: of the plan.
        length: for how many requests.
        share: of the requests that go wrong.
        slow_share: of those, how many cost the proxy's silence.
    """
    dice = random.Random(seed)
    quick = [kind for kind in FAULT_KINDS if kind not in SLOW_KINDS]

    def fault() -> FaultKind | None:
        if dice.random() >= share:
            return None
        return dice.choice(SLOW_KINDS if dice.random() < slow_share else quick)

    return [fault() for _ in range(length)]


class FaultProxy:
    """Passes requests on to a server, but for those that the plan lets go wrong.

    Args:
        upstream: the server's URL; it may be set anew, e.g. after a restart on another port.
        silence_seconds: how long it is silent.
        away_seconds: for how long no connection is taken after ``refused``.
    """

    def __init__(
        self, upstream: str, *, silence_seconds: float = 0.5, away_seconds: float = 0.1
    ) -> None:
        self.upstream = upstream
        self.silence_seconds = silence_seconds
        self.away_seconds = away_seconds
        self.happened: Counter[FaultKind] = Counter()
        self.requests = 0
        self.on_request: Callable[[str, str], None] = lambda _method, _path: None
        """Called with the method and path of each request, before anything else."""
        self._plan: Iterator[FaultKind | None] = iter(())
        self._client = httpx.Client(trust_env=False, timeout=60)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._is_closed = threading.Event()
        self._port = 0
        self._listen()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(self, faults: Iterable[FaultKind | None]) -> None:
        """Say what befalls the requests to come, in order; all is well when it is used up."""
        with self._lock:
            self._plan = iter(list(faults))

    def go_away(self) -> None:
        """Take no connection any more, and end those that there are."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections = list(self._connections)
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that serves it

    def come_back(self) -> None:
        """Take connections again, at the same address."""
        if self._listener is None and not self._is_closed.is_set():
            self._listen()

    def close(self) -> None:
        """Stop for good; may be called twice."""
        self._is_closed.set()
        self.go_away()
        self._client.close()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deadline = time.monotonic() + 10
        while True:
            try:
                listener.bind(("127.0.0.1", self._port))
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                self._is_closed.wait(0.01)
        listener.listen(64)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection, address), daemon=True).start()

    def _serve(self, connection: socket.socket, address: object) -> None:
        try:
            with contextlib.suppress(OSError):
                _Handler(connection, address, cast("BaseServer", self))
        finally:
            with self._lock:
                self._connections.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()

    # --- for the handler ----------------------------------------------------------------------

    def next_fault(self) -> FaultKind | None:
        with self._lock:
            self.requests += 1
            fault = next(self._plan, None)
            if fault is not None:
                self.happened[fault] += 1
        return fault

    def ask(self, method: str, path: str, body: bytes, content_type: str) -> httpx.Response:
        headers = {"Content-Type": content_type} if content_type else {}
        return self._client.request(method, self.upstream + path, content=body, headers=headers)

    def be_silent(self) -> None:
        self._is_closed.wait(self.silence_seconds)

    def be_away(self) -> None:
        self.go_away()
        threading.Timer(self.away_seconds, self.come_back).start()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer, so that Nagle's algorithm has nothing to hold back

    def serve(self) -> None:
        proxy = cast("FaultProxy", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.on_request(self.command, self.path)
        fault = proxy.next_fault()
        answer: httpx.Response | None = None
        if fault is None or fault in APPLIED_KINDS:
            try:
                kind = self.headers.get("Content-Type", "")
                answer = proxy.ask(self.command, self.path, body, kind)
            except httpx.HTTPError:
                fault = "reset_before"  # the server itself is gone
        self._answer(proxy, fault, answer)

    do_GET = do_POST = do_PUT = serve  # noqa: N815 - the base class calls them so

    def _answer(
        self, proxy: FaultProxy, fault: FaultKind | None, answer: httpx.Response | None
    ) -> None:
        if fault in SLOW_KINDS:
            proxy.be_silent()
        if fault in _STATUS:
            self._say(_STATUS[fault], b"<html>the proxy says no</html>", {"Retry-After": "0"})
        elif fault in (None, "silence", "half_answer"):
            assert answer is not None
            headers = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
            self._say(answer.status_code, answer.content, headers, half=fault == "half_answer")
        elif fault == "closed_after":
            self.close_connection = True
        elif fault == "refused":
            proxy.be_away()
        else:
            self.close_connection = True
            _reset(self.connection)

    def _say(
        self, status: int, body: bytes, headers: dict[str, str], *, half: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)
        self.wfile.flush()
        if half:
            self.close_connection = True
            _reset(self.connection)


def _reset(connection: socket.socket) -> None:
    """Send RST, on the thread that serves the connection."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        os.close(connection.detach())  # close() would wait for the files made of it
