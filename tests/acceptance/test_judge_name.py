from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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


@pytest.mark.parametrize("command", ["--judge-export", "--judge-apply"])
def test_a_name_of_more_than_100_characters_is_a_mistake(
    generated_project: Project, command: str
) -> None:
    generated_project.judge(generated_project.export())
    name = "new.json" if command == "--judge-export" else "scores.json"
    outcome = generated_project.run(command, name, "--judge-name", "a" * 101)
    outcome.assert_mistake("has 101 characters, a name has at most 100")
    assert generated_project.judgements() == []


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
