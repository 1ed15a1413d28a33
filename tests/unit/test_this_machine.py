from __future__ import annotations

import socket
import threading
import time

import pytest

from pytest_tipbench import this_machine
from pytest_tipbench.this_machine import is_this_machine
from tests.unit.machine_samples import Machine, machine

__all__ = ["machine"]


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "app.localhost",
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        # Its own name, in any case and fully qualified, and what its interfaces have.
        "desk.example",
        "DESK.EXAMPLE.",
        "198.51.100.7",
        "::ffff:198.51.100.7",
        "2001:db8::7",
    ],
)
def test_names_and_addresses_of_this_machine(machine: Machine, host: str) -> None:
    assert is_this_machine(host)
    assert machine.looked_up == []


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.1", ["127.0.0.1"]),
        ("ip6-localhost", ["::1"]),
        ("debian", ["127.0.1.1"]),
        ("desk", ["198.51.100.7"]),
        ("desk.lan", ["203.0.113.9", "2001:db8::7"]),
        ("mapped", ["::ffff:127.0.0.1"]),
    ],
)
def test_a_name_is_this_machine_where_it_stands_for_one_of_its_addresses(
    machine: Machine, host: str, addresses: list[str]
) -> None:
    machine.addresses[host] = addresses
    assert is_this_machine(host)
    assert is_this_machine(f"{host.upper()}.")
    assert set(machine.looked_up) == {host}


@pytest.mark.parametrize(
    "host",
    [
        "gpu.example",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "unknown",
        "198.51.100.8",
        "128.0.0.1",
        "2001:db8::8",
        "fe80::1",
        "x\0y",
        "",
        ".",
    ],
)
def test_other_machines(machine: Machine, host: str) -> None:
    machine.addresses["gpu.example"] = ["203.0.113.9"]
    assert not is_this_machine(host)


def test_a_name_is_looked_up_once(machine: Machine) -> None:
    machine.addresses["desk"] = ["127.0.0.1"]
    assert [is_this_machine("desk") for _ in range(3)] == [True] * 3
    machine.addresses.clear()  # a process goes on with the answer that its locks were taken by
    assert is_this_machine("desk")
    assert machine.looked_up == ["desk"]


def test_a_lookup_that_takes_too_long_is_not_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(this_machine, "LOOKUP_SECONDS", 0.05)
    over = threading.Event()
    machine.addresses["slow"] = ["127.0.0.1"]
    machine.before_an_answer = lambda: over.wait(20)
    started = time.monotonic()
    assert not is_this_machine("slow")
    assert time.monotonic() - started < 5
    over.set()


def test_a_name_that_no_resolver_takes_is_another_machine() -> None:
    assert not is_this_machine(f"{'ä' * 80}.invalid")


def test_a_machine_talks_to_itself_from_the_address_that_it_is_asked_for() -> None:
    """As the real system has it."""
    source = this_machine._source_of(("127.0.0.1", 9))
    assert str(source) == "127.0.0.1"
    assert this_machine._source_of(("255.255.255.255", 9)) is None  # a broadcast, not allowed
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address for documentation: sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    assert is_this_machine(own)
