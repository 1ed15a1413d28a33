from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import SourceFileError, UserMistakeError
from pytest_tipbench.evaluation import load_evaluation_set
from tests.unit.bench_samples import PROMPTS, evaluation
from tests.unit.board_samples import a_scenario

if TYPE_CHECKING:
    from pathlib import Path

SCENARIOS = """
[[personas]]
id = "zoe"
name = "Zoë"
description = "A nurse."

[[time_slots]]
id = "dawn"
label = "Dawn"
local_time = "05:30"

[[scenarios]]
id = "zoe-dawn"
persona = "zoe"
time_slot = "dawn"
tasks = [{ title = "Write the report" }]
"""
PROMPT = """+++
description = "plain"
system = "Be kind."
+++
Give {{ n_tips }} tips for {{ scenario.persona.name }}.
"""
RUBRIC = """+++
version = "tip-v1"
scale = [1, 5]
missing_tip_score = 1

[[criteria]]
name = "tone"
weight = 1
+++
What each score of tone means.
"""
ANCHORS = """
[[anchors]]
scenario = "zoe-dawn"
tip = "Write the first page of the report now"
scores = { tone = 4 }
reason = "kind"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "evals" / "prompts").mkdir(parents=True)
    (tmp_path / "evals" / "scenarios.toml").write_text(SCENARIOS, encoding="utf-8")
    (tmp_path / "evals" / "prompts" / "v1.md").write_text(PROMPT, encoding="utf-8")
    (tmp_path / "rubric.md").write_text(RUBRIC, encoding="utf-8")
    return tmp_path


def test_the_projects_files_become_an_evaluation_set(project: Path) -> None:
    loaded = load_evaluation_set(project / "evals", project / "rubric.md")
    assert [scenario.id for scenario in loaded.scenarios] == ["zoe-dawn"]
    assert [prompt.version for prompt in loaded.prompts] == ["v1"]
    assert loaded.rubric.criterion_names == ("tone",)
    assert loaded.scenario("zoe-dawn").persona.name == "Zoë"
    assert loaded.prompt("v1").system == "Be kind."


def test_hooks_add_behind_the_files(project: Path) -> None:
    loaded = load_evaluation_set(
        project / "evals",
        project / "rubric.md",
        further_scenarios=iter([a_scenario("s01")]),
        further_prompts=iter([PROMPTS[1]]),
    )
    assert [scenario.id for scenario in loaded.scenarios] == ["zoe-dawn", "s01"]
    assert [prompt.version for prompt in loaded.prompts] == ["v1", "v2"]


def test_a_name_that_a_file_has_taken_is_refused(project: Path) -> None:
    with pytest.raises(UserMistakeError, match="scenario 'zoe-dawn' is given twice"):
        load_evaluation_set(
            project / "evals", project / "rubric.md", further_scenarios=[a_scenario("zoe-dawn")]
        )
    with pytest.raises(UserMistakeError, match="prompt version 'v1' is given twice"):
        load_evaluation_set(project / "evals", project / "rubric.md", further_prompts=[PROMPTS[0]])


@pytest.mark.parametrize("missing", ["evals/scenarios.toml", "evals/prompts", "rubric.md"])
def test_a_file_that_is_not_there_is_named(project: Path, missing: str) -> None:
    (project / missing).rename(project / "elsewhere")
    with pytest.raises(SourceFileError) as error:
        load_evaluation_set(project / "evals", project / "rubric.md")
    assert error.value.path == project / missing


def test_a_project_without_anchors_has_none(project: Path) -> None:
    assert load_evaluation_set(project / "evals", project / "rubric.md").anchors == ()


def test_anchors_are_read_when_asked_for_and_once(project: Path) -> None:
    anchors = project / "evals" / "anchors.toml"
    anchors.write_text("broken =", encoding="utf-8")
    loaded = load_evaluation_set(project / "evals", project / "rubric.md")
    with pytest.raises(SourceFileError, match=r"anchors\.toml"):
        _ = loaded.anchors
    anchors.write_text(ANCHORS, encoding="utf-8")
    assert loaded.anchors[0].scores == {"tone": 4}
    assert loaded.anchors is loaded.anchors


def test_an_unknown_id_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(StopIteration):
        evaluation(tmp_path).scenario("s99")
    with pytest.raises(StopIteration):
        evaluation(tmp_path).prompt("v99")
