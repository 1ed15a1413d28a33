"""Owns the way to pytest's terminal; imports no pytest at run time.

pytest tells its terminal's width and encoding nowhere but in private attributes, which this module
alone reads.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from pytest_tipbench.reports.printable import readable

if TYPE_CHECKING:
    import pytest


class Console:
    """pytest's terminal, as far as we need it; silent where it is switched off."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @property
    def _reporter(self) -> pytest.TerminalReporter | None:
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def width(self) -> int:
        """Columns."""
        return 80 if self._reporter is None else self._reporter._tw.fullwidth

    @property
    def verbosity(self) -> int:
        """How often ``-v`` was given, less ``-q``."""
        return self._config.get_verbosity()

    @property
    def knows_ascii_alone(self) -> bool:
        """True where the terminal's encoding cannot show what a board is written with."""
        file = getattr(getattr(self._reporter, "_tw", None), "_file", None)
        try:
            "×≥±−…".encode(getattr(file, "encoding", None) or "ascii")
        except (UnicodeEncodeError, LookupError):
            return True
        return False

    def section(self, title: str) -> None:
        """Write a heading."""
        if self._reporter is not None:
            self._reporter.section(self._fit(title))

    def write(self, line: str) -> None:
        """Write a line of its own, with all that could disturb the terminal made visible."""
        if self._reporter is not None:
            self._reporter.write_line(self._fit(line))

    def say(self, line: str) -> None:
        """Write a line that tells by itself whose it is, at once: it may say what is waited for.

        An item's output is captured, and ours with it, unless the capture makes a pause.
        """
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            self.write(f"tipbench: {line}")
            if self._reporter is not None:
                self._reporter.flush()

    def _fit(self, text: str) -> str:
        return readable(text, ascii_only=self.knows_ascii_alone)
