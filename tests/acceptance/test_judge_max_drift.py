"""``--judge-max-drift`` and ``--judge-accept-drift``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


def test_a_judge_off_by_one_on_every_anchor_is_refused(generated_project: Project) -> None:
    """An error of 1 on every criterion of every anchor is a mean absolute error of 1 > 0.75."""
    generated_project.judge(generated_project.export(), anchor_error=1)
    before = generated_project.ledger_path.read_bytes()
    outcome = generated_project.run("--judge-apply", "scores.json")
    outcome.assert_mistake("mean absolute error 1.00", "--judge-max-drift 0.75")
    assert generated_project.ledger_path.read_bytes() == before
    assert generated_project.judgements() == []


@pytest.mark.parametrize("value", ["1", "1.5"])
def test_a_higher_limit_lets_it_in(generated_project: Project, value: str) -> None:
    generated_project.judge(generated_project.export(), anchor_error=1)
    outcome = generated_project.run("--judge-apply", "scores.json", "--judge-max-drift", value)
    assert outcome.code == 0, outcome.text
    (apply,) = generated_project.applies()
    assert apply.drift_mean_absolute_error == 1
    assert not apply.drift_accepted


def test_accepted_drift_is_recorded_as_accepted(generated_project: Project) -> None:
    generated_project.judge(generated_project.export(), anchor_error=1)
    outcome = generated_project.run("--judge-apply", "scores.json", "--judge-accept-drift")
    assert outcome.code == 0, outcome.text
    assert "accepted past the limit" in outcome.words
    (apply,) = generated_project.applies()
    assert apply.drift_accepted
    assert len(generated_project.judgements()) == 6


def test_a_judge_who_is_right_drifts_by_nothing(generated_project: Project) -> None:
    generated_project.judge(generated_project.export())
    outcome = generated_project.run("--judge-apply", "scores.json", "--judge-max-drift", "0")
    assert outcome.code == 0, outcome.text
    assert "anchors: 5 scored, mean absolute error 0.00" in outcome.words
    for criterion in ("relevance", "actionability", "tone"):
        assert f"{criterion} 0.00, bias +0.00" in outcome.words


def test_with_two_anchors_there_is_no_telling(generated_project: Project) -> None:
    sheet = generated_project.export("--judge-anchors", "2")
    generated_project.judge(sheet, anchor_error=1)
    outcome = generated_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    assert "too few to measure drift" in outcome.words


def test_the_history_of_drift_is_on_the_verbose_leaderboard(judged_project: Project) -> None:
    brief = judged_project.run("--leaderboard")
    assert "mean absolute error" not in brief.text
    outcome = judged_project.run("--leaderboard", "-v")
    assert outcome.code == 0, outcome.text
    assert "anchors: 5 scored, mean absolute error 0.00" in outcome.words
    assert "ada" in outcome.text


def test_the_history_says_where_the_anchors_changed(generated_project: Project) -> None:
    generated_project.judge(generated_project.export())
    assert generated_project.run("--judge-apply", "scores.json").code == 0
    anchors = generated_project.root / "evals/anchors.toml"
    added = (
        '\n[[anchors]]\nscenario = "maya-morning-deadline"\ntip = "Open the notes, then stop."\n'
        'scores = { relevance = 3, actionability = 4, tone = 3 }\nreason = "Plain."\n'
    )
    anchors.write_text(anchors.read_text(encoding="utf-8") + added, encoding="utf-8")
    generated_project.judge(generated_project.root / "scores.json", 3)
    assert generated_project.run("--judge-apply", "scores.json").code == 0
    outcome = generated_project.run("--leaderboard", "-v")
    assert outcome.words.count("the anchors changed here: drift before and after is not") == 1
    first, second = generated_project.applies()
    assert first.anchors_sha256 != second.anchors_sha256


@pytest.mark.parametrize("value", ["-0.1", "nan", "much"])
def test_a_mistake_is_one_line_and_exit_code_4(generated_project: Project, value: str) -> None:
    generated_project.run("--leaderboard", "--judge-max-drift", value).assert_mistake(
        "--judge-max-drift", value
    )
