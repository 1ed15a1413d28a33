"""Owns which format a file's suffix names, and writing it; imports a renderer when it is needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pytest_tipbench.errors import UserMistakeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_tipbench.reports.report_records import Report

_RENDERERS = {
    ".html": ("as_html", "render_html"),
    ".md": ("markdown", "render_markdown"),
    ".json": ("as_json", "render_json"),
    ".csv": ("as_csv", "render_csv"),
}
SUFFIXES = tuple(_RENDERERS)


def rendered(report: Report, suffix: str) -> str:
    """Return the report in the format of a suffix, one of ``SUFFIXES``."""
    module, function = _RENDERERS[suffix.lower()]
    render: Callable[[Report], str] = getattr(
        importlib.import_module(f"pytest_tipbench.reports.{module}"), function
    )
    return render(report)


def write_report(report: Report, path: Path) -> None:
    """Write the report, all of it or nothing; what was there before goes.

    Raises:
        UserMistakeError: the file cannot be written.
    """
    from pytest_tipbench.files import write_whole

    # CSV brings its own line ends, so nothing here may translate them.
    try:
        write_whole(path, rendered(report, path.suffix).encode("utf-8"))
    except OSError as error:
        raise UserMistakeError(
            f"--tipbench-report {path}: cannot be written: {error.strerror or error}"
        ) from None
