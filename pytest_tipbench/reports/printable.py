"""Owns how any text, a model's too, is made fit for a terminal; imports nothing of ours."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Format characters that Persian and emoji are written with; they move nothing."""
_ASCII_FORMS = str.maketrans(
    {"±": "+/-", "×": "x", "≥": ">=", "≤": "<=", "…": "...", "−": "-"}
    | dict.fromkeys("–—", "-")
    | dict.fromkeys("“”", '"')
    | dict.fromkeys("‘’", "'")
)
"""Of our own signs, and of the quotes and dashes that models write as a matter of course."""


def printable(text: str, *, ascii_only: bool) -> str:
    """Return the text with every character that could disturb a terminal's line as an escape.

    Escaped are control and format characters (ANSI, newlines, direction overrides), unassigned and
    lone surrogates, letters written from right to left, and combining characters: all that would
    make a column's width or order differ from what can be counted. With ``ascii_only`` our own
    signs, quotes and dashes get their ASCII forms and every other letter is escaped.
    """
    composed = unicodedata.normalize("NFC", text)
    if ascii_only:
        composed = composed.translate(_ASCII_FORMS)
    return "".join(
        char if _is_plain(char, ascii_only=ascii_only) else _escaped(char) for char in composed
    )


def readable(text: str, *, ascii_only: bool = False) -> str:
    """Return the text as a person reads it, with what could disturb the terminal as an escape.

    Unlike :func:`printable` it keeps the letters of every script: for running text, which stands in
    no column.
    """
    if ascii_only:
        return printable(text, ascii_only=True)
    return "".join(
        char if char.isprintable() or char in _JOINERS else _escaped(char) for char in text
    )


def _is_plain(char: str, *, ascii_only: bool) -> bool:
    if char.isascii():
        return char.isprintable()
    return (
        not ascii_only
        and char.isprintable()
        and not unicodedata.combining(char)
        and unicodedata.category(char) not in ("Mn", "Me", "Mc")
        and unicodedata.bidirectional(char) not in ("R", "AL", "AN")
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
