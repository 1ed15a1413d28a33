from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


@pytest.mark.parametrize(("limit", "count"), [("6", 6), ("5", 4), ("4", 4), ("3", 2), ("2", 2)])
def test_whole_scenarios_are_taken_as_far_as_they_fit(
    generated_project: Project, limit: str, count: int
) -> None:
    """Three scenarios of two tips each."""
    sheet = generated_project.export("--judge-limit", limit, "--judge-anchors", "0")
    items = json.loads(sheet.read_text(encoding="utf-8"))["items"]
    assert len(items) == count
    assert set(Counter(item["scenario"]["id"] for item in items).values()) == {2}


def test_where_no_scenario_fits_it_says_so(generated_project: Project) -> None:
    outcome = generated_project.run(
        "--judge-export", "s.json", "--judge-limit", "1", "--judge-anchors", "0"
    )
    assert outcome.code == 0, outcome.text
    assert "no whole scenario fits into 1" in outcome.words
    items = json.loads((generated_project.root / "s.json").read_text(encoding="utf-8"))["items"]
    assert len(items) == 1


def test_anchors_do_not_count(generated_project: Project) -> None:
    sheet = generated_project.export("--judge-limit", "2", "--judge-anchors", "2")
    assert len(json.loads(sheet.read_text(encoding="utf-8"))["items"]) == 2 + 2


@pytest.mark.parametrize("value", ["0", "-1", "half"])
def test_a_mistake_is_one_line_and_exit_code_4(generated_project: Project, value: str) -> None:
    generated_project.run("--judge-export", "s.json", "--judge-limit", value).assert_mistake(
        "--judge-limit", value
    )
