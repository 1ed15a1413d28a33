from __future__ import annotations

import pytest

from pytest_tipbench.addresses import faulty_without_credentials, without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:secret@127.0.0.1:1/x", "http://127.0.0.1:1/x"),
        ("user:se@cret@host", "host"),
        ("http://host:1/x@y", "http://host:1/x@y"),
        ("http://host:1", "http://host:1"),
    ],
)
def test_an_address_is_shown_without_credentials(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("http://u:p/w@host:port", "http://host:port"),
        ("u:p@w@host", "host"),
        ("http://[::1", "http://[::1"),
        ("http://u:p\n@host", "http://host"),
    ],
)
def test_what_is_no_address_is_shown_from_its_last_at_on(given: str, shown: str) -> None:
    assert faulty_without_credentials(given) == shown
