"""Owns the gates' verdicts in pytest's JUnit file; imports no XML but the standard library's.

pytest writes one suite, of its items. The gates become a second one, so that a CI shows which of
them failed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from pytest_tipbench.files import write_whole
from pytest_tipbench.reports.visible_text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_tipbench.gates import Verdict

SUITE = "tipbench gates"


def add_gates(path: Path, verdicts: Sequence[tuple[str, Verdict]]) -> None:
    """Add a suite with one case for each verdict; FAIL and UNDECIDED are failures of that type.

    Args:
        path: the file that pytest has written.
        verdicts: experiment and verdict.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it is no JUnit file.
    """
    if not verdicts:
        return
    try:
        document = ET.parse(path)  # noqa: S314 - pytest wrote it a moment ago
    except ET.ParseError as error:
        raise ValueError(f"{path}: {error}") from error
    failures = sum(verdict.fails for _, verdict in verdicts)
    counts = {"tests": len(verdicts), "failures": failures, "errors": 0, "skipped": 0}
    suite = ET.SubElement(
        document.getroot(),
        "testsuite",
        {"name": SUITE, **{name: str(count) for name, count in counts.items()}},
    )
    for experiment, verdict in verdicts:
        case = ET.SubElement(
            suite,
            "testcase",
            {
                "classname": f"tipbench.{_shown(experiment)}",
                "name": _shown(verdict.name),
                "time": "0",
            },
        )
        if verdict.fails:
            failure = ET.SubElement(
                case, "failure", {"type": verdict.status, "message": _shown(verdict.line)}
            )
            failure.text = _shown(verdict.detail)
        else:
            ET.SubElement(case, "system-out").text = _shown(verdict.line)
    write_whole(path, ET.tostring(document.getroot(), encoding="utf-8", xml_declaration=True))


def _shown(text: str) -> str:
    """Return the text, an experiment's name too, without what XML 1.0 has no place for."""
    return one_line(text).translate({0xFFFE: "[U+FFFE]", 0xFFFF: "[U+FFFF]"})
