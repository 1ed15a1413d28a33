"""A machine whose name, addresses and lookups a test decides, whatever the real one's are."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench import this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Machine:
    """What the system says; a name that is not among its addresses is not known."""

    def __init__(self) -> None:
        self.name = "Desk.example"
        self.own = {"198.51.100.7", "2001:db8::7"}
        """Addresses of its network interfaces."""
        self.addresses: dict[str, list[str]] = {}
        self.looked_up: list[str] = []
        self.before_an_answer: Callable[[], object] = lambda: None

    def look_up(self, host: str, port: int, **_: Any) -> list[Any]:
        """As ``socket.getaddrinfo``."""
        try:
            found = [str(ipaddress.ip_address(host))]
        except ValueError:
            self.looked_up.append(host)
            self.before_an_answer()
            if host not in self.addresses:
                raise socket.gaierror(socket.EAI_NONAME, "not known") from None
            found = self.addresses[host]
        return [
            (0, 0, 0, "", (text, port, 0, 0) if ":" in text else (text, port)) for text in found
        ]

    def source_of(self, socket_address: tuple[Any, ...]) -> object:
        """As ``this_machine._source_of``; to other machines it talks from one of its own."""
        text = str(socket_address[0])
        return ipaddress.ip_address(text if text in self.own else min(self.own))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()
    monkeypatch.setattr(socket, "gethostname", lambda: made.name)
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    monkeypatch.setattr(this_machine, "_source_of", made.source_of)
    this_machine.is_this_machine.cache_clear()
    yield made
    this_machine.is_this_machine.cache_clear()
