"""Owns how an MLflow server is reached: address and variables; imports errors and httpx only."""

from __future__ import annotations

import math
import os
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx

from pytest_tipbench.addresses import faulty_without_credentials
from pytest_tipbench.errors import UserMistakeError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATIENCE_SECONDS = 20.0
"""How long a failing call is tried again where the user set no number: the ledger is patient."""
_HOST_AND_PORT = re.compile(r"[^/@]+:[0-9]+(/.*)?")
_HOST = re.compile(r"[^\s/@\x00-\x1f\x7f]+")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_STORES = ("file", "sqlite", "mysql", "postgresql", "mssql")


@dataclass(frozen=True)
class ClientSettings:
    """How to reach a tracking server; made from the URI and MLflow's environment variables."""

    url: str
    """``http(s)://host[:port][/prefix]``, without credentials."""
    auth: tuple[str, str] | None
    headers: Mapping[str, str]
    verify: bool | ssl.SSLContext
    timeout_seconds: float
    max_retries: int
    backoff_factor: float
    patience_seconds: float
    credentials_from: str
    """Where the credentials come from, for the message when they are refused; "" = none."""


def read_client_settings(
    uri: str, *, host_header: str | None = None, environ: Mapping[str, str] = os.environ
) -> ClientSettings:
    """Read the address and what MLflow's own variables say of credentials, TLS and retries.

    Credentials in the URI come before ``MLFLOW_TRACKING_USERNAME``/``_PASSWORD``, and those before
    ``MLFLOW_TRACKING_TOKEN``. See
    https://mlflow.org/docs/latest/self-hosting/architecture/tracking-server for the variables.

    Raises:
        UserMistakeError: not the address of a server, or a variable or the host header with an
            impossible value; a secret is not shown.
    """
    try:
        parts = urlsplit(uri.strip())
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError as error:
        raise UserMistakeError(
            f"--tracking-uri {faulty_without_credentials(uri)!r} is not a URL: {error}"
        ) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserMistakeError(_no_server(uri, parts.scheme))
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    headers = {"Host": _host(host_header)} if host_header else {}
    auth: tuple[str, str] | None = None
    source = ""
    if parts.username is not None:
        auth = (unquote(parts.username), unquote(parts.password or ""))
        source = "the tracking URI"
    elif environ.get("MLFLOW_TRACKING_USERNAME") or environ.get("MLFLOW_TRACKING_PASSWORD"):
        auth = (
            environ.get("MLFLOW_TRACKING_USERNAME", ""),
            environ.get("MLFLOW_TRACKING_PASSWORD", ""),
        )
        source = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    elif token := environ.get("MLFLOW_TRACKING_TOKEN", "").strip():
        source = "MLFLOW_TRACKING_TOKEN"
        headers["Authorization"] = f"Bearer {_sendable(token, source)}"
    if auth is not None:
        _check_encodable("".join(auth), source)
    if workspace := environ.get("MLFLOW_WORKSPACE", "").strip():
        headers["X-MLFLOW-WORKSPACE"] = _sendable(workspace, "MLFLOW_WORKSPACE")
    retries = _number(environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", None)
    return ClientSettings(
        url=f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}",
        auth=auth,
        headers=headers,
        verify=_tls(environ) if parts.scheme == "https" else True,
        timeout_seconds=_number(environ, "MLFLOW_HTTP_REQUEST_TIMEOUT", 120.0) or 120.0,
        max_retries=7 if retries is None else int(retries),
        backoff_factor=_number(environ, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", 2.0) or 0.0,
        patience_seconds=DEFAULT_PATIENCE_SECONDS if retries is None else math.inf,
        credentials_from=source,
    )


def _no_server(uri: str, scheme: str) -> str:
    shown = faulty_without_credentials(uri)
    begun = f"--tracking-uri {shown!r} is not the address of an MLflow server"
    if scheme in ("http", "https"):
        return f"{begun}: it names no host"
    if uri.startswith(("databricks", "uc:")):
        return f"{begun}: Databricks is not supported, give the http(s):// address of a server"
    if _HOST_AND_PORT.fullmatch(uri):
        return f"{begun}: did you mean 'http://{uri}'?"
    if scheme.partition("+")[0] in _STORES or (not scheme and "/" in uri):
        return (
            f"{begun}: start one over that store (mlflow server --backend-store-uri {shown}) and "
            "give its http:// address, or say `embedded`"
        )
    return f"{begun}: give its http:// or https:// address, or say `embedded`"


def _host(text: str) -> str:
    if not _HOST.fullmatch(text) or not _is_encodable(text):
        raise UserMistakeError(f"--tracking-host-header {text!r}: expected HOST or HOST:PORT")
    return text


def _sendable(text: str, source: str) -> str:
    """Return a header's value, which must not hold a control character (RFC 9110, 5.5)."""
    if _CONTROL_CHARACTERS.search(text):
        raise UserMistakeError(
            f"{source}: it holds a line break or another control character, which no HTTP header "
            "can: set it anew (its value is not shown here)"
        )
    _check_encodable(text, source)
    return text


def _check_encodable(text: str, source: str) -> None:
    if not _is_encodable(text):
        raise UserMistakeError(
            f"{source}: it is not valid UTF-8: set it anew (its value is not shown here)"
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte of the environment's that is no UTF-8
        return False
    return True


def _number(environ: Mapping[str, str], name: str, default: float | None) -> float | None:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UserMistakeError(f"{name}={text!r}: expected a number, 0 or more")
    return value


def _tls(environ: Mapping[str, str]) -> bool | ssl.SSLContext:
    insecure = environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").strip().lower() in ("true", "1")
    server = environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH", "").strip()
    client = environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH", "").strip()
    if insecure and server:
        raise UserMistakeError(
            "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH exclude each other: "
            "unset one"
        )
    context = httpx.create_ssl_context(verify=not insecure)
    if server:
        is_folder = os.path.isdir(server)  # noqa: PTH112 - a string from the environment, as given
        name = "MLFLOW_TRACKING_SERVER_CERT_PATH"
        try:
            context = ssl.create_default_context(
                cafile=None if is_folder else server, capath=server if is_folder else None
            )
        except OSError as error:  # ssl.SSLError is one too
            raise UserMistakeError(f"{name}={server!r} cannot be used: {error}") from None
    if client:
        name = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
        try:
            context.load_cert_chain(client)
        except OSError as error:
            raise UserMistakeError(f"{name}={client!r} cannot be used: {error}") from None
    return context
