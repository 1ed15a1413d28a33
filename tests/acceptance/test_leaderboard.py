from __future__ import annotations

from typing import TYPE_CHECKING

from tests.acceptance.conftest import MAYA

if TYPE_CHECKING:
    from tests.acceptance.conftest import Outcome, Project


def board_of(outcome: Outcome) -> list[str]:
    """Return what stands under the board's rule, without pytest's last line."""
    lines = outcome.text.splitlines()
    start = next(index for index, line in enumerate(lines) if " tipbench: " in line)
    return [line for line in lines[start + 1 :] if " in " not in line or "=====" not in line]


def test_rows_stand_with_their_known_scores(judged_project: Project) -> None:
    """See KNOWN_SCORES: means 4 and 2, half an interval of 2.48.

    The rows differ by 2 in every scenario, so nothing is left for chance: the error's mean square
    and the least significant difference are 0, and the two rows are two tiers.
    """
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    rows = [line for line in board_of(outcome) if "replay/known.jsonl  v" in line]
    assert rows[0].split()[:9] == [
        *("1", "replay/known.jsonl", "v1", "3/3", "100%", "4.00", "4.00", "4.00", "4.00"),
    ]
    assert "±2.48" in rows[0]
    assert rows[1].split()[:9] == [
        *("2", "replay/known.jsonl", "v2-mentor", "3/3", "100%", "2.00", "2.00", "2.00", "2.00"),
    ]
    assert "least significant difference 0.00" in outcome.words
    assert "+2.00 [+2.00, +2.00]" in outcome.words
    assert "sign-flip p = 0.250" in outcome.words  # 2 of the 8 ways to flip three signs


def test_no_test_runs_without_a_path(judged_project: Project) -> None:
    judged_project.write("evals/test_own.py", "raise SystemExit('imported')\n")
    before = len(judged_project.runs())
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "no tests ran" in outcome.counts
    assert len(judged_project.runs()) == before


def test_the_same_board_next_time_and_from_a_subfolder(judged_project: Project) -> None:
    first = judged_project.run("--leaderboard")
    second = judged_project.run("--leaderboard", cwd=judged_project.root / "evals/prompts")
    third = judged_project.run("--leaderboard", "-n2")
    assert board_of(first) == board_of(second) == board_of(third)


def test_no_model_and_no_server_is_needed_to_read(judged_project: Project) -> None:
    (judged_project.root / "known.jsonl").unlink()
    del judged_project.ini["tipbench_models"]
    judged_project.write_configuration()
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "4.00 ±2.48" in outcome.text


def test_a_changed_scenario_is_said_apart(judged_project: Project) -> None:
    """What is stored was made on the text before; the files of today change no score."""
    before = board_of(judged_project.run("--leaderboard"))
    judged_project.edit("evals/scenarios.toml", 'name = "Maya Okafor"', 'name = "Maja Okafor"')
    assert board_of(judged_project.run("--leaderboard")) == before
    outcome = judged_project.run("evals", "--prompts", "v1", "--scenarios", MAYA[0])
    assert outcome.code == 0, outcome.text
    assert f"1 cell left out, made on an older text of {MAYA[0]}" in outcome.words
    outcome = judged_project.run("--leaderboard")
    assert f"2 cells left out, made on an older text of {MAYA[0]}" in outcome.words
    assert "2/3" in outcome.text  # v1's new cell is pending
    assert "2/2" in outcome.text  # v2-mentor has none on the new text


def test_a_changed_prompt_is_a_row_apart(judged_project: Project) -> None:
    judged_project.edit("evals/prompts/v1.md", "You write short,", "You write very short,")
    outcome = judged_project.run("evals", "--prompts", "v1", "--scenarios", "maya-*")
    assert outcome.code == 0, outcome.text
    assert "older configuration, apart: replay/known.jsonl × v1: 4.00 ±2.48" in outcome.words
    assert "the prompt's text changed" in outcome.words


def test_a_changed_rubric_is_said_and_its_scores_are_not_mixed_in(
    judged_project: Project,
) -> None:
    judged_project.edit("rubric.md", "would a tired person be glad", "would anybody be glad")
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "6 cells judged only under another rubric (tip-v1" in outcome.words
    assert "not mixed in" in outcome.words
    assert "4.00 ±2.48" not in outcome.text
    assert outcome.text.count("0/3") == 2
    verbose = judged_project.run("--leaderboard", "-v")
    assert "relevance 4.00" in verbose.words


def test_the_selection_narrows_the_board(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--prompts", "v2-mentor")
    assert "1 row, 3 scenarios" in outcome.text
    outcome = judged_project.run("--leaderboard", "--scenarios", "maya-morning-*")
    assert "2 rows, 1 scenario" in outcome.text
    assert "5.00" in outcome.text
    outcome = judged_project.run("--leaderboard", "--models", "replay/k*")
    assert "2 rows, 3 scenarios" in outcome.text


def test_ini_defaults_narrow_no_board(judged_project: Project) -> None:
    judged_project.write_configuration(tipbench_prompts="v1", tipbench_models="llama3.2:1b")
    assert "2 rows, 3 scenarios" in judged_project.run("--leaderboard").text


def test_an_unknown_name_is_a_mistake_with_the_nearest(judged_project: Project) -> None:
    judged_project.run("--leaderboard", "--prompts", "v2-mentr").assert_mistake(
        "v2-mentr", "v2-mentor"
    )


def test_two_judges_agreement_is_on_the_verbose_board(judged_project: Project) -> None:
    sheet = judged_project.export("--judge-name", "bob", name="bob.json")
    judged_project.judge(sheet, 3, "bob")
    assert judged_project.run("--judge-apply", "bob.json").code == 0
    brief = judged_project.run("--leaderboard")
    assert "kappa" not in brief.text.lower()
    verbose = judged_project.run("--leaderboard", "-v")
    for word in ("exact 33%", "within one point 67%", "kappa"):
        assert word in verbose.text.lower(), verbose.text


def test_a_narrow_or_ascii_terminal_gets_a_board_too(judged_project: Project) -> None:
    outcome = judged_project.run(
        "--leaderboard", environment={"COLUMNS": "60", "PYTHONIOENCODING": "ascii"}
    )
    assert outcome.code == 0, outcome.text
    board = board_of(outcome)
    assert max(map(len, board)) <= 60
    assert all(line.isascii() for line in board)
    assert "4.00 +/-2.48" in outcome.text
    assert "left out at" in outcome.words
