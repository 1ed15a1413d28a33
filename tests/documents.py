"""The commands that the README and ``docs/`` print, and a shell that runs them word by word."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REPOSITORY = Path(__file__).parents[1]
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Document:
    """A page, by its path from the repository's root."""

    path: str

    @property
    def text(self) -> str:
        return (REPOSITORY / self.path).read_text(encoding="utf-8")

    @property
    def commands(self) -> tuple[str, ...]:
        """What stands after a ``$``, comment and continued lines included."""
        return tuple(
            command for block in _CONSOLE.findall(self.text) for command in _commands_in(block)
        )

    @property
    def programs(self) -> tuple[str, ...]:
        """The page's pieces of Python."""
        return tuple(_PYTHON.findall(self.text))


def documents() -> tuple[Document, ...]:
    """Return every page that prints a command."""
    pages = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    found = (Document(page.relative_to(REPOSITORY).as_posix()) for page in pages)
    return tuple(document for document in found if document.commands)


def _commands_in(block: str) -> Iterator[str]:
    lines = iter(block.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\") or not _is_closed(command):
                command += "\n" + next(lines)
            yield command


def _is_closed(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:  # an open quotation mark
        return False
    return True


def run_commands(
    document: Document,
    folder: Path,
    environment: Mapping[str, str],
    *,
    instead: Mapping[str, str] | None = None,
    before: Mapping[str, Callable[[], object]] | None = None,
    exit_codes: Mapping[str, tuple[int, ...]] | None = None,
) -> dict[str, str]:
    """Run all commands of a page in their order, and return what each one printed.

    Args:
        document: the page.
        folder: the project in which they are called.
        environment: theirs; ``pytest`` and other programs are those of this environment.
        instead: texts that stand for something of the reader's own (an address, a folder), and
            what they are here. Each must occur.
        before: by the beginning of a command, what a person does before it.
        exit_codes: by the beginning of a command, its exit codes where they are not 0 alone.
    """
    instead, before, exit_codes = instead or {}, before or {}, exit_codes or {}
    whole = "\n".join(document.commands)
    for text in (*instead, *before, *exit_codes):
        assert text in whole, f"{document.path} no longer says {text!r}"
    programs = str(Path(sys.executable).parent)
    path = os.pathsep.join([programs, environment.get("PATH", os.defpath)])
    printed: dict[str, str] = {}
    for command in document.commands:
        for beginning, act in before.items():
            if command.startswith(beginning):
                act()
        here = command
        for text, replacement in instead.items():
            here = here.replace(text, replacement)
        finished = subprocess.run(
            ["bash", "-euc", here],
            cwd=folder,
            env={**environment, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )
        expected = next(
            (codes for beginning, codes in exit_codes.items() if command.startswith(beginning)),
            (0,),
        )
        assert finished.returncode in expected, f"$ {here}\n{finished.stdout}"
        printed[command] = finished.stdout
    return printed
