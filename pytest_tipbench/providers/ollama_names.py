"""Owns the forms of Ollama's host addresses and model names; imports no httpx."""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import urlsplit

from pytest_tipbench.addresses import without_credentials
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.this_machine import is_localhost_name, is_this_machine, unmapped

DEFAULT_HOST = "http://127.0.0.1:11434"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OLLAMA_PORT = 11434
_LOOPBACK = "127.0.0.1"
_NOT_IN_HOSTS = re.compile(r"[\s\x00-\x20\x7f!\"#$%&'()*+,/:;<=>?@\[\\\]^`{|}]")


def normalise_host(text: str | None) -> str:
    """Return the base URL that an ``OLLAMA_HOST`` stands for: scheme, host, port, path.

    The rules are those of Ollama's own client (``envconfig.Host``): the default port is 11434
    without a scheme, 80 after ``http://`` and 443 after ``https://``. Addresses that a server binds
    to, ``0.0.0.0`` and ``::``, become the loopback that a client can reach. The loopback's other
    spellings (``localhost.``, ``127.1``, ``::ffff:127.0.0.1``) become those that a server's own
    check of the name knows.

    Raises:
        UserMistakeError: another scheme than http or https, a port that is none, a host that no
            machine can have, or several hosts in one.
    """
    given = (text or "").strip().strip("\"'").strip()
    scheme, found, rest = given.partition("://")
    if not found:
        scheme, rest = "http", given
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise _mistake(given, f"the scheme is http or https, not {scheme}")
    default_port = _DEFAULT_PORTS[scheme] if found else _OLLAMA_PORT
    authority, _, path = rest.partition("/")
    credentials, at_sign, host_port = authority.rpartition("@")
    if "," in host_port:
        raise _mistake(given, "one host each: repeat --ollama-host for several")
    host, port_text = _split_port(host_port)
    host = _reachable(host, given)
    port = _port(port_text, default_port, given)
    path = path.strip("/")
    return f"{scheme}://{credentials}{at_sign}{host}:{port}{'/' if path else ''}{path}"


def host_key(url: str) -> str:
    """Return the identity of the host that an address names, as ``host:port`` and its path.

    All names of this machine (see :func:`pytest_tipbench.this_machine.is_this_machine`) are one
    host, ``127.0.0.1``; the scheme and credentials do not count.

    Raises:
        UserMistakeError: as :func:`normalise_host`.
    """
    parts = urlsplit(normalise_host(url))
    host = (parts.hostname or "").rstrip(".")
    if is_this_machine(host):
        host = _LOOPBACK
    bracketed = f"[{host}]" if ":" in host else host
    return f"{bracketed}:{parts.port}{parts.path}"


def _mistake(given: str, reason: str) -> UserMistakeError:
    return UserMistakeError(f"Ollama host {without_credentials(given)!r}: {reason}")


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
        raise _mistake(given, f"{text!r} is not a port (1 to 65535)")
    return int(text)


def _reachable(host: str, given: str) -> str:
    """Return the host as a URL has it, with an address to connect to."""
    if not host:
        return _LOOPBACK
    try:
        address = unmapped(ipaddress.ip_address(host))
    except ValueError:
        return _reachable_name(host, given)
    if address.is_unspecified:
        return _LOOPBACK if address.version == 4 else "[::1]"
    return str(address) if address.version == 4 else f"[{address}]"


def _reachable_name(host: str, given: str) -> str:
    if _NOT_IN_HOSTS.search(host):
        raise _mistake(given, f"{host!r} is neither a host's name nor an address")
    name = host.lower()
    if is_localhost_name(name.rstrip(".")):
        return name.rstrip(".")
    try:  # the short forms that every resolver takes for an address, such as 127.1
        short = ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return name
    return _LOOPBACK if short.is_unspecified else str(short) if short.is_loopback else name


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
