from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.rubric import RESERVED_NAMES, load_rubric
from pytest_tipbench.scenarios import load_scenarios

ROOT = Path(__file__).parents[2]

SOUND = """\
+++
version = "house-2"
scale = [0, 3]
missing_tip_score = 0.5

[[criteria]]
name = "clarity"
weight = 3

[[criteria]]
name = "wärme"
weight = 1.5
+++

# What the scores mean

Clarity: …
"""


def _load(folder: Path, content: str) -> Rubric:
    path = folder / "rubric.md"
    path.write_bytes(content.encode())
    return load_rubric(path)


def _refused(folder: Path, content: str) -> str:
    with pytest.raises(SourceFileError) as caught:
        _load(folder, content)
    return str(caught.value).replace(f"{folder / 'rubric.md'}:", "")


def test_a_rubric_of_ones_own(tmp_path: Path) -> None:
    assert _load(tmp_path, SOUND) == Rubric(
        version="house-2",
        scale=(0, 3),
        missing_tip_score=0.5,
        criteria=(Criterion(name="clarity", weight=3), Criterion(name="wärme", weight=1.5)),
        text="# What the scores mean\n\nClarity: …",
    )


def test_line_ends_do_not_change_the_hash(tmp_path: Path) -> None:
    plain = _load(tmp_path, SOUND)
    assert _load(tmp_path, "\ufeff" + SOUND.replace("\n", "\r\n")).sha256 == plain.sha256


def test_the_prose_and_the_weights_change_the_hash(tmp_path: Path) -> None:
    plain = _load(tmp_path, SOUND)
    assert _load(tmp_path, SOUND + "More.").sha256 != plain.sha256
    assert _load(tmp_path, SOUND.replace("weight = 3", "weight = 2")).sha256 != plain.sha256


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("scale = [0, 3]", "scale = [3, 0]", "3: 'scale' should be two whole numbers, the lower"),
        ("scale = [0, 3]", "scale = [3, 3]", "3: 'scale' should be two whole numbers, the lower"),
        ("scale = [0, 3]", "scale = [0, 1, 3]", "3: 'scale' should be two whole numbers"),
        ("scale = [0, 3]", "scale = [0]", "3: 'scale' should be two whole numbers"),
        ("scale = [0, 3]", "scale = [0, 3.5]", "3: 'scale' should be a valid integer, got 3.5"),
        ("scale = [0, 3]", "scale = 5", "3: 'scale' should be a valid array, got 5"),
        (
            "missing_tip_score = 0.5",
            "missing_tip_score = 3.1",
            "4: 'missing_tip_score' should be on the scale from 0 to 3",
        ),
        (
            "missing_tip_score = 0.5",
            "missing_tip_score = -1",
            "4: 'missing_tip_score' should be on the scale from 0 to 3",
        ),
        ("missing_tip_score = 0.5", "", "2: key 'missing_tip_score' is missing"),
        ("missing_tip_score = 0.5", "missing_tip_score = nan", "4: 'missing_tip_score' should be"),
        ("weight = 1.5", "weight = 0", "12: 'weight' should be greater than 0, got 0"),
        ("weight = 1.5", "weight = -1", "12: 'weight' should be greater than 0, got -1"),
        ("weight = 1.5", "wieght = 1", "12: unknown key 'wieght' (did you mean weight?)"),
        ('"wärme"', '"clarity"', "11: criterion 'clarity' is already used on line 7"),
        ('"wärme"', '"two words"', "11: 'name' should be one word of letters, digits and '_'"),
        ('"wärme"', '"composite"', "11: 'name' should not be 'composite'"),
        ('"house-2"', '"house 2"', "2: 'version' should be ASCII letters, digits"),
    ],
)
def test_a_mistake(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert SOUND.count(old) == 1
    assert expected in _refused(tmp_path, SOUND.replace(old, new))


def test_without_criteria(tmp_path: Path) -> None:
    content = (
        '+++\nversion = "a"\nscale = [1, 5]\nmissing_tip_score = 1\ncriteria = []\n+++\nText\n'
    )
    assert _refused(tmp_path, content) == "5: 'criteria' should have at least one entry"


def test_without_prose(tmp_path: Path) -> None:
    head, _, _ = SOUND.partition("\n# What")
    assert _refused(tmp_path, head) == "14: expected prose that says what each score means"


def test_every_fault_at_once(tmp_path: Path) -> None:
    head, _, _ = SOUND.replace("0.5", "9").replace('"wärme"', '"clarity"').partition("\n# What")
    assert [line[:3] for line in _refused(tmp_path, head).split("\n")] == ["4: ", "11:", "14:"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceFileError, match="no such file"):
        load_rubric(tmp_path / "rubric.md")


def test_no_measure_of_a_run_is_a_criterion() -> None:
    assert {"composite", "latency_seconds", "tip_count", "usable_rate"} <= RESERVED_NAMES


@pytest.fixture(scope="module")
def rubric() -> Rubric:
    return load_rubric(ROOT / "rubric.md")


@pytest.fixture(scope="module")
def examples(rubric: Rubric) -> dict[str, list[tuple[int, str, str]]]:
    return calibrated_examples(rubric)


class TestShipped:
    def test_head(self, rubric: Rubric) -> None:
        assert rubric.version == "tip-v1"
        assert rubric.scale == (1, 5)
        assert rubric.missing_tip_score == 1
        assert {criterion.name: criterion.weight for criterion in rubric.criteria} == {
            "relevance": 0.4,
            "actionability": 0.4,
            "tone": 0.2,
        }

    def test_each_criterion_says_what_each_score_means(self, rubric: Rubric) -> None:
        for name in rubric.criterion_names:
            for score in range(1, 6):
                assert re.search(rf"^- \*\*{score}: ", _section(rubric, name), re.MULTILINE)

    def test_each_score_has_one_example(
        self, rubric: Rubric, examples: dict[str, list[tuple[int, str, str]]]
    ) -> None:
        for name in rubric.criterion_names:
            assert [score for score, _, _ in examples[name]] == [1, 2, 3, 4, 5], name

    def test_each_criterion_has_examples_over_three_scenarios(
        self, examples: dict[str, list[tuple[int, str, str]]]
    ) -> None:
        known = {scenario.id for scenario in load_scenarios(ROOT / "evals" / "scenarios.toml")}
        for name, entries in examples.items():
            scenarios = {scenario for _, scenario, _ in entries}
            assert len(scenarios) >= 3, name
            assert scenarios <= known

    def test_the_scenarios_of_the_examples_are_told(
        self, rubric: Rubric, examples: dict[str, list[tuple[int, str, str]]]
    ) -> None:
        told = set(re.findall(r"^- `([a-z0-9-]+)`: ", rubric.text, re.MULTILINE))
        assert told == {scenario for entries in examples.values() for _, scenario, _ in entries}

    def test_the_times_told_of_them_are_the_scenarios_own(self, rubric: Rubric) -> None:
        scenarios = {s.id: s for s in load_scenarios(ROOT / "evals" / "scenarios.toml")}
        told = re.findall(r"^- `([a-z0-9-]+)`: (.*(?:\n  .*)*)", rubric.text, re.MULTILINE)
        for scenario_id, summary in told:
            scenario = scenarios[scenario_id].model_dump_json()
            times = re.findall(r"\d\d:\d\d", summary)
            assert times, scenario_id
            assert [time for time in times if time not in scenario] == []

    def test_examples_are_no_longer_than_a_tip(
        self, examples: dict[str, list[tuple[int, str, str]]]
    ) -> None:
        for entries in examples.values():
            for _, _, tip in entries:
                assert len(tip) <= 280


def _section(rubric: Rubric, criterion: str) -> str:
    """Return the part of the prose under the criterion's heading."""
    _, _, rest = rubric.text.partition(f"\n## {criterion}: ")
    return rest.partition("\n## ")[0]


def calibrated_examples(rubric: Rubric) -> dict[str, list[tuple[int, str, str]]]:
    """Return (score, scenario, tip) of every calibrated example, by criterion."""
    pattern = re.compile(r'^- Score (\d) \(`([a-z0-9-]+)`\): "(.+)"$', re.MULTILINE)
    return {
        name: [(int(m[1]), m[2], m[3]) for m in pattern.finditer(_section(rubric, name))]
        for name in rubric.criterion_names
    }
