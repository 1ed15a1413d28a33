from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.gates import Verdict
from pytest_tipbench.junit import add_gates

if TYPE_CHECKING:
    from pathlib import Path

PASSED = Verdict(name="composite>=3.5", status="PASS", detail="2 of 2 rows")
FAILED = Verdict(name="usable_rate>=0.95", status="FAIL", detail="x × v1 0.50 <b>&")
OPEN = Verdict(name="best:tone>=4", status="UNDECIDED", detail="3 cells pending")


def test_the_gates_are_a_suite_of_their_own_beside_pytests(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" tests="1">'
        '<testcase name="test_tips" /></testsuite></testsuites>',
        encoding="utf-8",
    )
    add_gates(path, [("tip-bench", PASSED), ("tip-bench", FAILED), ("tip-bench", OPEN)])
    pytests, gates = ET.parse(path).getroot()
    assert pytests.attrib == {"name": "pytest", "tests": "1"}
    assert gates.attrib == {
        "name": "tipbench gates",
        "tests": "3",
        "failures": "2",
        "errors": "0",
        "skipped": "0",
    }
    assert [case.get("name") for case in gates] == [PASSED.name, FAILED.name, OPEN.name]
    assert gates[0].find("failure") is None
    failure = gates[1].find("failure")
    assert failure is not None
    assert failure.attrib == {"type": "FAIL", "message": FAILED.line}
    assert failure.text == FAILED.detail
    undecided = gates[2].find("failure")
    assert undecided is not None
    assert undecided.get("type") == "UNDECIDED"


def test_no_name_breaks_the_file(tmp_path: Path) -> None:
    """XML 1.0 has no place for most controls, and UTF-8 none for a lone surrogate."""
    path = tmp_path / "junit.xml"
    path.write_text('<testsuites><testsuite name="pytest" /></testsuites>', encoding="utf-8")
    odd = Verdict(name="\x1b[2J\ud800>=1", status="FAIL", detail="\x00 \ufffe 網")
    add_gates(path, [("a\x07b", odd), ("a\x07b", PASSED)])
    pytests, gates = ET.parse(path).getroot()
    assert pytests.get("name") == "pytest"
    assert [case.get("classname") for case in gates] == ["tipbench.a␇b"] * 2
    assert gates[0].get("name") == "␛[2J[U+D800]>=1"
    failure = gates[0].find("failure")
    assert failure is not None
    assert "網" in (failure.text or "")


def test_without_a_gate_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text("<testsuites />", encoding="utf-8")
    add_gates(path, [])
    assert path.read_text(encoding="utf-8") == "<testsuites />"


def test_what_is_no_xml_is_a_value_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    path.write_text("<testsuites", encoding="utf-8")
    with pytest.raises(ValueError, match=r"junit\.xml"):
        add_gates(path, [("tip-bench", PASSED)])
