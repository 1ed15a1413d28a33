"""``--baseline`` and ``--max-drop``: the gate, and the comparison that it is computed from."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import KNOWN_SCORES, MAYA

if TYPE_CHECKING:
    from tests.acceptance.conftest import Outcome, Project

CHANGES = {MAYA[0]: -2, MAYA[1]: -1, MAYA[2]: -1}
"""From 5, 4, 3 to 3, 3, 2: a mean change of −1.333 with a standard deviation of 0.577.

Half of the interval is 4.3027 × 0.577 / √3 = 1.434: [−2.77, +0.10]. It is not wholly below 0.
"""
EVENLY = dict.fromkeys(MAYA, -1)
"""The same drop everywhere: [−1, −1]."""


def judge_anew(project: Project, changes: dict[str, int], experiment: str = "new") -> None:
    """Make row v1 again in another experiment, with tips of its own, and judge them."""
    tips = {
        ("v1", scenario): [f"Another first step for {scenario}, taken now."] for scenario in MAYA
    }
    project.write_replay("known.jsonl", tips)
    outcome = project.run(
        *("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", experiment),
        *("--judge-export", "new.json"),
    )
    assert outcome.code == 0, outcome.text
    scores = {
        scenario: KNOWN_SCORES["v1", scenario] + change for scenario, change in changes.items()
    }
    project.judge(project.root / "new.json", lambda item: scores[item["scenario"]["id"]])
    outcome = project.run("--judge-apply", "new.json")
    assert outcome.code == 0, outcome.text


NEW = ("--leaderboard", "--experiment", "new", "--baseline", "tip-bench")


def test_a_change_that_may_be_chance_passes(judged_project: Project) -> None:
    judge_anew(judged_project, CHANGES)
    outcome = judged_project.run(*NEW)
    assert outcome.code == 0, outcome.text
    assert "PASS change from tip-bench, replay/known.jsonl × v1: " in outcome.words
    assert "-1.33 [-2.77, +0.10]" in outcome.words
    assert "sign-flip p = 0.250" in outcome.words
    assert "3 scenarios" in outcome.words


def test_a_drop_past_the_limit_fails(judged_project: Project) -> None:
    judge_anew(judged_project, EVENLY)
    outcome = judged_project.run(*NEW)
    assert outcome.code == 1, outcome.text
    assert "FAIL change from tip-bench, replay/known.jsonl × v1: " in outcome.words
    assert "-1.00 [-1.00, -1.00]" in outcome.words
    assert judged_project.run(*NEW, "--max-drop", "0.5").code == 1
    assert judged_project.run(*NEW, "--max-drop", "1").code == 0


def test_an_experiment_against_itself_passes(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--baseline", "tip-bench")
    assert outcome.code == 0, outcome.text
    assert outcome.text.count("PASS change from tip-bench") == 2


def test_without_such_a_row_it_is_undecided_and_fails(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--baseline", "nothing-there")
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED change from nothing-there" in outcome.words


def test_fewer_than_three_shared_scenarios_are_undecided(judged_project: Project) -> None:
    outcome = judged_project.run(
        "--leaderboard", "--baseline", "tip-bench", "--scenarios", f"{MAYA[0]},{MAYA[1]}"
    )
    assert outcome.code == 1, outcome.text
    assert "2 judged scenarios in common, 3 are needed" in outcome.words


def test_pending_cells_leave_it_undecided(judged_project: Project) -> None:
    judge_anew(judged_project, EVENLY)
    outcome = judged_project.run("--leaderboard", "--baseline", "new", "--prompts", "v1")
    assert outcome.code == 0, outcome.text  # from new to tip-bench everything rose
    tips = {("v1", scenario): [f"Yet another step for {scenario}, now."] for scenario in MAYA}
    judged_project.write_replay("known.jsonl", tips)
    judged_project.run("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", "newer")
    outcome = judged_project.run(
        "--leaderboard", "--experiment", "newer", "--baseline", "tip-bench"
    )
    assert outcome.code == 1, outcome.text
    assert "UNDECIDED change from tip-bench, replay/known.jsonl × v1: 3 cells pending" in (
        outcome.words
    )


@pytest.mark.parametrize("value", ["-0.5", "nan", "some"])
def test_a_mistake_is_one_line_and_exit_code_4(judged_project: Project, value: str) -> None:
    judged_project.run("--leaderboard", "--max-drop", value).assert_mistake("--max-drop", value)


# --- the comparison ---------------------------------------------------------------------------


def comparison_in(outcome: Outcome) -> list[str]:
    """Return the lines from the comparison's title to its end."""
    lines = outcome.text.splitlines()
    (start,) = [place for place, line in enumerate(lines) if line.startswith("compared with ")]
    end = next(
        place
        for place, line in enumerate(lines)
        if place > start and line.startswith(("PASS ", "FAIL ", "UNDECIDED "))
    )
    return lines[start:end]


def words_of(lines: list[str], name: str) -> list[str]:
    """Return the words of the one line that begins with the name."""
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return line.split()


def test_the_changes_of_the_row_and_of_each_scenario_are_printed(judged_project: Project) -> None:
    judge_anew(judged_project, CHANGES)
    outcome = judged_project.run(*NEW)
    lines = comparison_in(outcome)
    assert lines[0] == (
        "compared with tip-bench, after − before by scenario: "
        "1 row cannot be told apart from before (95 % interval of each)"
    )
    # before (5 + 4 + 3) / 3, after (3 + 3 + 2) / 3, over three pairs
    assert words_of(lines, "replay/known.jsonl") == [
        *("replay/known.jsonl", "v1", "4.00", "2.67", "-1.33", "±1.43", "0.250", "3"),
    ]
    assert words_of(lines, MAYA[0])[1:] == ["5.00", "3.00", "-2.00"]
    assert words_of(lines, MAYA[1])[1:] == ["4.00", "3.00", "-1.00"]
    assert words_of(lines, MAYA[2])[1:] == ["3.00", "2.00", "-1.00"]
    assert "only in tip-bench: replay/known.jsonl × v2-mentor" in lines
    assert outcome.text.index("4.00") < outcome.text.index("PASS change from tip-bench")


def test_without_a_baseline_nothing_is_compared(judged_project: Project) -> None:
    assert "compared with" not in judged_project.run("--leaderboard").text


def test_several_rows_have_a_column_each(judged_project: Project) -> None:
    lines = comparison_in(judged_project.run("--leaderboard", "--baseline", "tip-bench"))
    assert lines[0].endswith("2 rows cannot be told apart from before (95 % interval of each)")
    assert words_of(lines, "scenario") == ["scenario", "A", "B", "mean"]
    assert words_of(lines, MAYA[0])[1:] == ["0.00", "0.00", "0.00"]


def test_a_scenario_with_another_text_is_left_out_and_said(judged_project: Project) -> None:
    judged_project.edit("evals/scenarios.toml", "Hand in the expense report", "Hand it in")
    judge_anew(judged_project, CHANGES)
    outcome = judged_project.run(*NEW)
    lines = comparison_in(outcome)
    assert f"not paired, another text in the baseline: {MAYA[1]}" in lines
    assert "2 paired scenarios, and 3 are needed to compare the mean" in outcome.words
    assert not [line for line in lines if line.startswith(f"{MAYA[1]} ")]
    assert words_of(lines, MAYA[0])[1:] == ["5.00", "3.00", "-2.00"]
    assert (
        f"2 judged scenarios in common, 3 are needed; not paired, their text differs: {MAYA[1]}"
        in (outcome.words)
    )


def test_a_prompt_with_another_text_is_not_compared(judged_project: Project) -> None:
    judged_project.edit("evals/prompts/v1.md", "You write short,", "You write very short,")
    judge_anew(judged_project, EVENLY)
    lines = comparison_in(judged_project.run(*NEW))
    assert "no row can be compared" in lines[0]
    assert "prompt v1 has another text in tip-bench, not compared: replay/known.jsonl × v1" in lines


def test_what_is_not_judged_yet_is_left_out_and_said(judged_project: Project) -> None:
    tips = {("v1", scenario): [f"Yet another step for {scenario}, now."] for scenario in MAYA}
    judged_project.write_replay("known.jsonl", tips)
    outcome = judged_project.run(
        *("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", "new"),
        *("--baseline", "tip-bench"),
    )
    assert outcome.code == 1, outcome.text
    assert f"not paired, not judged here: {', '.join(MAYA)}" in outcome.words


def test_a_narrow_ascii_terminal_has_it_too(judged_project: Project) -> None:
    judge_anew(judged_project, CHANGES)
    outcome = judged_project.run(*NEW, environment={"COLUMNS": "60", "PYTHONIOENCODING": "ascii"})
    lines = comparison_in(outcome)
    assert max(map(len, lines)) <= 60
    assert all(line.isascii() for line in lines)
    assert "-1.33 +/-1.43" in "\n".join(lines)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "n2"])
def test_it_stands_in_every_report_that_has_a_place_for_it(
    judged_project: Project, workers: tuple[str, ...]
) -> None:
    judge_anew(judged_project, CHANGES)
    judged_project.workers = workers
    # The replay's tips are judged already: the same texts in the same scenarios.
    cells = ("evals", "--prompts", "v1", "--scenarios", "maya-*", "--experiment", "new")
    names = ("board.html", "board.md", "board.json", "board.csv")
    reports = [word for name in names for word in ("--tipbench-report", name)]
    outcome = judged_project.run(*cells, "--baseline", "tip-bench", *reports)
    assert outcome.code == 0, outcome.text
    assert words_of(comparison_in(outcome), "replay/known.jsonl")[4:6] == ["-1.33", "±1.43"]
    page, markdown, document, table = (
        (judged_project.root / name).read_text(encoding="utf-8") for name in names
    )

    comparison: dict[str, Any] = json.loads(document)["comparison"]
    assert comparison["baseline"] == "tip-bench"
    (row,) = comparison["rows"]  # the selection narrows the baseline too
    assert row["standing"] == "compared"
    assert row["composite_before"] == pytest.approx(4)
    assert row["composite_after"] == pytest.approx(8 / 3)
    difference = row["difference"]
    assert difference["mean"] == pytest.approx(-4 / 3)
    assert difference["low"] == pytest.approx(-4 / 3 - 1.434, abs=1e-3)
    assert difference["high"] == pytest.approx(-4 / 3 + 1.434, abs=1e-3)
    assert (difference["sign_flip_p"], difference["scenarios"]) == (0.25, 3)
    differences = {change["scenario"]: change["difference"] for change in row["scenarios"]}
    assert differences == pytest.approx(CHANGES)

    assert "### Compared with `tip-bench`" in markdown
    assert "| A | `replay/known.jsonl` | `v1` | 4.00 | 2.67 | −1.33 ±1.43 | 0.250 | 3 |" in markdown
    assert f"| `{MAYA[0]}` | −2.00 | −2.00 |" in markdown

    assert '<h2 id="baseline-title">Compared with tip-bench</h2>' in page
    assert "−1.33 ±1.43" in page
    assert "5.00 before, 3.00 after" in page

    judged_project.workers = ()
    judged_project.run("--leaderboard", "--experiment", "new", "--tipbench-report", "plain.csv")
    judged_project.run("--leaderboard", "--experiment", "new", "--tipbench-report", "plain.json")
    assert (judged_project.root / "plain.csv").read_text(encoding="utf-8") == table
    plain = json.loads((judged_project.root / "plain.json").read_text(encoding="utf-8"))
    assert plain["comparison"] is None


def test_a_hostile_name_is_shown_as_text(judged_project: Project) -> None:
    hostile = "<script>alert(1)</script>|`*x*"
    judge_anew(judged_project, EVENLY, hostile)
    outcome = judged_project.run(
        *("--leaderboard", "--baseline", hostile, "--prompts", "v1"),
        *("--tipbench-report", "board.html", "--tipbench-report", "board.md"),
    )
    assert outcome.code == 0, outcome.text
    assert f"compared with {hostile}, after − before by scenario: 1 row rose" in outcome.text
    page = (judged_project.root / "board.html").read_text(encoding="utf-8")
    assert hostile not in page
    assert f"Compared with {html.escape(hostile)}" in page
    markdown = (judged_project.root / "board.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert "### Compared with <code>&#60;script&#62;" in markdown
