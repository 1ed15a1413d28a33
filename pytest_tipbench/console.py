"""Owns the way to pytest's terminal; imports no pytest at run time.

pytest tells its terminal's width and encoding nowhere but in private attributes, which this module
alone reads.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from pytest_tipbench.reports.printable import readable
from pytest_tipbench.reports.text_layout import copyable_lines, shortened, text_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

_LINE_LEFT_OPEN = -2
"""What pytest notes of a line that it ends later, when it begins the next one."""


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
    def lists_items(self) -> bool:
        """True where pytest gives each item a line (``-v``, or ini ``verbosity_test_cases``)."""
        return self._config.get_verbosity(self._config.VERBOSITY_TEST_CASES) > 0

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
        """Write a heading, as wide as the terminal."""
        if self._reporter is not None:
            ascii_only = self.knows_ascii_alone
            title = readable(title, ascii_only=ascii_only)
            title = shortened(title, self.width - len("=  ="), ascii_only=ascii_only)
            # pytest counts characters, not columns.
            width = self.width - text_width(title) + len(title)
            self._reporter.write_sep("=", title, fullwidth=width)

    def fitted(self, lines: Iterable[str]) -> list[str]:
        """Return the lines as this terminal shows them, with all that could disturb it visible."""
        ascii_only = self.knows_ascii_alone
        return [
            part
            for line in lines
            for part in copyable_lines(line, self.width, ascii_only=ascii_only)
        ]

    def write(self, line: str) -> None:
        """Write a line of its own, or several where it does not fit the width."""
        if self._reporter is not None:
            self._begin_line(self._reporter)
            for part in self.fitted([line]):
                self._reporter.write_line(part)

    def write_under_item(self, lines: Sequence[str]) -> None:
        """Write lines that belong to the item that has just finished."""
        if self._reporter is None:
            return
        if self.lists_items:
            # With the last line ended here, pytest would put an empty one before the next item.
            self._begin_line(self._reporter)
            self._reporter.write("\n".join(self.fitted(lines)), flush=True)
            self._reporter.currentfspath = _LINE_LEFT_OPEN
        else:
            for line in lines:
                self.write(line)

    def say(self, line: str) -> None:
        """Write a line that tells by itself whose it is, at once: it may say what is waited for.

        An item's output is captured, and ours with it, unless the capture makes a pause.
        """
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            self.write(f"tipbench: {line}")
            if self._reporter is not None:
                self._reporter.flush()

    def _begin_line(self, reporter: pytest.TerminalReporter) -> None:
        reporter.ensure_newline()
        if reporter._tw.width_of_current_line:  # xdist's dots, of which pytest notes nothing
            reporter.write("\n")
