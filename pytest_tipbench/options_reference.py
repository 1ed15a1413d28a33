"""Owns the options as a Markdown page (``docs/reference.md``); imports the options only.

``python -m pytest_tipbench.options_reference > docs/reference.md`` writes the page anew.
"""

from __future__ import annotations

import sys

from pytest_tipbench.options import EVALS_INI, OPTIONS, RUBRIC_INI, Option

_HEAD = """\
# Every option

A value comes from the command line, else from the environment variable, else from the ini key, else
from the default. Ini keys stand in pytest's own configuration (`pytest.ini`, `pyproject.toml`, …);
lists may be comma-separated, one a line, or TOML arrays. What acts once has no ini key.

| option | default | meaning | ini key | environment |
|---|---|---|---|---|
"""

_TAIL = f"""
Two things have an ini key alone: `{EVALS_INI}` (default `evals`), the folder of scenarios, prompts
and anchors, and `{RUBRIC_INI}` (default `rubric.md`), the rubric's file. Relative paths in the
configuration hang on the project's root, those on the command line on the current folder.
"""


def reference_page() -> str:
    """Return the page."""
    return _HEAD + "".join(map(_row, OPTIONS)) + _TAIL


def _row(option: Option) -> str:
    flag = option.flag if option.metavar is None else f"{option.flag} {option.metavar}"
    meaning = option.help + (" (repeatable)" if option.repeatable else "")
    cells = (
        f"`{flag}`",
        option.default_shown,
        meaning,
        f"`{option.ini_name}`" if option.ini else "",
        f"`{option.environment}`" if option.environment else "",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
