from __future__ import annotations

import contextlib
import gzip
import inspect
import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pytest_tipbench import http
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.http import TransportError, open_client, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Behaviour = Callable[[socket.socket, bytes], None]
    Serve = Callable[[Behaviour], "RawServer"]


class RawServer:
    """Accepts connections on 127.0.0.1 and lets ``behaviour`` answer each request's bytes."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests: list[bytes] = []
        self.connections = 0
        self.client_gone = threading.Event()
        """Set when the client has closed a connection, or it was closed under the server."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = b""
            while more := connection.recv(65536):
                data += more
                head, end, body = data.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                if length is None or (end and len(body) == int(length[1])):
                    self.requests.append(data)
                    self.behaviour(connection, data)
                    data = b""
        self.client_gone.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for connection in self._open:
            connection.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[RawServer] = []

    def start(behaviour: Behaviour) -> RawServer:
        servers.append(RawServer(behaviour))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ok(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def silent(connection: socket.socket, _: bytes) -> None:
    pass


def trickles(head: bytes, each: bytes) -> Behaviour:
    """Send ``head``, then ``each`` every 20 ms for five seconds: far past every deadline here."""

    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        for _tick in range(250):
            connection.sendall(each)
            time.sleep(0.02)

    return behaviour


trickles_headers = trickles(b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n")
trickles_body = trickles(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x")
trickles_body_without_length = trickles(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x")


# --- what send returns ------------------------------------------------------------------------


def answers(status: bytes, *headers: bytes, body: bytes = b"") -> Behaviour:
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers])

    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head + b"\r\n\r\n" + body)

    return behaviour


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"404 Not Found", b"503 Busy"])
def test_any_status_is_returned_with_its_body(serve: Serve, status: bytes) -> None:
    server = serve(answers(status, b"Location: /elsewhere", b"X-Kind: a", b"X-Kind: b", body=b"hm"))
    with open_client(server.url) as client:
        response = send(client, "GET", "/x", deadline_seconds=5)
    assert response.status_code == int(status[:3])
    assert response.content == b"hm"
    assert response.headers.get_list("X-Kind") == ["a", "b"]
    assert len(server.requests) == 1  # no redirect was followed


def test_compressed_and_chunked_bodies_come_plain(serve: Serve) -> None:
    packed = gzip.compress("ä".encode() * 1000)

    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"%x\r\n" % len(packed)
            + packed
            + b"\r\n0\r\n\r\n"
        )

    with open_client(serve(behaviour).url) as client:
        response = send(client, "GET", "/", deadline_seconds=5)
    assert response.text == "ä" * 1000
    assert "Content-Encoding" not in response.headers


def test_json_is_ascii_and_keeps_every_character(serve: Serve) -> None:
    server = serve(ok)
    value = {"text": "ä \ud800 \x00 </script>", "n": 1}
    with open_client(server.url) as client:
        send(client, "POST", "/x", deadline_seconds=5, json=value)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head.lower()
    assert body.isascii()
    assert json.loads(body) == value


def test_nan_is_not_sent(serve: Serve) -> None:
    server = serve(ok)
    with open_client(server.url) as client, pytest.raises(ValueError, match="JSON compliant"):
        send(client, "POST", "/x", deadline_seconds=5, json={"x": float("nan")})
    assert server.requests == []


def test_params_content_and_headers_are_sent(serve: Serve) -> None:
    server = serve(ok)
    with open_client(f"{server.url}/base", headers={"Authorization": "Bearer ключ"}) as client:
        send(
            client,
            "PUT",
            "/x",
            deadline_seconds=5,
            content=b"\x00\xff",
            params={"a": ["1", "2"], "b": 3},
            headers={"X-Own": "yes"},
        )
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /base/x?a=1&a=2&b=3 HTTP/1.1\r\n")
    assert "Authorization: Bearer ключ".encode() in head
    assert b"X-Own: yes" in head
    assert body == b"\x00\xff"


def test_basic_auth_is_sent_and_not_shown() -> None:
    with (
        open_client("http://alice:secret@127.0.0.1:1", auth=("alice", "secret")) as client,
        pytest.raises(TransportError) as caught,
    ):
        send(client, "GET", "/x", deadline_seconds=5)
    assert "secret" not in str(caught.value)
    assert "http://127.0.0.1:1" in str(caught.value)


# --- the deadline -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "behaviour",
    [silent, trickles_headers, trickles_body, trickles_body_without_length],
    ids=["silent", "trickling headers", "trickling body", "trickling body without a length"],
)
def test_the_deadline_cuts_whatever_the_server_does(serve: Serve, behaviour: Behaviour) -> None:
    server = serve(behaviour)
    started = time.monotonic()
    with open_client(server.url) as client:
        with pytest.raises(TransportError) as caught:
            send(client, "POST", "/x", deadline_seconds=0.3)
        took = time.monotonic() - started
        assert server.client_gone.wait(5)  # the connection is closed, so that work is given up
    assert 0.3 <= took < 4
    assert caught.value.kind == "timeout"
    assert caught.value.may_have_been_applied
    assert str(caught.value) == f"POST /x at {server.url}: no whole answer within 0.3 s"


def test_the_deadline_cuts_headers_on_a_kept_connection(serve: Serve) -> None:
    def behaviour(connection: socket.socket, request: bytes) -> None:
        (ok if request.startswith(b"GET /first") else trickles_headers)(connection, request)

    server = serve(behaviour)
    with open_client(server.url) as client:
        send(client, "GET", "/first", deadline_seconds=5)
        started = time.monotonic()
        with pytest.raises(TransportError) as caught:
            send(client, "GET", "/second", deadline_seconds=0.3)
        assert time.monotonic() - started < 4
        assert caught.value.kind == "timeout"
        assert server.connections == 1
        assert send(client, "GET", "/first", deadline_seconds=5).text == "ok"  # on a new one
    assert server.connections == 2


def test_a_silent_tls_handshake_is_cut(serve: Serve) -> None:
    server = serve(silent)
    started = time.monotonic()
    with (
        open_client(server.url.replace("http:", "https:")) as client,
        pytest.raises(TransportError) as caught,
    ):
        send(client, "GET", "/x", deadline_seconds=0.3)
    assert time.monotonic() - started < 4
    assert caught.value.kind == "timeout"
    assert not caught.value.may_have_been_applied  # no request was sent yet


def test_waiting_for_the_connection_counts(serve: Serve) -> None:
    server = serve(silent)
    with open_client(server.url) as client:
        first: list[str] = []

        def occupy() -> None:
            try:
                send(client, "GET", "/first", deadline_seconds=1.0)
            except TransportError as error:
                first.append(error.kind)

        thread = threading.Thread(target=occupy)
        thread.start()
        end = time.monotonic() + 5
        while not server.requests and time.monotonic() < end:
            time.sleep(0.005)
        with pytest.raises(TransportError) as caught:
            send(client, "GET", "/second", deadline_seconds=0.2)
        assert caught.value.kind == "timeout"
        assert not caught.value.may_have_been_applied
        thread.join(5)
    assert first == ["timeout"]  # cut by its own deadline, not by the other's
    assert len(server.requests) == 1


def test_deadlines_of_many_requests_do_not_mix(serve: Serve) -> None:
    """A long deadline set before and after a short one, on clients of their own."""
    slow = serve(silent)
    quick = serve(ok)
    with open_client(slow.url) as waiting, open_client(quick.url) as asking:
        assert send(asking, "GET", "/", deadline_seconds=60).text == "ok"
        with pytest.raises(TransportError):
            send(waiting, "GET", "/", deadline_seconds=0.1)
        assert send(asking, "GET", "/", deadline_seconds=60).text == "ok"
        with pytest.raises(TransportError):
            send(waiting, "GET", "/", deadline_seconds=0.1)


def test_an_endless_body_is_given_up_for_its_size(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_ANSWER_BYTES", 1_000_000)

    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        for _block in range(1000):
            connection.sendall(b" " * 100_000)

    with (
        open_client(serve(behaviour).url) as client,
        pytest.raises(TransportError, match="more than 1000000 bytes") as caught,
    ):
        send(client, "GET", "/", deadline_seconds=30)
    assert caught.value.kind == "broken"


# --- what breaks ------------------------------------------------------------------------------


def test_a_refused_connection_was_never_applied() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open_client(f"http://127.0.0.1:{port}") as client, pytest.raises(TransportError) as caught:
        send(client, "POST", "/x", deadline_seconds=5)
    assert caught.value.kind == "connect"
    assert not caught.value.may_have_been_applied
    assert str(caught.value).startswith(f"POST /x at http://127.0.0.1:{port}: ")


def test_a_host_without_a_name_was_never_reached() -> None:
    with open_client("http://a..b") as client, pytest.raises(TransportError) as caught:
        send(client, "GET", "/x", deadline_seconds=5)
    assert caught.value.kind == "connect"
    assert not caught.value.may_have_been_applied


def test_a_connection_closed_without_an_answer_may_have_been_applied(serve: Serve) -> None:
    server = serve(lambda connection, _: connection.shutdown(socket.SHUT_RDWR))
    with open_client(server.url) as client, pytest.raises(TransportError) as caught:
        send(client, "POST", "/x", deadline_seconds=5)
    assert caught.value.kind == "broken"
    assert caught.value.may_have_been_applied


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
    ],
    ids=["half a body", "no HTTP", "not the encoding it says"],
)
def test_a_broken_answer_may_have_been_applied(serve: Serve, wire: bytes) -> None:
    def behaviour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(wire)
        connection.shutdown(socket.SHUT_RDWR)

    with open_client(serve(behaviour).url) as client, pytest.raises(TransportError) as caught:
        send(client, "POST", "/x", deadline_seconds=5)
    assert caught.value.kind == "broken"
    assert caught.value.may_have_been_applied
    assert "\n" not in str(caught.value)


def test_an_illegal_header_is_found_before_anything_is_sent(serve: Serve) -> None:
    server = serve(ok)
    with open_client(server.url) as client, pytest.raises(TransportError) as caught:
        send(client, "GET", "/x", deadline_seconds=5, headers={"X-Bad": "a\r\nX-More: b"})
    assert not caught.value.may_have_been_applied
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://[::1", "http://host:port"])
def test_no_url_is_the_users_mistake(url: str) -> None:
    with pytest.raises(UserMistakeError, match="is not a URL"):
        open_client(url)


REQUEST = httpx.Request("GET", "http://127.0.0.1/")
MAPPED: dict[str, tuple[str, bool]] = {
    # name: kind, and whether the request may have been applied; from httpx's documentation of
    # its exceptions: only what fails before the request is written cannot have been.
    "HTTPError": ("broken", True),
    "RequestError": ("broken", True),
    "TransportError": ("broken", True),
    "TimeoutException": ("timeout", True),
    "ConnectTimeout": ("connect", False),
    "ReadTimeout": ("timeout", True),
    "WriteTimeout": ("timeout", True),
    "PoolTimeout": ("timeout", False),
    "NetworkError": ("broken", True),
    "ConnectError": ("connect", False),
    "ReadError": ("broken", True),
    "WriteError": ("broken", True),
    "CloseError": ("broken", True),
    "ProtocolError": ("broken", True),
    "LocalProtocolError": ("broken", False),
    "RemoteProtocolError": ("broken", True),
    "ProxyError": ("connect", False),
    "UnsupportedProtocol": ("connect", False),
    "DecodingError": ("broken", True),
    "TooManyRedirects": ("broken", True),
    "HTTPStatusError": ("broken", True),
    "InvalidURL": ("connect", False),
    "CookieConflict": ("broken", True),
    "StreamError": ("broken", True),
    "StreamConsumed": ("broken", True),
    "StreamClosed": ("broken", True),
    "ResponseNotRead": ("broken", True),
    "RequestNotRead": ("broken", True),
}


def make(error_type: type[Exception]) -> Exception:
    if error_type is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("no", request=REQUEST, response=httpx.Response(500))
    takes_message = "message" in inspect.signature(error_type).parameters
    return error_type("some\nreason") if takes_message else error_type()


def httpx_exceptions() -> list[type[Exception]]:
    public = [getattr(httpx, name) for name in httpx.__all__]
    return [each for each in public if inspect.isclass(each) and issubclass(each, Exception)]


@pytest.mark.parametrize("error_type", httpx_exceptions(), ids=lambda each: each.__name__)
def test_every_exception_of_httpx_is_mapped(error_type: type[Exception]) -> None:
    error = make(error_type)

    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    client = httpx.Client(transport=httpx.MockTransport(fail), base_url="http://127.0.0.1")
    with client, pytest.raises(TransportError) as caught:
        send(client, "GET", "/x", deadline_seconds=5)
    kind, may_have_been_applied = MAPPED[error_type.__name__]
    assert caught.value.kind == kind
    assert caught.value.may_have_been_applied == may_have_been_applied
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


# --- the client -------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 3)])
def test_connections_are_kept_or_not(serve: Serve, keep_alive: bool, connections: int) -> None:
    server = serve(ok)
    with open_client(server.url, keep_alive=keep_alive) as client:
        for _ in range(3):
            send(client, "GET", "/", deadline_seconds=5)
    assert server.connections == connections
    said_so = [b"connection: close" in request.lower() for request in server.requests]
    assert said_so == [not keep_alive] * 3


def test_a_restarted_server_is_found_again(serve: Serve) -> None:
    def answer_and_close(connection: socket.socket, request: bytes) -> None:
        ok(connection, request)
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(answer_and_close)
    with open_client(server.url) as client:
        for _ in range(3):
            assert send(client, "GET", "/", deadline_seconds=5).text == "ok"
            assert server.client_gone.wait(5)
            server.client_gone.clear()


def name_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "user:secret@127.0.0.1", "own-name", "OWN-NAME."])
def test_no_proxy_is_asked_for_this_machine(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    proxy, server = serve(ok), serve(ok)
    name_proxy(monkeypatch, proxy.url)
    look_up = socket.getaddrinfo

    def know_own_name(name: Any, *arguments: Any, **keywords: Any) -> Any:
        text = name.decode() if isinstance(name, bytes) else name
        return look_up(
            "127.0.0.1" if text.lower().startswith("own-name") else name, *arguments, **keywords
        )

    monkeypatch.setattr(socket, "getaddrinfo", know_own_name)
    port = server.url.rpartition(":")[2]
    with open_client(f"http://{host}:{port}") as client:
        send(client, "GET", "/", deadline_seconds=5)
    assert (len(proxy.requests), len(server.requests)) == (0, 1)


def test_without_a_proxy_no_name_is_looked_up_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "getproxies", lambda: {"no": "example.com", "ftp": "http://proxy"})
    monkeypatch.setattr(socket, "getaddrinfo", None)
    open_client("http://gpu.example").close()


def test_what_is_no_url_is_told_without_its_credentials() -> None:
    with pytest.raises(UserMistakeError, match="'http://host:port' is not a URL") as caught:
        open_client("http://user:secret@host:port")
    assert "secret" not in str(caught.value)


def test_the_environments_proxy_is_asked_for_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(ok)
    name_proxy(monkeypatch, proxy.url)
    with open_client("http://192.0.2.1") as client:  # an address for documentation, RFC 5737
        assert send(client, "GET", "/x", deadline_seconds=5).text == "ok"
    assert proxy.requests[0].startswith(b"GET http://192.0.2.1/x HTTP/1.1")
