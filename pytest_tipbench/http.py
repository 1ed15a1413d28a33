"""Owns the HTTP client: total deadlines, proxies, error mapping; imports httpx, no other room."""

from __future__ import annotations

import contextlib
import json as json_module
import math
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.request import getproxies

import httpx

from pytest_tipbench.addresses import faulty_without_credentials
from pytest_tipbench.errors import TipbenchError, UserMistakeError
from pytest_tipbench.this_machine import is_this_machine

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

CONNECT_TIMEOUT_SECONDS = 5.0
LARGEST_ANSWER_BYTES = 256 * 2**20
"""A server that sends more than this is broken; reading on would only fill the memory."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,  # a header that HTTP does not allow, found before the first byte
    httpx.InvalidURL,
    UnicodeError,  # a host name that the resolver's IDNA codec refuses
)
_NO_CONNECTION = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
    UnicodeError,
)
HTTP_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.CookieConflict,
    httpx.StreamError,
    UnicodeError,
)
"""Everything that httpx raises; :func:`transport_error` maps each."""


class TransportError(TipbenchError):
    """No usable answer came: not the server's "no", which is a response like any other."""

    def __init__(
        self,
        what: str,
        reason: str,
        *,
        kind: Literal["connect", "timeout", "broken"],
        may_have_been_applied: bool,
    ) -> None:
        self.reason = reason
        self.kind = kind
        self.may_have_been_applied = may_have_been_applied
        """False only where the request cannot have reached the server."""
        super().__init__(f"{what}: {reason}")


class _DeadlineClient(httpx.Client):
    """A client that knows its one connection, so that a deadline can shut it down."""

    connection: Any = None


class _Deadline:
    """The end of one request's time; when it passes, the connection in use is shut down.

    httpx's own timeouts begin anew with every read, so a server that sends a byte now and then
    would never be cut. The stream is the one that httpx documents as ``network_stream``; the
    ``trace`` extension hands it out before the response's headers have come.
    """

    def __init__(self, client: httpx.Client, seconds: float) -> None:
        self._client = client
        self.seconds = seconds
        self.at = time.monotonic() + seconds
        self.has_passed = False
        self._stream: Any = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._stream = info["return_value"]
            if isinstance(self._client, _DeadlineClient):
                self._client.connection = self._stream
        elif event.endswith("send_request_headers.started") and self._stream is None:
            self._stream = getattr(self._client, "connection", None)  # it was kept alive
        if time.monotonic() >= self.at:
            self.cut()

    def cut(self) -> None:
        self.has_passed = True
        connection = self._stream.get_extra_info("socket") if self._stream is not None else None
        if connection is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket's own shutdown, which would drop the TLS state under the reader.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Watchdog:
    """One sleeping thread for all deadlines of the process, where timers would be a thread each."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: set[_Deadline] = set()
        self._sleeps_until = math.inf
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, deadline: _Deadline) -> Iterator[None]:
        with self._changed:
            self._deadlines.add(deadline)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="tipbench-deadlines", daemon=True
                )
                self._thread.start()
            elif deadline.at < self._sleeps_until:
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._deadlines.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [each for each in self._deadlines if each.at <= now]:
                    self._deadlines.discard(deadline)
                    deadline.cut()
                self._sleeps_until = min((each.at for each in self._deadlines), default=math.inf)
                sleep = None if math.isinf(self._sleeps_until) else self._sleeps_until - now
                self._changed.wait(sleep)


_watchdog = _Watchdog()


def open_client(
    base_url: str,
    *,
    timeout_seconds: float = 30.0,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | httpx.Auth | None = None,
    verify: bool | ssl.SSLContext = True,
    keep_alive: bool = True,
) -> httpx.Client:
    """Open a client of one server; the caller closes it.

    It holds one connection: a second request at the same time waits its turn, within its own
    deadline. Proxies and certificates of the environment are obeyed, but no proxy is asked for this
    machine itself, under whatever name: it could not reach it. No redirect is followed.

    Args:
        base_url: what every path of :func:`send` is appended to.
        timeout_seconds: for calls made on the client directly; :func:`send` has its own deadline.
        headers: sent with every request.
        auth: user name and password, or an httpx ``Auth``.
        verify: False takes any certificate; a context brings its own.
        keep_alive: False opens a connection for each request and says so to the server.

    Raises:
        UserMistakeError: ``base_url`` is not a URL.
    """
    own_headers = {} if keep_alive else {"Connection": "close"}
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=int(keep_alive))
    try:
        url = httpx.URL(base_url)
        transport = None
        if not _has_proxy() or is_this_machine(url.host):
            if url.scheme == "http":
                verify = False  # no TLS will be spoken; reading the certificate store takes 40 ms
            transport = httpx.HTTPTransport(verify=verify, limits=limits)  # asks no proxy
        return _DeadlineClient(
            base_url=url,
            timeout=httpx.Timeout(
                timeout_seconds, connect=min(CONNECT_TIMEOUT_SECONDS, timeout_seconds)
            ),
            headers=_encoded({**own_headers, **(headers or {})}),
            auth=auth,
            verify=verify,
            limits=limits,
            transport=transport,
        )
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UserMistakeError(
            f"{faulty_without_credentials(base_url)!r} is not a URL: {error}"
        ) from error


def _has_proxy() -> bool:
    """Say whether the environment, or the system, names a proxy for any server."""
    return not getproxies().keys().isdisjoint(("http", "https", "all"))


def send(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    deadline_seconds: float,
    json: object = None,
    content: bytes | None = None,
    params: Mapping[str, str | int | Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Send one request and return its response, whatever its status, with the whole body read.

    Args:
        client: from :func:`open_client`; with any other client a server that trickles its headers
            is not cut.
        method: e.g. ``GET``.
        path: appended to the client's base URL.
        deadline_seconds: for connecting, sending, waiting and reading together. Only looking up a
            host's name cannot be cut short.
        json: a JSON-safe value; sent as ASCII, so that any text passes, lone surrogates too.
        content: raw bytes, instead of ``json``.
        params: the query; a sequence repeats its key.
        headers: added to the client's.

    Raises:
        TransportError: no whole answer came.
        ValueError: ``json`` holds a NaN or an infinity, which JSON does not have.
    """
    sent_headers = dict(headers or {})
    if json is not None:
        content = json_module.dumps(json, allow_nan=False, separators=(",", ":")).encode("ascii")
        sent_headers.setdefault("Content-Type", "application/json")
    deadline = _Deadline(client, max(deadline_seconds, 0.001))
    what = f"{method} {path} at {address_of(client)}"
    try:
        with _watchdog.watching(deadline):
            request = client.build_request(
                method,
                path,
                content=content,
                params=params,
                headers=_encoded(sent_headers),
                timeout=httpx.Timeout(
                    deadline.seconds, connect=min(CONNECT_TIMEOUT_SECONDS, deadline.seconds)
                ),
                extensions={"trace": deadline.trace},
            )
            with contextlib.closing(client.send(request, stream=True)) as response:
                body = _read(response, deadline)
    except HTTP_ERRORS as error:
        if deadline.has_passed or time.monotonic() >= deadline.at:
            raise _too_late(what, deadline, error) from error
        raise transport_error(error, what) from error
    if deadline.has_passed:  # a body without a length ends cleanly when it is cut
        raise _too_late(what, deadline)
    return httpx.Response(
        response.status_code,
        headers=[
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in ("content-encoding", "content-length", "transfer-encoding")
        ],
        content=body,
        request=response.request,
    )


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Take any text, where httpx alone would only take ASCII (a token typed in another script)."""
    return {name.encode(): value.encode() for name, value in headers.items()}


def _read(response: httpx.Response, deadline: _Deadline) -> bytes:
    """Read the decoded body, giving up at the deadline and past the largest size."""
    chunks = bytearray()
    for chunk in response.iter_bytes():
        chunks += chunk
        if time.monotonic() >= deadline.at:
            deadline.has_passed = True
            break
        if len(chunks) > LARGEST_ANSWER_BYTES:
            raise httpx.DecodingError(f"an answer of more than {LARGEST_ANSWER_BYTES} bytes")
    return bytes(chunks)


def _too_late(what: str, deadline: _Deadline, error: Exception | None = None) -> TransportError:
    return TransportError(
        what,
        f"no whole answer within {deadline.seconds:g} s",
        kind="timeout",
        may_have_been_applied=not isinstance(error, _NEVER_SENT),
    )


def transport_error(error: Exception, what: str) -> TransportError:
    """Map one of :data:`HTTP_ERRORS` to ours; ``what`` was asked goes before the reason."""
    reason = " ".join(str(error).split()) or type(error).__name__
    kind: Literal["connect", "timeout", "broken"]
    if isinstance(error, _NO_CONNECTION):
        kind = "connect"
    elif isinstance(error, httpx.TimeoutException):
        kind = "timeout"
    else:
        kind = "broken"
    return TransportError(
        what, reason, kind=kind, may_have_been_applied=not isinstance(error, _NEVER_SENT)
    )


def address_of(client: httpx.Client) -> str:
    """Return the server's scheme, host and port, without credentials that the URL may carry."""
    url = client.base_url
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
