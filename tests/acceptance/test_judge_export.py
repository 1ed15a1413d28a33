from __future__ import annotations

import json
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import MAYA, known_tip

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project


def read(sheet: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sheet.read_text(encoding="utf-8"))
    return document


def keys_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_in, value.values()))
    if isinstance(value, list):
        return set().union(*map(keys_in, value))
    return set()


def test_the_sheet_has_every_pending_tip_and_nothing_that_gives_it_away(
    generated_project: Project,
) -> None:
    document = read(generated_project.export("--judge-anchors", "0"))
    assert list(document) == [
        *("schema", "experiment", "nonce", "checksum", "exported_at", "judge", "rubric"),
        *("instructions", "items"),
    ]
    assert document["schema"] == "tipbench-judge/1"
    assert document["experiment"] == "tip-bench"
    assert set(document["rubric"]) == {"version", "sha256", "criteria", "scale", "text"}
    runs = generated_project.runs()
    assert sorted(item["tip"] for item in document["items"]) == sorted(
        tip for run in runs for tip in run.tips
    )
    for item in document["items"]:
        assert set(item) == {"id", "scenario", "tip", "scores", "note"}
        assert item["scores"] == {"relevance": None, "actionability": None, "tone": None}
        assert item["note"] == ""
    text = json.dumps({**document, "instructions": "", "rubric": ""})
    for run in runs:
        assert run.model is not None
        assert run.prompt.system not in text
        for secret in (run.run_id, run.fingerprint, run.model.digest, run.cell.id):
            assert secret not in text
    for secret in ("qwen", "ollama", "v1", "latency"):
        assert secret not in text.lower()
    telling = {"model", "provider", "digest", "prompt", "prompt_version", "run_id", "outcome"}
    assert not keys_in(document) & telling


def test_scenarios_stand_together_in_an_order_of_the_nonces(generated_project: Project) -> None:
    items = read(generated_project.export())["items"]
    blocks = [scenario for scenario, _ in groupby(item["scenario"]["id"] for item in items)]
    assert sorted(blocks) == sorted(MAYA)  # each once
    again = read(generated_project.export(name="again.json"))["items"]
    assert not {item["id"] for item in items} & {item["id"] for item in again}


def test_it_is_readable_utf_8_in_the_open(project: Project) -> None:
    project.write_replay("r.jsonl", {("v1", MAYA[0]): ["Trinke grünen Tee, 美咲, und höre auf."]})
    outcome = project.run(
        "evals",
        *("--models", "replay/r.jsonl", "--prompts", "v1", "--scenarios", MAYA[0]),
        *("--n-tips", "1", "--judge-export", "s.json"),
    )
    assert outcome.code == 0, outcome.text
    text = (project.root / "s.json").read_text(encoding="utf-8")
    assert '"tip": "Trinke grünen Tee, 美咲, und höre auf."' in text
    assert len(text.splitlines()) > 20


def test_identical_tips_of_two_rows_appear_once(project: Project) -> None:
    tip = "Put the phone into another room until ten."
    project.write_replay("r.jsonl", {("v1", MAYA[0]): [tip], ("v2-mentor", MAYA[0]): [tip]})
    project.run(
        "evals",
        *("--models", "replay/r.jsonl", "--prompts", "v1,v2-mentor", "--scenarios", MAYA[0]),
        *("--n-tips", "1", "--judge-export", "s.json", "--judge-anchors", "0"),
    )
    assert [item["tip"] for item in read(project.root / "s.json")["items"]] == [tip]


def test_with_a_path_it_runs_after_the_cells(either_way: Project) -> None:
    outcome = either_way.run(
        "evals", "--prompts", "v1", "--scenarios", MAYA[0], "--judge-export", "s.json"
    )
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    (run,) = either_way.runs()
    assert set(run.tips) <= {item["tip"] for item in read(either_way.root / "s.json")["items"]}


def test_without_a_path_no_test_runs(generated_project: Project) -> None:
    generated_project.write("evals/test_own.py", "def test_own():\n    raise SystemExit('ran')\n")
    outcome = generated_project.run("--judge-export", "s.json")
    assert outcome.code == 0, outcome.text
    assert "no tests ran" in outcome.counts


def test_the_selection_narrows_the_sheet(judged_project: Project) -> None:
    sheet = judged_project.export(
        *("--judge-name", "bob", "--judge-anchors", "0"),
        *("--prompts", "v2-mentor", "--scenarios", "maya-*-slump"),
    )
    assert [item["tip"] for item in read(sheet)["items"]] == [known_tip("v2-mentor", MAYA[1])]


def test_an_unknown_name_in_the_selection_is_a_mistake(generated_project: Project) -> None:
    outcome = generated_project.run("--judge-export", "s.json", "--models", "qwen2.5:0.6b")
    outcome.assert_mistake("qwen2.5:0.6b", "qwen2.5:0.5b")
    assert not (generated_project.root / "s.json").exists()


def test_with_nothing_pending_there_is_no_file(judged_project: Project) -> None:
    outcome = judged_project.run("--judge-export", "more.json")
    assert outcome.code == 0, outcome.text
    assert "nothing is pending" in outcome.text
    assert not (judged_project.root / "more.json").exists()


def test_half_a_sheet_leaves_the_other_half_pending(generated_project: Project) -> None:
    sheet = generated_project.export("--judge-anchors", "0")
    first = read(sheet)["items"][0]["id"]
    generated_project.judge(sheet, lambda item: 4 if item["id"] == first else None)
    assert generated_project.run("--judge-apply", "scores.json").code == 0
    rest = generated_project.export("--judge-anchors", "0", "--judge-name", "ada", name="rest.json")
    repeated = 1  # a tenth of what ada has scored of the sheet's scenarios, rounded up
    assert len(read(rest)["items"]) == 5 + repeated


def test_an_untouched_export_may_be_overwritten_a_judged_one_not(
    generated_project: Project,
) -> None:
    sheet = generated_project.export()
    nonce = read(sheet)["nonce"]
    generated_project.export()
    assert read(sheet)["nonce"] != nonce
    generated_project.judge(sheet)
    before = sheet.read_bytes()
    outcome = generated_project.run("--judge-export", "scores.json")
    outcome.assert_mistake(str(sheet), "not overwritten")
    assert sheet.read_bytes() == before


def test_an_occupied_target_is_told_before_any_cell_runs(either_way: Project) -> None:
    target = either_way.write("mine.json", "{}")
    outcome = either_way.run("evals", "--scenarios", MAYA[0], "--judge-export", "mine.json")
    outcome.assert_mistake(str(target), "not overwritten")
    assert not either_way.ledger_path.exists()


def test_a_file_outside_the_project_from_a_subfolder(
    generated_project: Project, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere/sheets/s.json"
    outcome = generated_project.run(
        "--judge-export", str(target), cwd=generated_project.root / "evals"
    )
    assert outcome.code == 0, outcome.text
    assert read(target)["items"]
    again = generated_project.run(
        "--judge-export", str(target), cwd=generated_project.root / "evals"
    )
    assert again.code == 0, again.text  # now the file exists: pytest takes it for a test path


def said(item: dict[str, Any]) -> tuple[str, str]:
    """Return what an item is of: the double says one text in several scenarios."""
    return item["scenario"]["id"], item["tip"]


def test_a_tenth_of_what_the_judge_has_scored_is_asked_again_hidden(
    generated_project: Project,
) -> None:
    """Three scored tips of the sheet's scenarios: a tenth, rounded up, is one."""
    sheet = generated_project.export("--judge-anchors", "0", "--judge-name", "ada")
    by_scenario = {item["scenario"]["id"]: item["id"] for item in read(sheet)["items"]}
    firsts = set(by_scenario.values())
    generated_project.judge(sheet, lambda item: 4 if item["id"] in firsts else None)
    assert generated_project.run("--judge-apply", "scores.json").code == 0
    scored = {said(item) for item in read(sheet)["items"] if item["id"] in firsts}
    second = generated_project.export("--judge-anchors", "0", "--judge-name", "ada", name="b.json")
    tips = [said(item) for item in read(second)["items"]]
    assert len(tips) == 3 + 1
    assert len(scored & set(tips)) == 1
    generated_project.judge(second, 4)
    outcome = generated_project.run("--judge-apply", "b.json")
    assert "self-consistency: 3 of 3 scores given again were the same (100%)" in outcome.words


@pytest.mark.parametrize("name", ["scores.txt", "scores", ""])
def test_another_suffix_is_a_mistake(generated_project: Project, name: str) -> None:
    generated_project.run(f"--judge-export={name}").assert_mistake("--judge-export")


def test_the_command_that_comes_next_is_said(generated_project: Project) -> None:
    outcome = generated_project.run("--judge-export", "s.json")
    assert re.search(r"6 of 6 pending tips .* pytest --judge-apply \S*s\.json", outcome.words)
