"""The documented way of a coding agent, on sheets of one scenario each."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.acceptance.conftest import MAYA
from tests.acceptance.test_judge_anchors import anchors_of
from tests.documents import Document, run_commands

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Project

PROMPTS = ("v1", "v2-mentor", "v3-few-shot")
TIPS_OF_A_CELL = 20
"""With three prompts 60 tips a scenario, as 4 models x 3 prompts x 5 tips have."""


@dataclass(frozen=True)
class OneSheet(Document):
    """The page's first commands: sheet out, sheet to the agent, sheet in."""

    @property
    def commands(self) -> tuple[str, ...]:
        first = super().commands[:3]
        assert first[-1].startswith("pytest --judge-apply")
        return first


PAGE = OneSheet("docs/judging-by-agent.md")


def tips_of(prompt_version: str, scenario: str) -> list[str]:
    return [
        f"Begin with part {n} of the list, as {prompt_version} says in {scenario}."
        for n in range(TIPS_OF_A_CELL)
    ]


def test_drift_is_measured_on_every_sheet_and_self_consistency_from_the_second_on(
    project: Project,
) -> None:
    """60 tips fit, so that each sheet is one scenario; a tenth of 60 are 6 repeats."""
    cells = [(prompt, scenario) for prompt in PROMPTS for scenario in MAYA]
    project.write_replay("known.jsonl", {cell: tips_of(*cell) for cell in cells})
    project.write_configuration(
        tipbench_models="replay/known.jsonl", tipbench_n_tips=str(TIPS_OF_A_CELL)
    )
    assert project.run("evals", "--scenarios", "maya-*").code == 0
    handed_in = project.root / "judging/sheet.json"
    sheets: list[Counter[str]] = []

    def judge() -> None:
        document: dict[str, Any] = json.loads(handed_in.read_text(encoding="utf-8"))
        assert document["judge"] == "agent 1.0"
        anchors = anchors_of(project)
        tips = [item for item in document["items"] if item["tip"] not in anchors]
        sheets.append(Counter(item["scenario"]["id"] for item in tips))
        assert len(document["items"]) == len(tips) + 5
        project.judge(handed_in, 4, document["judge"])

    for number in range(3):
        printed = [" ".join(text.split()) for text in one_sheet(project, judge).values()]
        exported, _, applied = printed
        assert f"60 of {180 - 60 * number} pending tips to score" in exported
        assert "anchors: " not in exported  # there are as many as asked for
        assert "anchors: 5 scored, mean absolute error 0.00" in applied
        again = "self-consistency: 18 of 18 scores given again were the same (100%)"
        assert (again in applied) == (number > 0)
        assert sorted(sheets[-1].values()) == ([6, 60] if number > 0 else [60])

    assert {sheet.most_common(1)[0][0] for sheet in sheets} == set(MAYA)
    assert [apply.repeats_scored for apply in project.applies()] == [0, 18, 18]
    assert {judgement.judge for judgement in project.judgements()} == {"agent 1.0"}
    outcome = project.run("--judge-export", "sheet.json", "--judge-name", "agent 1.0")
    assert "agent 1.0 has scored every tip of the selection" in outcome.words


def one_sheet(project: Project, judge: Callable[[], None]) -> dict[str, str]:
    return run_commands(
        PAGE,
        project.root,
        project.environment | {"HOME": str(project.root)},
        before={"pytest --judge-apply": judge},
    )
