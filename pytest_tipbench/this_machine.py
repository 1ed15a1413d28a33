"""Owns which host names and addresses are this machine's own; imports nothing of ours.

One rule for all that hangs on it: which locks a server shares, and that no proxy is asked for it.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

LOOKUP_SECONDS = 2.0
"""How long a name may take to be looked up; one that takes longer counts as another machine's."""
_SOME_PORT = 9


@functools.cache
def is_this_machine(host: str) -> bool:
    """Say whether a host's name or address, without port and brackets, is this machine.

    It is where it is the loopback, this machine's own name, or an address of one of its network
    interfaces, or where it is looked up and stands for such an address (``127.1``, a name in
    ``/etc/hosts``). The unspecified addresses count, since a client that connects to them ends up
    at the loopback; ``localhost`` and what ends in ``.localhost`` are never looked up (RFC 6761).
    What cannot be looked up in time is another machine. A process has one answer for a name.
    """
    name = host.lower().rstrip(".")
    if not name:
        return False
    if is_localhost_name(name) or name == socket.gethostname().lower().rstrip("."):
        return True
    return any(_is_own(address) for address in _looked_up(name))


def is_localhost_name(name: str) -> bool:
    """Say whether a name in small letters is the loopback's by definition."""
    return name == "localhost" or name.endswith(".localhost")


def unmapped(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the IPv4 address that an IPv6 one such as ``::ffff:127.0.0.1`` stands for."""
    return getattr(address, "ipv4_mapped", None) or address


def _looked_up(name: str) -> list[Any]:
    """Return the socket addresses of a name or address; none where it has none in time."""
    found: list[Any] = []

    def look_up() -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: what IDNA does not encode
            answers = socket.getaddrinfo(name, _SOME_PORT, type=socket.SOCK_DGRAM)
            found.extend(answer[4] for answer in answers)

    # A lookup cannot be cut short, so it is left behind.
    thread = threading.Thread(target=look_up, name="tipbench-lookup", daemon=True)
    thread.start()
    thread.join(LOOKUP_SECONDS)
    return list(found)


def _is_own(socket_address: tuple[Any, ...]) -> bool:
    address = _address_in(socket_address)
    if address.is_loopback or address.is_unspecified:
        return True
    if address.version == 4:
        socket_address = (str(address), _SOME_PORT)
    return _source_of(socket_address) == address


def _address_in(
    socket_address: tuple[Any, ...],
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return unmapped(ipaddress.ip_address(str(socket_address[0]).partition("%")[0]))


def _source_of(
    socket_address: tuple[Any, ...],
) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address from which this machine would talk to another; sends nothing.

    To one of its own addresses a machine talks from that very address.
    """
    family = socket.AF_INET if len(socket_address) == 2 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(socket_address)
        return _address_in(probe.getsockname())
    return None
