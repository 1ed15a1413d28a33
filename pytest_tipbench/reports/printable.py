"""Owns how any text, a model's too, is made fit for a terminal; imports nothing of ours."""

from __future__ import annotations

import unicodedata

_ASCII_FORMS = str.maketrans({"±": "+/-", "×": "x", "≥": ">=", "≤": "<=", "…": "...", "−": "-"})


def printable(text: str, *, ascii_only: bool) -> str:
    """Return the text with every character that could disturb a terminal's line as an escape.

    Escaped are control and format characters (ANSI, newlines, direction overrides), unassigned and
    lone surrogates, letters written from right to left, combining and double-width characters: all
    that would make a column's width or order differ from its count of characters. With
    ``ascii_only`` our own signs get their ASCII forms and every other letter is escaped.
    """
    composed = unicodedata.normalize("NFC", text)
    if ascii_only:
        composed = composed.translate(_ASCII_FORMS)
    return "".join(
        char if _is_plain(char, ascii_only=ascii_only) else _escaped(char) for char in composed
    )


def readable(text: str, *, ascii_only: bool = False) -> str:
    """Return the text as a person reads it, with what could disturb the terminal as an escape.

    Unlike :func:`printable` it keeps the letters of every script: for running text, whose columns
    nobody counts.
    """
    if ascii_only:
        return printable(text, ascii_only=True)
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _is_plain(char: str, *, ascii_only: bool) -> bool:
    if char.isascii():
        return char.isprintable()
    return (
        not ascii_only
        and char.isprintable()
        and not unicodedata.combining(char)
        and unicodedata.category(char) not in ("Mn", "Me", "Mc")
        and unicodedata.east_asian_width(char) not in ("W", "F")
        and unicodedata.bidirectional(char) not in ("R", "AL", "AN")
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
