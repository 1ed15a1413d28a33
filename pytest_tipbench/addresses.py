"""Owns how an address is shown, without user and password; imports the standard library only."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"^((?:[^/@]*://)?)[^/]*@")
_ALL_BEFORE_THE_LAST_AT = re.compile(r"^((?:[^/@]*://)?).*@", re.DOTALL)


def without_credentials(address: str) -> str:
    """Return an address as it may be shown: without the user and password that it may carry."""
    return _CREDENTIALS.sub(r"\1", address)


def faulty_without_credentials(address: str) -> str:
    """Return what is no address as it may be shown, wherever in it a password may end."""
    return _ALL_BEFORE_THE_LAST_AT.sub(r"\1", address)
