"""Owns the double's sockets: one request and its answer, byte for byte as Go's server frames it."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TICK_SECONDS = 0.01


class ClientGoneError(Exception):
    """The client closed its connection, or the server is closing."""


class Exchange(BaseHTTPRequestHandler):
    """One request at a time of one connection; ``answer`` is given by the double."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        try:
            self.server.answer(self)
        except ClientGoneError:
            self.close_connection = True

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = _serve  # noqa: N815 - http.server's own names

    @property
    def route(self) -> str:
        """The path without a query."""
        return self.path.partition("?")[0]

    @property
    def is_known_host(self) -> bool:
        """Say whether a server on the loopback takes this ``Host``, as Ollama's ``allowedHost``.

        It takes addresses of this machine and of private networks, and local names.
        """
        header = self.headers.get("Host", "").lower()
        host = urlsplit(f"//{header}").hostname or ""
        try:
            address = ip_address(host)
        except ValueError:
            return host in ("", "localhost", socket.gethostname().lower()) or host.endswith(
                (".localhost", ".local", ".internal")
            )
        return address.is_loopback or address.is_private or address.is_unspecified

    def log_message(self, *_: object) -> None:
        pass

    def json(self, status: int, value: object) -> None:
        self.whole(status, "application/json; charset=utf-8", json.dumps(value).encode("ascii"))

    def text(self, status: int, text: str) -> None:
        self.whole(status, "text/plain", text.encode("utf-8"))

    def whole(self, status: int, content_type: str | None, body: bytes) -> None:
        """Send an answer of known length, in one piece."""
        self.send_response(status)
        if content_type:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self._finish(body if self.command != "HEAD" else b"")

    def stream(self, values: Iterable[object]) -> None:
        """Send one JSON object a line, each as soon as it is there."""
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self._finish(b"")
        for value in values:
            line = json.dumps(value).encode("ascii") + b"\n"
            self._write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self._write(b"0\r\n\r\n")

    def hang(self) -> None:
        """Keep silent for as long as the client waits."""
        self.wait(float("inf"))

    def trickle(self) -> None:
        """Send a blank now and then, for as long as the client reads."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Connection", "close")
        self._finish(b"")
        while True:
            self._write(b" ")
            self.wait(0.02)

    def disconnect(self) -> None:
        """Close the connection without an answer."""
        raise ClientGoneError

    def wait(self, seconds: float) -> None:
        """Wait, or raise ClientGoneError as soon as the client closes its connection."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.closing.wait(min(left, _TICK_SECONDS)) or self._client_is_gone():
                raise ClientGoneError

    def _client_is_gone(self) -> bool:
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def _finish(self, body: bytes) -> None:
        """Send headers and body in one packet, where http.server would make it two."""
        headers = b"".join(self._headers_buffer)
        self._headers_buffer: list[bytes] = []
        self._write(headers + b"\r\n" + body)

    def _write(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
        except OSError as error:
            raise ClientGoneError from error


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1; closing it ends every connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Callable[[Exchange], None]) -> None:
        self.answer = answer
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Exchange)

    def server_bind(self) -> None:
        """Bind without looking up a name for the address, which HTTPServer does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # an IPv4 address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away; anything else is a fault of the double."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        self.closing.set()
        self.shutdown()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
