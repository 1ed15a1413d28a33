"""Owns how text that may hold anything is made safe to look at; imports the standard library only.

Pages, tables and Markdown show text that a model wrote. Escaping for the format is the renderer's
affair; here is what no format escapes: characters that are not seen, or that move what is seen.
"""

from __future__ import annotations

import unicodedata

_KEPT = frozenset("\n\t\u200c\u200d")
"""Line ends, tabs, and the joiners that Persian and emoji are written with."""
_NOT_SEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, formats (direction overrides, tags), surrogates, separators."""
_CONTROL_PICTURES = 0x2400


def visible(text: str) -> str:
    """Return the text with every character that nobody would see turned into one that is seen.

    Control characters become their pictures (``␛``, ``␀``), all others their code point
    (``[U+202E]``). Line ends become ``\\n``; any valid UTF-8 stays as it is, lone surrogates do
    not, so that the result can always be encoded.
    """
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in _KEPT or unicodedata.category(char) not in _NOT_SEEN else _picture(char)
        for char in text
    )


def one_line(text: str) -> str:
    """Return the text as :func:`visible` shows it, with its white space run together."""
    return " ".join(visible(text).split())


def shortened(text: str, limit: int) -> str:
    """Return the text, or its beginning with ``…`` where it has more than ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _picture(char: str) -> str:
    code = ord(char)
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    return "␡" if code == 0x7F else f"[U+{code:04X}]"
