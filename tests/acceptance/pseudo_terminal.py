"""Runs a session on a terminal of its own, and says what a person would see there."""

from __future__ import annotations

import os
import re
import select
import struct
import subprocess
import time
import unicodedata
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Outcome

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project

PROGRESS = re.compile(r"\x1b\]9;4;(?P<state>\d);(?P<percent>\d*)\x1b\\")
"""The sequence by which pytest 9 tells a terminal how far it is (ConEmu's OSC 9;4)."""

COLOUR = re.compile(r"\x1b\[(?P<codes>[\d;]*)m")


def run_on_terminal(
    project: Project, *arguments: str, columns: int = 80, environment: dict[str, str] | None = None
) -> Outcome:
    """Call pytest on a pseudo-terminal of 24 rows; the text is what was sent to the terminal."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals like these")
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    given = {name: text for name, text in project.environment.items() if name != "COLUMNS"}
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with subprocess.Popen(
            project.command(*arguments),
            cwd=project.root,
            env=given | {"TERM": "xterm-256color"} | (environment or {}),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            try:
                text = _read_all(ours).decode("utf-8")
            except BaseException:
                process.kill()
                raise
    finally:
        os.close(ours)
    return Outcome(process.returncode, text.replace("\r\n", "\n"))


def _read_all(terminal: int) -> bytes:
    read, deadline = b"", time.monotonic() + 120
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux' way to say that nobody writes any more
            part = b""
        if not part:
            return read
        read += part
    raise TimeoutError(f"the session on the terminal did not end: {read!r}")


def seen(text: str) -> str:
    """Return what is on the screen once it was sent: no colours, no progress, lines rewritten.

    Any other sequence is an error: it would have done something to the terminal.
    """
    plain = COLOUR.sub("", PROGRESS.sub("", text))
    assert "\x1b" not in plain, plain[plain.index("\x1b") - 40 :][:80]
    return "\n".join(map(_rewritten, plain.split("\n")))


def _rewritten(line: str) -> str:
    screen = ""
    for part in line.split("\r"):
        screen = part + screen[len(part) :]
    return screen.rstrip()


def columns_of(line: str) -> int:
    """Return how many columns the line takes, as Unicode has it (UAX #11)."""
    return sum(_columns_of_one(char) for char in line)


def _columns_of_one(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def by_columns(line: str) -> str:
    """Return the line with one character for each column, so that columns can be indexed."""
    return "".join(char + "\0" * (_columns_of_one(char) - 1) for char in line)
