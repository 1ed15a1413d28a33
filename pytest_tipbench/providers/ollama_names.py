"""Owns the forms of Ollama's host addresses and model names; imports errors only."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from pytest_tipbench.errors import UserMistakeError

DEFAULT_HOST = "http://127.0.0.1:11434"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OLLAMA_PORT = 11434
_LOOPBACK = "127.0.0.1"


def normalise_host(text: str | None) -> str:
    """Return the base URL that an ``OLLAMA_HOST`` stands for: scheme, host, port, path.

    The rules are those of Ollama's own client (``envconfig.Host``): the default port is 11434
    without a scheme, 80 after ``http://`` and 443 after ``https://``. Addresses that a server binds
    to, ``0.0.0.0`` and ``::``, become the loopback that a client can reach.

    Raises:
        UserMistakeError: another scheme than http or https, or a port that is none.
    """
    given = (text or "").strip().strip("\"'").strip()
    scheme, found, rest = given.partition("://")
    if not found:
        scheme, rest = "http", given
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise UserMistakeError(f"Ollama host {given!r}: the scheme is http or https, not {scheme}")
    default_port = _DEFAULT_PORTS[scheme] if found else _OLLAMA_PORT
    authority, _, path = rest.partition("/")
    credentials, at_sign, host_port = authority.rpartition("@")
    host, port_text = _split_port(host_port)
    port = _port(port_text, default_port, given)
    path = path.strip("/")
    return f"{scheme}://{credentials}{at_sign}{_reachable(host)}:{port}{'/' if path else ''}{path}"


def host_key(url: str) -> str:
    """Return the identity of the host that an address names, as ``host:port`` and its path.

    All names of this machine's loopback (``localhost``, ``127.0.0.1``, ``0.0.0.0``, ``[::1]``) are
    one host; the scheme and credentials do not count.

    Raises:
        UserMistakeError: as :func:`normalise_host`.
    """
    parts = urlsplit(normalise_host(url))
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost") or _is_loopback_address(host):
        host = _LOOPBACK
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{parts.port}{parts.path}"


def _split_port(host_port: str) -> tuple[str, str]:
    """Split off the port; an IPv6 address may stand bare, and then has none."""
    if host_port.startswith("["):
        host, _, after = host_port[1:].partition("]")
        return host, after.removeprefix(":")
    if host_port.count(":") > 1:
        return host_port, ""
    host, _, port = host_port.partition(":")
    return host, port


def _port(text: str, default: int, given: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 65535):
        raise UserMistakeError(f"Ollama host {given!r}: {text!r} is not a port (1 to 65535)")
    return int(text)


def _reachable(host: str) -> str:
    """Return the host as a URL has it, with an address to connect to."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() or _LOOPBACK
    if address.is_unspecified:
        return _LOOPBACK if address.version == 4 else "[::1]"
    return str(address) if address.version == 4 else f"[{address}]"


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def canonical_name(name: str) -> str:
    """Return the form in which two names of one installed model are equal.

    Names are case-insensitive, the tag ``latest`` and the public registry's prefix may be left out.
    Aliases have other names still: weights are compared by digest.
    """
    short = name.strip().lower().split("://", 1)[-1]
    for prefix in ("registry.ollama.ai/", "library/"):
        short = short.removeprefix(prefix)
    return short if ":" in short.rsplit("/", 1)[-1] else f"{short}:latest"


def is_cloud_name(name: str) -> bool:
    """Say whether the name asks Ollama's cloud: ``…:cloud`` or ``…-cloud``, in any case.

    Such a name needs no installed stub: the server passes the request on.
    """
    return name.strip().lower().endswith((":cloud", "-cloud"))
