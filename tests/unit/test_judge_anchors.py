from __future__ import annotations

from pathlib import Path

import pytest

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.judge.anchors import anchors_sha256, load_anchors
from pytest_tipbench.judge.drift import measure_drift
from pytest_tipbench.judgement_records import Anchor, Criterion, Rubric
from pytest_tipbench.records import Persona, Scenario, Task, TimeSlot
from pytest_tipbench.rubric import load_rubric
from pytest_tipbench.scenarios import load_scenarios
from tests.unit.test_rubric import calibrated_examples

ROOT = Path(__file__).parents[2]

RUBRIC = Rubric(
    version="r",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(Criterion(name="relevance", weight=1), Criterion(name="tone", weight=1)),
    text='Score 4: "Send the invoice\nright now."',
)

SCENARIOS = tuple(
    Scenario(
        id=scenario_id,
        persona=Persona(id="p", name="P", description="D"),
        time_slot=TimeSlot(id="t", label="T", local_time="08:00"),
        tasks=(Task(title="Invoice"),),
    )
    for scenario_id in ("zoe-morning", "zoe-evening")
)

SOUND = """\
[[anchors]]
scenario = "zoe-morning"
tip = " Start with the cafe\u0301 bill. "
scores = { relevance = 4, tone = 2 }
reason = "One fact."

[[anchors]]
scenario = "zoe-evening"
tip = "Go to bed."
reason = "No fact."
[anchors.scores]
tone = 5
relevance = 1
"""


def _load(folder: Path, content: str) -> tuple[Anchor, ...]:
    path = folder / "anchors.toml"
    path.write_bytes(content.encode())
    return load_anchors(path, SCENARIOS, RUBRIC)


def _refused(folder: Path, content: str) -> str:
    with pytest.raises(SourceFileError) as caught:
        _load(folder, content)
    return str(caught.value).replace(f"{folder / 'anchors.toml'}:", "")


def test_a_sound_file_with_tips_trimmed_and_composed(tmp_path: Path) -> None:
    assert _load(tmp_path, SOUND) == (
        Anchor(
            scenario="zoe-morning",
            tip="Start with the caf\u00e9 bill.",
            scores={"relevance": 4, "tone": 2},
            reason="One fact.",
        ),
        Anchor(
            scenario="zoe-evening",
            tip="Go to bed.",
            scores={"relevance": 1, "tone": 5},
            reason="No fact.",
        ),
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"zoe-evening"', '"zoe-evenin"', "8: unknown scenario 'zoe-evenin' (did you mean zoe-ev"),
        ('"Go to bed."', '" "', "9: 'tip' should not be empty"),
        ('"One fact."', '""', "5: 'reason' should not be empty"),
        ("tone = 5", "tone = 6", "12: 'tone' should be on the rubric's scale from 1 to 5, got 6"),
        ("tone = 5", "tone = 0", "12: 'tone' should be on the rubric's scale from 1 to 5, got 0"),
        ("tone = 5", "tone = 4.0", "12: 'tone' should be a valid integer, got 4.0"),
        ("tone = 5", "tone = true", "12: 'tone' should be a valid integer, got true"),
        ("tone = 5", 'tone = "5"', "12: 'tone' should be a valid integer, got \"5\""),
        ("tone = 5", "tome = 5", "12: unknown criterion 'tome' (did you mean tone?)"),
        ("tone = 5", "tome = 5", "11: 'scores' has no tone, which the rubric asks for"),
        ("tone = 5\n", "", "11: 'scores' has no tone, which the rubric asks for"),
        (", tone = 2 }", " }", "4: 'scores' has no tone, which the rubric asks for"),
        ('reason = "One fact."', "", "1: key 'reason' is missing in [anchors]"),
        ('reason = "One', 'raeson = "One', "5: unknown key 'raeson' (did you mean reason"),
        (
            '"Go to bed."',
            '"Send the invoice right now."',
            "9: the rubric shows this tip as an example, so that it cannot be judged blind",
        ),
    ],
)
def test_a_mistake(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert SOUND.count(old) == 1
    assert expected in _refused(tmp_path, SOUND.replace(old, new))


def test_the_same_tip_twice_names_both_lines(tmp_path: Path) -> None:
    # Composed here and decomposed there: the same text to a reader.
    content = SOUND.replace("Go to bed.", "Start with the caf\u00e9 bill.").replace(
        "zoe-evening", "zoe-morning"
    )
    assert _refused(tmp_path, content) == (
        "9: the same tip for the same scenario is already used on line 3"
    )


def test_the_same_tip_may_stand_under_two_scenarios(tmp_path: Path) -> None:
    tip = '"Go to bed."'
    anchors = _load(tmp_path, SOUND.replace('" Start with the cafe\u0301 bill. "', tip))
    assert [anchor.tip for anchor in anchors] == ["Go to bed.", "Go to bed."]


def test_an_empty_file(tmp_path: Path) -> None:
    assert _refused(tmp_path, "") == "1: key 'anchors' is missing"
    assert _refused(tmp_path, "anchors = []") == "1: 'anchors' should have at least one entry"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no such file"):
        load_anchors(tmp_path / "anchors.toml", SCENARIOS, RUBRIC)


def test_the_hash_is_of_the_content(tmp_path: Path) -> None:
    anchors = _load(tmp_path, SOUND)
    assert anchors_sha256(_load(tmp_path, "# a comment\n" + SOUND)) == anchors_sha256(anchors)
    assert anchors_sha256(anchors[:1]) != anchors_sha256(anchors)


@pytest.fixture(scope="module")
def rubric() -> Rubric:
    return load_rubric(ROOT / "rubric.md")


@pytest.fixture(scope="module")
def anchors(rubric: Rubric) -> tuple[Anchor, ...]:
    scenarios = load_scenarios(ROOT / "evals" / "scenarios.toml")
    return load_anchors(ROOT / "evals" / "anchors.toml", scenarios, rubric)


class TestShipped:
    def test_every_scenario_has_enough(self, anchors: tuple[Anchor, ...]) -> None:
        # As many as are mixed in by default, so that a sheet of any selection measures drift.
        for scenario in load_scenarios(ROOT / "evals" / "scenarios.toml"):
            assert sum(anchor.scenario == scenario.id for anchor in anchors) >= 5, scenario.id

    def test_on_no_sheet_one_score_for_everything_passes(
        self, rubric: Rubric, anchors: tuple[Anchor, ...]
    ) -> None:
        # The default of --judge-max-drift is 0.75.
        for scenario in {anchor.scenario for anchor in anchors}:
            of_one = [anchor.scores for anchor in anchors if anchor.scenario == scenario]
            for score in range(1, 6):
                said = dict.fromkeys(rubric.criterion_names, score)
                drift = measure_drift([(said, known) for known in of_one], rubric.criterion_names)
                assert drift is not None
                assert drift.mean_absolute_error > 0.75, (scenario, score)

    def test_every_score_of_every_criterion_is_met_five_times(
        self, rubric: Rubric, anchors: tuple[Anchor, ...]
    ) -> None:
        for name in rubric.criterion_names:
            scores = [anchor.scores[name] for anchor in anchors]
            for score in range(1, 6):
                assert scores.count(score) >= 5, (name, score)

    def test_criteria_are_told_apart(self, rubric: Rubric, anchors: tuple[Anchor, ...]) -> None:
        # A judge who gives one score to all criteria cannot pass for a calibrated one.
        uneven = [anchor for anchor in anchors if len(set(anchor.scores.values())) > 1]
        assert len(uneven) * 4 > len(anchors) * 3

    def test_none_repeats_another(self, anchors: tuple[Anchor, ...]) -> None:
        tips = [anchor.tip.casefold() for anchor in anchors]
        for tip in tips:
            assert [other for other in tips if tip in other] == [tip]

    def test_tips_look_like_those_of_models(self, anchors: tuple[Anchor, ...]) -> None:
        for anchor in anchors:
            assert len(anchor.tip) <= 280
            assert sum(character.isalpha() for character in anchor.tip) >= 8

    def test_no_tip_is_a_calibrated_example_or_holds_one(
        self, rubric: Rubric, anchors: tuple[Anchor, ...]
    ) -> None:
        examples = [
            tip.casefold()
            for entries in calibrated_examples(rubric).values()
            for *_, tip in entries
        ]
        assert len(examples) == 3 * 5
        for anchor in anchors:
            tip = anchor.tip.casefold()
            assert not any(tip in example or example in tip for example in examples), anchor.tip
