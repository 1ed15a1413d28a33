"""Owns a server on 127.0.0.1 that answers each request as a test says."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

Json = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    number_on_connection: int
    """Counts from 1."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """What goes out."""

    status: int = 200
    body: Json | bytes = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    """Called first, e.g. to wait."""
    is_dropped: bool = False
    """Close the connection instead of answering."""


def refused(code: str, message: str = "", status: int = 400) -> Reply:
    """Return MLflow's way of saying no."""
    return Reply(status, {"error_code": code, "message": message})


class StubServer:
    """Serves until it is closed, and remembers what it was asked."""

    def __init__(
        self, answer: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = (
                -1
            )  # one packet an answer, so that Nagle's algorithm has nothing to hold back

            def setup(self) -> None:
                stub.connections += 1
                self.number = 0
                super().setup()

            def serve(self) -> None:
                self.number += 1
                parts = urlsplit(self.path)
                request = Request(
                    self.command,
                    parts.path,
                    dict(parse_qsl(parts.query)),
                    {name.lower(): value for name, value in self.headers.items()},
                    self.rfile.read(int(self.headers.get("Content-Length") or 0)),
                    self.number,
                )
                stub.requests.append(request)
                reply = answer(request)
                reply.before()
                if reply.is_dropped:
                    self.close_connection = True
                    return
                is_json = isinstance(reply.body, dict)
                body = json.dumps(reply.body).encode() if is_json else reply.body
                assert isinstance(body, bytes)
                headers = {
                    "Content-Type": "application/json" if is_json else "text/plain",
                    "Content-Length": str(len(body)),
                    **reply.headers,
                }
                self.send_response_only(reply.status)
                if "Date" not in headers:
                    self.send_header("Date", self.date_time_string())
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            do_GET = do_POST = do_PUT = serve  # noqa: N815 - the base class calls them so

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that hangs up is part of some tests

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def asked(self, ending: str) -> list[Request]:
        """Return the requests whose path ends so."""
        return [request for request in self.requests if request.path.endswith(ending)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def serving(
    answer: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
) -> Iterator[StubServer]:
    """Serve for a while."""
    server = StubServer(answer, tls)
    try:
        yield server
    finally:
        server.close()
