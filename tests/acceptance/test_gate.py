from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble


@pytest.mark.parametrize(
    ("gate", "status"),
    [
        # Rows of 4 ± 2.48 and 2 ± 2.48, over scenarios of 5, 4, 3 and 3, 2, 1; see KNOWN_SCORES.
        ("composite>=2", "PASS"),
        ("composite>2", "FAIL"),
        ("best:composite>=4", "PASS"),
        ("best:composite>4", "FAIL"),
        ("lower:composite>=-0.5", "PASS"),  # 2 − 2.484 = −0.484
        ("lower:composite>=-0.4", "FAIL"),
        ("best:relevance>=4", "PASS"),
        ("tone >= 2.5", "FAIL"),
        ("worst_scenario_composite>=1", "PASS"),
        ("worst_scenario_composite>=1.5", "FAIL"),
        ("usable_rate==1", "PASS"),
        ("p95_latency_seconds<=0.5", "PASS"),
        ("median_latency_seconds<0.5", "FAIL"),
        ("tokens_per_second>1", "UNDECIDED"),  # a replay does not say
    ],
)
def test_a_verdict_with_its_numbers_and_the_exit_code(
    judged_project: Project, gate: str, status: str
) -> None:
    outcome = judged_project.run("--leaderboard", "--gate", gate)
    assert outcome.code == (0 if status == "PASS" else 1), outcome.text
    assert f"{status} {gate}: " in outcome.words


def test_several_gates_each_have_a_line(judged_project: Project) -> None:
    outcome = judged_project.run(
        "--leaderboard", "--gate", "usable_rate>=0.95", "--gate", "tone>=3"
    )
    assert outcome.code == 1
    assert "PASS usable_rate>=0.95: " in outcome.words
    assert "FAIL tone>=3: " in outcome.words


def test_the_ini_twin_names_one_a_line(judged_project: Project) -> None:
    judged_project.write_configuration(tipbench_gate="\n    usable_rate>=0.95\n    tone>=3")
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 1
    assert "PASS usable_rate>=0.95: " in outcome.words
    assert "FAIL tone>=3: " in outcome.words


def test_a_gate_on_an_unjudged_metric_decides_a_generating_run(either_way: Project) -> None:
    arguments = ("evals", "--prompts", "v1", "--scenarios", "zoe-m*")
    outcome = either_way.run(*arguments, "--gate", "usable_rate>=0.95")
    assert outcome.code == 0, outcome.text
    assert "PASS usable_rate>=0.95: " in outcome.words


def test_a_failed_item_stays_1_and_unmeasured_cells_leave_a_gate_undecided(
    ollama_project: Project, ollama: OllamaDouble
) -> None:
    ollama.fail("out_of_memory")
    outcome = ollama_project.run(
        *("evals", "--prompts", "v1", "--scenarios", "zoe-m*"),
        *("--gate", "usable_rate>=0.5"),
    )
    assert outcome.code == 1
    assert "UNDECIDED usable_rate>=0.5: 1 cell not measured" in outcome.words


def test_a_diversity_metric_has_its_columns_made(judged_project: Project) -> None:
    """Each tip is one of a kind for its scenario, and still much like the others."""
    outcome = judged_project.run("--leaderboard", "--gate", "specificity<=1")
    assert outcome.code == 0, outcome.text
    assert "PASS specificity<=1: " in outcome.words


@pytest.mark.parametrize(
    ("gate", "parts"),
    [
        ("composit>=3", ("unknown gate metric 'composit'", "composite")),
        ("composite=>3", ("composite=>3", "METRIC OP NUMBER")),
        ("composite>=high", ("composite>=high", "METRIC OP NUMBER")),
        ("lower:usable_rate>=1", ("lower:", "interval")),
        ("composite", ("'composite'", "METRIC OP NUMBER")),
    ],
)
def test_a_mistake_is_told_before_any_cell_runs(
    ollama_project: Project, ollama: OllamaDouble, gate: str, parts: tuple[str, ...]
) -> None:
    ollama_project.run("evals", "--gate", gate).assert_mistake(*parts)
    assert ollama.requests == []


def test_an_empty_board_is_undecided(project: Project) -> None:
    outcome = project.run("--leaderboard", "--gate", "composite>=1")
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED composite>=1" in outcome.words
