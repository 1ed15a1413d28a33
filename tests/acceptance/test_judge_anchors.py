from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.evaluation import load_evaluation_set

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project


def items_of(sheet: Path) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(sheet.read_text(encoding="utf-8"))["items"]
    return items


def anchors_of(project: Project) -> dict[str, str]:
    evaluation = load_evaluation_set(project.root / "evals", project.root / "rubric.md")
    return {anchor.tip: anchor.scenario for anchor in evaluation.anchors}


@pytest.mark.parametrize(("arguments", "count"), [((), 5), (("--judge-anchors", "3"), 3)])
def test_so_many_anchors_of_the_sheets_scenarios_are_mixed_in(
    generated_project: Project, arguments: tuple[str, ...], count: int
) -> None:
    items = items_of(generated_project.export(*arguments))
    anchors = anchors_of(generated_project)
    mixed_in = [item for item in items if item["tip"] in anchors]
    assert len(items) == 6 + count
    assert len(mixed_in) == count
    for item in mixed_in:
        assert item["scenario"]["id"] == anchors[item["tip"]]
        assert set(item) == {"id", "scenario", "tip", "scores", "note"}
        assert set(item["scores"].values()) == {None}


def test_the_file_of_the_known_scores_is_not_on_the_sheet(generated_project: Project) -> None:
    text = generated_project.export().read_text(encoding="utf-8")
    assert "anchor" not in text.lower().replace("--judge-anchors", "")


def test_where_there_are_fewer_it_says_so(generated_project: Project) -> None:
    """The three scenarios have five anchors each."""
    outcome = generated_project.run("--judge-export", "s.json", "--judge-anchors", "20")
    assert outcome.code == 0, outcome.text
    assert len(items_of(generated_project.root / "s.json")) == 6 + 15
    assert "15 of 20 anchors" in outcome.words


def test_none_are_mixed_in_for_0_and_without_the_file(generated_project: Project) -> None:
    assert len(items_of(generated_project.export("--judge-anchors", "0"))) == 6
    (generated_project.root / "evals/anchors.toml").unlink()
    outcome = generated_project.run("--judge-export", "scores.json")
    assert "no anchors: there is no anchors.toml beside the scenarios" in outcome.words
    assert len(items_of(generated_project.root / "scores.json")) == 6


def test_anchors_become_no_judgements(generated_project: Project) -> None:
    generated_project.judge(generated_project.export())
    outcome = generated_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    anchors = anchors_of(generated_project)
    judged = {judgement.key.tip for judgement in generated_project.judgements()}
    assert not judged & anchors.keys()
    (apply,) = generated_project.applies()
    assert (apply.judgements, apply.anchors_scored) == (6, 5)


def test_adding_an_anchor_changes_no_rubric_and_no_row(generated_project: Project) -> None:
    generated_project.judge(generated_project.export())
    path = generated_project.root / "evals/anchors.toml"
    added = (
        '\n[[anchors]]\nscenario = "maya-morning-deadline"\ntip = "Open the notes, then stop."\n'
        'scores = { relevance = 3, actionability = 4, tone = 3 }\nreason = "Plain."\n'
    )
    path.write_text(path.read_text(encoding="utf-8") + added, encoding="utf-8")
    outcome = generated_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    assert "4.00 ±0.00" in outcome.text


@pytest.mark.parametrize("value", ["-1", "all"])
def test_a_mistake_is_one_line_and_exit_code_4(generated_project: Project, value: str) -> None:
    generated_project.run("--judge-export", "s.json", "--judge-anchors", value).assert_mistake(
        "--judge-anchors", value
    )
