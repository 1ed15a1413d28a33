from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def test_the_name_on_the_command_line_comes_before_the_sheets(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), judge="ada")
    outcome = generated_project.run("--judge-apply", "scores.json", "--judge-name", "grace")
    assert outcome.code == 0, outcome.text
    assert {judgement.judge for judgement in generated_project.judgements()} == {"grace"}


def test_the_sheets_name_comes_before_the_login_name(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), judge="ada")
    generated_project.run("--judge-apply", "scores.json", environment={"LOGNAME": "me"})
    assert {judgement.judge for judgement in generated_project.judgements()} == {"ada"}


def test_without_any_name_it_is_the_login_name(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), judge="")
    generated_project.run("--judge-apply", "scores.json", environment={"LOGNAME": "me"})
    assert {judgement.judge for judgement in generated_project.judgements()} == {"me"}


def test_the_ini_twin(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), judge="ada")
    generated_project.write_configuration(tipbench_judge_name="house")
    generated_project.run("--judge-apply", "scores.json")
    assert {judgement.judge for judgement in generated_project.judgements()} == {"house"}


def test_an_export_for_a_second_judge_has_what_that_judge_has_not_scored(
    judged_project: Project,
) -> None:
    assert "nothing is pending" in judged_project.run("--judge-export", "a.json").text
    sheet = judged_project.export("--judge-name", "bob", "--judge-anchors", "0", name="b.json")
    document = json.loads(sheet.read_text(encoding="utf-8"))
    assert len(document["items"]) == 6
    assert document["judge"] == "bob"
    outcome = judged_project.run("--judge-export", "c.json", "--judge-name", "ada")
    assert outcome.code == 0, outcome.text
    assert "ada has scored every tip of the selection" in outcome.words
    assert not (judged_project.root / "c.json").exists()
