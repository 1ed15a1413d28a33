"""Owns which format a file's suffix names, and writing it; imports a renderer when it is needed."""

from __future__ import annotations

import importlib
import os
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


def check_report_target(path: Path) -> None:
    """Make sure, as far as can be seen without writing, that a report may be written to ``path``.

    Raises:
        UserMistakeError: it is a folder, or its folder is none or takes no file.
    """
    folder = path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    reason = None
    if path.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"{folder} is no folder"
    elif not os.access(folder, os.W_OK | os.X_OK):
        reason = f"no file can be made in {folder}"
    if reason is not None:
        raise UserMistakeError(f"--tipbench-report {path}: cannot be written: {reason}")


def write_report(report: Report, path: Path) -> None:
    """Write the report, all of it or nothing; what was there before goes.

    Raises:
        OSError: the file cannot be written.
    """
    from pytest_tipbench.files import write_whole

    # CSV brings its own line ends, so nothing here may translate them.
    write_whole(path, rendered(report, path.suffix).encode("utf-8"))
