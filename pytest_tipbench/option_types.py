"""Owns how an option's text becomes its value; imports the standard library only.

Each function is an argparse type: it returns the value or raises ``ArgumentTypeError``, whose
message follows the option's name in the usage line.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def comma_separated(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B``; an empty one is refused."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return names


def integer(text: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text!r}") from None


def number(text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return value


def at_least(minimum: float, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser that refuses values below ``minimum``."""

    def check(text: str) -> Any:
        value = parse(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {text}")
        return value

    return check


def at_most(maximum: float, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser that refuses values above ``maximum``."""

    def check(text: str) -> Any:
        value = parse(text)
        if value > maximum:
            raise argparse.ArgumentTypeError(f"must be at most {maximum}, got {text}")
        return value

    return check


def above(minimum: float, parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser that refuses values up to ``minimum``."""

    def check(text: str) -> Any:
        value = parse(text)
        if value <= minimum:
            raise argparse.ArgumentTypeError(f"must be above {minimum}, got {text}")
        return value

    return check


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser that takes one of a few words."""

    def check(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"expected {' or '.join(choices)}, got {text!r}")
        return text

    return check


def with_suffix(*suffixes: str) -> Callable[[str], str]:
    """Return a parser of file names that end in one of a few suffixes."""

    def check(text: str) -> str:
        if Path(text).suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(
                f"expected a file ending in {' or '.join(suffixes)}, got {text!r}"
            )
        return text

    return check


def nonempty(text: str) -> str:
    """Return the text without space around it; an empty one is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a text, got an empty one")
    return text.strip()
