from __future__ import annotations

import math
import ssl
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import TrackingRefusedError, TrackingUnreachableError, UserMistakeError
from pytest_tipbench.store.mlflow_client import MlflowClient, encoded
from pytest_tipbench.store.mlflow_errors import NOT_SERVED, RefusalError, UnansweredError
from pytest_tipbench.store.mlflow_settings import read_client_settings
from tests.unit.mlflow_stub import Reply, Request, StubServer, refused, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

QUICK = {"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0"}
"""Retries without a pause, as many as by default."""

_opened: list[MlflowClient] = []


@pytest.fixture(autouse=True)
def _close_clients() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def client_of(
    url: str,
    environ: Mapping[str, str] = QUICK,
    *,
    host_header: str | None = None,
    keep_alive: bool | None = True,
) -> MlflowClient:
    settings = read_client_settings(url, host_header=host_header, environ=environ)
    _opened.append(MlflowClient(settings, keep_alive=keep_alive))
    return _opened[-1]


def scripted(*replies: Reply) -> Callable[[Request], Reply]:
    """Answer with each reply in turn, and with the last one ever after."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


# --- address and variables --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://mlflow.example.org/", "https://mlflow.example.org"),
        ("http://host/team/mlflow/", "http://host/team/mlflow"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        (" http://host:5000/#/experiments/3 ", "http://host:5000"),
        ("http://anna:secret@host:5000/p", "http://host:5000/p"),
    ],
)
def test_the_address_is_taken_from_the_uri(uri: str, url: str) -> None:
    assert read_client_settings(uri, environ={}).url == url


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("sqlite:///mlflow.db", "mlflow server --backend-store-uri sqlite:///mlflow.db"),
        ("postgresql+psycopg2://db/x", "mlflow server --backend-store-uri"),
        ("file:///tmp/mlruns", "mlflow server --backend-store-uri"),
        ("./mlruns", "mlflow server --backend-store-uri"),
        ("databricks", "Databricks is not supported"),
        ("databricks://profile", "Databricks is not supported"),
        ("databricks-uc", "Databricks is not supported"),
        ("localhost:5000", "did you mean 'http://localhost:5000'?"),
        ("127.0.0.1:5000", "did you mean 'http://127.0.0.1:5000'?"),
        ("mlflow.example.org", "give its http:// or https:// address, or say `embedded`"),
        ("", "give its http:// or https:// address, or say `embedded`"),
        ("http://", "it names no host"),
        ("http://host:port", "is not a URL"),
        ("http://[::1", "is not a URL"),
    ],
)
def test_what_is_no_servers_address_is_the_users_mistake(uri: str, advice: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        read_client_settings(uri, environ={})
    assert str(caught.value).startswith(f"--tracking-uri {uri!r}")
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "ftp://anna:secret@host",
        "http://anna:secret@host:port",
        "http://anna:sec/secret@host",
        "http://anna:p@secret@host:port",
        "anna:secret@host:5000",
        "sqlite://anna:secret@host/db",
    ],
)
def test_a_password_in_the_uri_is_not_shown(uri: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        read_client_settings(uri, environ={})
    assert "secret" not in str(caught.value)


ALL_CREDENTIALS = {
    "MLFLOW_TRACKING_USERNAME": "user",
    "MLFLOW_TRACKING_PASSWORD": "password",
    "MLFLOW_TRACKING_TOKEN": "token",
}


def test_credentials_in_the_uri_come_first() -> None:
    settings = read_client_settings("http://anna:p%40ss@host", environ=ALL_CREDENTIALS)
    assert settings.auth == ("anna", "p@ss")
    assert "Authorization" not in settings.headers


def test_user_and_password_come_before_the_token() -> None:
    settings = read_client_settings("http://host", environ=ALL_CREDENTIALS)
    assert settings.auth == ("user", "password")
    assert "Authorization" not in settings.headers


def test_the_token_is_a_bearer() -> None:
    settings = read_client_settings("http://host", environ={"MLFLOW_TRACKING_TOKEN": "token"})
    assert settings.auth is None
    assert settings.headers["Authorization"] == "Bearer token"


def test_without_variables_the_defaults_are_mlflows_own() -> None:
    settings = read_client_settings("http://host", environ={"MLFLOW_HTTP_REQUEST_TIMEOUT": " "})
    assert settings.timeout_seconds == 120
    assert settings.max_retries == 7
    assert settings.backoff_factor == 2
    assert settings.headers == {}


def test_retries_that_a_user_sets_are_not_cut_short_by_our_patience() -> None:
    environ = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0.5",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_WORKSPACE": "team",
    }
    settings = read_client_settings("http://host", environ=environ)
    assert settings.max_retries == 3
    assert settings.backoff_factor == 0.5
    assert settings.timeout_seconds == 10
    assert math.isinf(settings.patience_seconds)
    assert settings.headers == {"X-MLFLOW-WORKSPACE": "team"}


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_an_impossible_number_is_the_users_mistake(text: str) -> None:
    with pytest.raises(UserMistakeError, match=r"MLFLOW_HTTP_REQUEST_TIMEOUT=.*0 or more"):
        read_client_settings("http://host", environ={"MLFLOW_HTTP_REQUEST_TIMEOUT": text})


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\x1b", "\x7f", "\udcff"])
@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_TOKEN", "MLFLOW_WORKSPACE"])
def test_a_variable_that_no_header_can_hold_is_told_without_its_value(
    name: str, character: str
) -> None:
    """RFC 9110, 5.5: no control character but the tab; and a lone surrogate is no UTF-8."""
    with pytest.raises(UserMistakeError) as caught:
        read_client_settings("http://host", environ={name: f"hun{character}ter2"})
    said = str(caught.value)
    assert said.startswith(f"{name}: it ")
    assert ("UTF-8" if character == "\udcff" else "line break") in said
    assert "\n" not in said
    assert "hun" not in said


def test_a_password_that_is_no_text_is_told_without_its_value() -> None:
    environ = {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "hun\udcffter2"}
    with pytest.raises(
        UserMistakeError, match="MLFLOW_TRACKING_PASSWORD: it is not valid"
    ) as caught:
        read_client_settings("http://host", environ=environ)
    assert "hun" not in str(caught.value)


def test_space_around_a_token_is_forgiven() -> None:
    environ = {"MLFLOW_TRACKING_TOKEN": " tökén \n"}
    settings = read_client_settings("http://host", environ=environ)
    assert settings.headers["Authorization"] == "Bearer tökén"


@pytest.mark.parametrize(
    "host", ["foo\nbar", "foo bar", "foo\0", "http://host", "host/path", "a@b", "\ud800"]
)
def test_what_is_no_host_is_told(host: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        read_client_settings("http://x", host_header=host, environ={})
    said = str(caught.value)
    assert said.startswith("--tracking-host-header ")
    assert said.endswith(": expected HOST or HOST:PORT")
    assert "\n" not in said


@pytest.mark.parametrize(
    "host", ["mlflow.example.org", "127.0.0.1:5000", "[::1]:5000", "bücher.de"]
)
def test_a_host_is_sent_as_it_is_given(host: str) -> None:
    settings = read_client_settings("http://x", host_header=host, environ={})
    assert settings.headers["Host"] == host


# --- certificates -----------------------------------------------------------------------------


def test_insecure_tls_takes_any_certificate() -> None:
    environ = {"MLFLOW_TRACKING_INSECURE_TLS": "True"}
    verify = read_client_settings("https://host", environ=environ).verify
    assert isinstance(verify, ssl.SSLContext)
    assert verify.verify_mode is ssl.CERT_NONE


def test_a_certificate_that_must_be_checked_and_not_checked_is_the_users_mistake() -> None:
    environ = {"MLFLOW_TRACKING_INSECURE_TLS": "1", "MLFLOW_TRACKING_SERVER_CERT_PATH": "x.pem"}
    with pytest.raises(UserMistakeError, match="exclude each other"):
        read_client_settings("https://host", environ=environ)


@pytest.mark.parametrize("kind", ["SERVER", "CLIENT"])
def test_a_missing_or_foreign_certificate_file_is_named(kind: str, tmp_path: Path) -> None:
    name = f"MLFLOW_TRACKING_{kind}_CERT_PATH"
    foreign = tmp_path / "notes.txt"
    foreign.write_text("no certificate", encoding="utf-8")
    for path in (tmp_path / "missing.pem", foreign):
        with pytest.raises(UserMistakeError, match=f"{name}=.*{path.name}.* cannot be used"):
            read_client_settings("https://host", environ={name: str(path)})


def test_certificates_are_checked_as_the_variables_say(tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme", reason="makes the certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("anna@example.org").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "client.pem")
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    server_only = {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(tmp_path / "ca.pem")}
    both = server_only | {"MLFLOW_TRACKING_CLIENT_CERT_PATH": str(tmp_path / "client.pem")}
    once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with serving(lambda _: Reply(body={"answer": 1}), tls) as server:
        assert client_of(server.url, both).call("GET", "/x") == {"answer": 1}
        assert client_of(server.url, server_only).call("GET", "/x") == {"answer": 1}
        insecure = {"MLFLOW_TRACKING_INSECURE_TLS": "true"}
        assert client_of(server.url, insecure).call("GET", "/x") == {"answer": 1}
        with pytest.raises(TrackingUnreachableError, match=r"(?i)certificate"):
            client_of(server.url, once).call("GET", "/x")
    tls.verify_mode = ssl.CERT_REQUIRED
    with serving(lambda _: Reply(body={"answer": 1}), tls) as server:
        assert client_of(server.url, both).call("GET", "/x") == {"answer": 1}
        with pytest.raises(TrackingUnreachableError):
            client_of(server.url, server_only | once).call("GET", "/x")


# --- what is sent -----------------------------------------------------------------------------


def test_a_call_is_json_below_the_api_with_the_credentials_and_the_host() -> None:
    with serving(lambda _: Reply(body={"answer": 1})) as server:
        client = client_of(f"{server.url}/team", ALL_CREDENTIALS, host_header="mlflow.example.org")
        assert client.call("POST", "/runs/search", {"filter": "ü 😀 \x00"}) == {"answer": 1}
        client.close()
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/team/api/2.0/mlflow/runs/search")
    assert request.json == {"filter": "ü 😀 \x00"}
    assert request.headers["host"] == "mlflow.example.org"
    assert request.headers["authorization"] == "Basic dXNlcjpwYXNzd29yZA=="  # user:password
    assert request.headers["content-type"] == "application/json"
    assert "origin" not in request.headers


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800"])
def test_what_mlflow_would_drop_with_a_200_is_never_sent(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant|surrogates not allowed"):
        encoded({"metrics": [{"value": value}]})


def test_artifacts_are_raw_bytes() -> None:
    kept: dict[str, bytes] = {}

    def answer(request: Request) -> Reply:
        if request.method == "PUT":
            kept[request.path] = request.body
            return Reply(body=b"")
        return Reply(body=kept[request.path])

    with serving(answer) as server:
        client = client_of(server.url)
        client.put_artifact("1/run/artifacts/raw.txt", b"\x00\r\n\xff")
        assert client.get_artifact("1/run/artifacts/raw.txt") == b"\x00\r\n\xff"
    assert list(kept) == ["/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts/raw.txt"]


def test_the_servers_clock_is_the_one_of_its_answers() -> None:
    date = {"Date": "Tue, 03 Nov 2026 09:00:00 GMT"}  # 1793696400 by `date -u -d … +%s`
    with serving(lambda _: Reply(headers=date)) as server:
        client = client_of(server.url)
        assert client.server_time() == pytest.approx(time.time(), abs=2)
        client.call("GET", "/x")
        assert client.server_time() == pytest.approx(1793696400, abs=2)


def test_a_server_without_a_clock_gets_ours() -> None:
    with serving(lambda _: Reply(headers={"Date": "soon"})) as server:
        client = client_of(server.url)
        client.call("GET", "/x")
        assert client.server_time() == pytest.approx(time.time(), abs=2)


@pytest.mark.parametrize(
    ("reply", "version"),
    [
        (Reply(body=b"3.17.2"), "3.17.2"),
        (Reply(body=b"<html>"), "unknown"),
        (Reply(404), "unknown"),
    ],
)
def test_the_version_is_what_the_server_tells(reply: Reply, version: str) -> None:
    with serving(lambda _: reply) as server:
        assert client_of(server.url).version() == version


# --- refusals ---------------------------------------------------------------------------------


def refusal_of(reply: Reply, environ: Mapping[str, str] = QUICK) -> RefusalError:
    with serving(lambda _: reply) as server, pytest.raises(TrackingRefusedError) as caught:
        client_of(server.url, environ).call("GET", "/x")
    assert len(server.requests) == 1  # a "no" is not asked for twice
    assert server.url in str(caught.value)
    assert isinstance(caught.value, RefusalError)
    return caught.value


def html(status: int, **headers: str) -> Reply:
    return Reply(status, b"<html>\n<b>no</b>", {"Content-Type": "text/html", **headers})


@pytest.mark.parametrize(
    ("environ", "begun"),
    [
        ({}, "wants credentials"),
        (ALL_CREDENTIALS, "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (401)"),
        ({"MLFLOW_TRACKING_TOKEN": "x"}, "refused the credentials of MLFLOW_TRACKING_TOKEN"),
    ],
)
def test_a_401_names_the_variables(environ: Mapping[str, str], begun: str) -> None:
    message = str(refusal_of(html(401), environ))
    assert begun in message
    assert (
        "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        in (message)
    )


def test_a_refused_host_is_explained_with_both_flags() -> None:
    body = b"Invalid Host header - possible DNS rebinding attack detected"
    message = str(refusal_of(Reply(403, body)))
    assert "mlflow server --allowed-hosts 127.0.0.1:" in message
    assert "--tracking-host-header HOST" in message


def test_another_403_says_what_the_server_says() -> None:
    error = refusal_of(refused("PERMISSION_DENIED", "not for\nyou", 403))
    assert str(error).endswith("refused (403): PERMISSION_DENIED: not for you")
    assert error.error_code == "PERMISSION_DENIED"


def test_a_redirect_names_the_target() -> None:
    message = str(refusal_of(html(302, Location="https://login.example.org")))
    assert "sends us to https://login.example.org (302)" in message


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (html(404), "has no MLflow REST API (404)"),
        (html(200), "does not speak MLflow's REST API (it answered with text/html"),
        (Reply(200, b"[1]"), "does not speak MLflow's REST API"),
        (html(418), "refused (418): no reason given"),
        (Reply(413, b"too large"), "refused (413): too large"),
        (Reply(400, b"x" * 5000), "x…"),
        (refused("RESOURCE_DOES_NOT_EXIST", "no run", 404), "refused (404): RESOURCE_DOES_NOT"),
    ],
)
def test_other_answers_are_told(reply: Reply, said: str) -> None:
    message = str(refusal_of(reply))
    assert said in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, {"detail": "Artifact serving is disabled. Run with `--serve-artifacts`."}),
        Reply(503, b"Endpoint disabled due to `--no-serve-artifacts`"),
    ],
)
def test_a_server_without_artifacts_is_told_from_a_busy_one(reply: Reply) -> None:
    assert refusal_of(reply).error_code == NOT_SERVED


# --- tries ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    with serving(scripted(Reply(status), Reply(status), Reply(body={"answer": 1}))) as server:
        assert client_of(server.url).call("GET", "/x") == {"answer": 1}
    assert len(server.requests) == 3


def test_a_failure_that_stays_is_unreachable_and_says_why() -> None:
    with serving(lambda _: refused("INTERNAL_ERROR", "database is locked", 500)) as server:
        environ = QUICK | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
        with pytest.raises(
            TrackingUnreachableError, match="answered 500: INTERNAL_ERROR: database"
        ):
            client_of(server.url, environ).call("GET", "/x")
    assert len(server.requests) == 3


def test_a_dropped_connection_is_tried_again() -> None:
    with serving(scripted(Reply(is_dropped=True), Reply(body={"answer": 1}))) as server:
        assert client_of(server.url).call("POST", "/x", {}) == {"answer": 1}


def test_two_writers_of_one_new_tag_are_no_refusal() -> None:
    collision = refused("BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed: tags")
    with serving(scripted(collision, Reply(body={"answer": 1}))) as server:
        assert client_of(server.url).call("POST", "/runs/set-tag", {}) == {"answer": 1}


def test_an_existing_experiment_is_a_refusal_although_a_constraint_failed() -> None:
    reply = refused("RESOURCE_ALREADY_EXISTS", "UNIQUE constraint failed: experiments.name")
    assert refusal_of(reply).error_code == "RESOURCE_ALREADY_EXISTS"


def test_the_server_says_how_long_to_wait() -> None:
    wait = Reply(429, headers={"Retry-After": "1"})
    with serving(scripted(wait, Reply(body={"answer": 1}))) as server:
        begun = time.monotonic()
        client_of(server.url).call("GET", "/x")
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("value", ["3600", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_nobody_waits_longer_than_patience(value: str) -> None:
    reply = Reply(503, headers={"Retry-After": value})
    with serving(lambda _: reply) as server, pytest.raises(TrackingUnreachableError):
        client_of(server.url).call("GET", "/x")
    assert len(server.requests) == 1


def test_a_retry_after_that_is_past_or_nonsense_is_no_obstacle() -> None:
    past = Reply(503, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"})
    nonsense = Reply(503, headers={"Retry-After": "soon"})
    with serving(scripted(past, nonsense, Reply(body={"answer": 1}))) as server:
        assert client_of(server.url).call("GET", "/x") == {"answer": 1}


def test_nobody_at_the_address_is_told_soon() -> None:
    with serving(lambda _: Reply()) as server:
        pass
    with pytest.raises(TrackingUnreachableError, match=f"127.0.0.1:{server.port}") as caught:
        client_of(server.url).call("GET", "/x", patience_seconds=0)
    assert isinstance(caught.value, UnansweredError)
    assert not caught.value.may_have_been_applied


def test_closing_ends_a_wait_between_tries() -> None:
    asked = threading.Event()
    reply = Reply(503, headers={"Retry-After": "60"}, before=asked.set)
    environ = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5"}
    failures: list[Exception] = []
    with serving(lambda _: reply) as server:
        client = client_of(server.url, environ)

        def work() -> None:
            try:
                client.call("GET", "/x")
            except TrackingUnreachableError as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        assert asked.wait(10)
        client.close()
        thread.join(10)
        assert not thread.is_alive()
        assert len(failures) == 1
        client.close()
        with pytest.raises(TrackingUnreachableError, match="is closed"):
            client.call("GET", "/x")


# --- creating once ----------------------------------------------------------------------------


class Finder:
    """Counts how often it was asked, and finds what it is given."""

    def __init__(self, *found: str | None) -> None:
        self._found = list(found)
        self.times = 0

    def __call__(self) -> str | None:
        self.times += 1
        return self._found.pop(0)


def test_what_was_made_although_no_answer_came_is_not_made_twice() -> None:
    with serving(lambda _: Reply(is_dropped=True)) as server:
        find = Finder("run 7")
        assert client_of(server.url).create("/runs/create", {}, find) == "run 7"
    assert len(server.requests) == 1


def test_what_was_not_made_is_made_after_a_look() -> None:
    replies = scripted(Reply(500), Reply(is_dropped=True), Reply(body={"run": 1}))
    with serving(replies) as server:
        find = Finder(None, None)
        assert client_of(server.url).create("/runs/create", {}, find) == {"run": 1}
    assert len(server.requests) == 3
    assert find.times == 2


def test_what_the_server_did_not_even_look_at_needs_no_look() -> None:
    with serving(scripted(Reply(429), Reply(body={"run": 1}))) as server:
        find = Finder()
        assert client_of(server.url).create("/runs/create", {}, find) == {"run": 1}
    assert find.times == 0


@pytest.mark.parametrize("status", [408, 504])
def test_what_the_server_may_still_be_making_is_left_to_later(status: int) -> None:
    with serving(lambda _: Reply(status)) as server, pytest.raises(TrackingUnreachableError):
        client_of(server.url).create("/runs/create", {}, Finder())
    assert len(server.requests) == 1


def test_no_answer_in_time_is_left_to_later() -> None:
    release = threading.Event()
    with serving(lambda _: Reply(before=lambda: release.wait(10))) as server:
        client = client_of(server.url, {"MLFLOW_HTTP_REQUEST_TIMEOUT": "0.2"})
        with pytest.raises(TrackingUnreachableError):
            client.create("/runs/create", {}, Finder())
        release.set()
    assert len(server.requests) == 1


# --- the connection ---------------------------------------------------------------------------


@pytest.fixture
def stalling() -> Iterator[StubServer]:
    """Hold every answer but the first on a connection back by the 44 ms that Linux does."""
    pause = threading.Event()

    def answer(request: Request) -> Reply:
        stalls = request.number_on_connection > 1
        return Reply(before=lambda: pause.wait(0.044) if stalls else None)

    with serving(answer) as server:
        yield server


def test_a_server_that_stalls_kept_connections_gets_new_ones(stalling: StubServer) -> None:
    client = client_of(stalling.url, keep_alive=None)
    client.call("GET", "/first")
    probing = stalling.connections
    for _ in range(3):
        client.call("GET", "/x")
    assert stalling.connections == probing + 3
    assert stalling.requests[-1].headers["connection"] == "close"


def test_a_server_that_does_not_stall_keeps_its_connection() -> None:
    with serving(lambda _: Reply()) as server:
        client = client_of(server.url, keep_alive=None)
        for _ in range(5):
            client.call("GET", "/x")
        assert server.connections == 1


def test_a_server_that_is_slow_either_way_keeps_its_connection() -> None:
    pause = threading.Event()
    with serving(lambda _: Reply(before=lambda: pause.wait(0.05))) as server:
        client = client_of(server.url, keep_alive=None)
        client.call("GET", "/first")
        probing = server.connections
        client.call("GET", "/x")
        assert server.connections == probing


def test_a_known_server_is_not_measured() -> None:
    with serving(lambda _: Reply()) as server:
        client_of(server.url, keep_alive=True).call("GET", "/x")
        assert [request.path for request in server.requests] == ["/api/2.0/mlflow/x"]


def test_a_server_that_is_away_while_it_would_be_measured_is_unreachable() -> None:
    with serving(lambda _: Reply(is_dropped=True)) as server:
        client = client_of(server.url, keep_alive=None)
        with pytest.raises(TrackingUnreachableError):
            client.call("GET", "/x", patience_seconds=0)
