"""Other ways to write this machine's loopback than everybody's, as far as it knows them itself."""

from __future__ import annotations

import socket

import pytest


def _is_reached_by_own_name() -> bool:
    try:
        found = socket.getaddrinfo(socket.gethostname(), 9, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return "127.0.0.1" in [address[4][0] for address in found]


OTHER_NAMES = (
    "localhost.:{port}",
    "127.1:{port}",
    "[::ffff:127.0.0.1]:{port}",
    pytest.param(
        f"{socket.gethostname()}:{{port}}",
        id="own-name",
        marks=pytest.mark.skipif(
            not _is_reached_by_own_name(), reason="this machine's name is not the loopback's"
        ),
    ),
)
"""Forms of an address, each with a place for its port."""
