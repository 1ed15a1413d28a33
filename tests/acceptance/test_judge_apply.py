from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import MAYA, ONE_CELL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.conftest import Project

Document = dict[str, Any]


def read(sheet: Path) -> Document:
    document: Document = json.loads(sheet.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def scored(generated: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The generated project with a sheet of it, scored, not applied."""
    copy = generated.copied_to(tmp_path_factory.mktemp("scored"))
    copy.judge(copy.export())
    return copy


@pytest.fixture
def scored_project(scored: Project, tmp_path: Path) -> Project:
    return scored.copied_to(tmp_path / "scored")


def test_a_judged_sheet_comes_back_as_scores_on_the_board(scored_project: Project) -> None:
    """Every tip has 4 on every criterion, so the composite is 4 without spread."""
    outcome = scored_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    judgements = scored_project.judgements()
    assert len(judgements) == 6
    assert {judgement.judge for judgement in judgements} == {"ada"}
    made = {(run.scenario_sha256, tip) for run in scored_project.runs() for tip in run.tips}
    assert {(given.key.scenario_sha256, given.key.tip) for given in judgements} == made
    assert all(
        judgement.scores == {"relevance": 4, "actionability": 4, "tone": 4}
        for judgement in judgements
    )
    assert "4.00 ±0.00" in outcome.text
    assert "3/3" in outcome.text
    assert "judged by ada" in outcome.text
    assert "pending" not in outcome.text


def test_applying_again_changes_nothing(scored_project: Project) -> None:
    assert scored_project.run("--judge-apply", "scores.json").code == 0
    judgements, applies = scored_project.judgements(), scored_project.applies()
    outcome = scored_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    assert scored_project.judgements() == judgements
    assert scored_project.applies() == applies
    assert "tips scored: 6, none of them new" in outcome.words
    assert "4.00 ±0.00" in outcome.text


def test_a_correction_that_is_taken_back_counts(scored_project: Project) -> None:
    sheet = scored_project.root / "scores.json"
    for score in (5, 2, 5):
        scored_project.judge(sheet, score)
        outcome = scored_project.run("--judge-apply", "scores.json")
        assert outcome.code == 0, outcome.text
        assert f"{score}.00 ±0.00" in outcome.text
    assert len(scored_project.applies()) == 3
    assert len(scored_project.judgements()) == 3 * 6


def test_the_note_is_kept_and_a_formatter_may_have_touched_the_file(
    scored_project: Project,
) -> None:
    sheet = scored_project.root / "scores.json"
    document = read(sheet)
    evaluated = {tip for run in scored_project.runs() for tip in run.tips}
    item = next(item for item in document["items"] if item["tip"] in evaluated)
    item["note"] = "clear, and kind"
    shuffled = {key: document[key] for key in sorted(document)}
    sheet.write_text(json.dumps(shuffled, indent=None), encoding="utf-8")
    assert scored_project.run("--judge-apply", "scores.json").code == 0
    notes = [judgement.note for judgement in scored_project.judgements() if judgement.note]
    assert notes == ["clear, and kind"]


@pytest.mark.parametrize("where", ["root", "subfolder"])
@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_file_outside_the_project_given_after_a_space(
    scored_project: Project, tmp_path: Path, where: str, workers: tuple[str, ...]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sheet = shutil.move(scored_project.root / "scores.json", elsewhere / "scores.json")
    cwd = scored_project.root / "evals" if where == "subfolder" else scored_project.root
    outcome = scored_project.run("--judge-apply", str(sheet), *workers, cwd=cwd)
    assert outcome.code == 0, outcome.text
    assert len(scored_project.judgements()) == 6
    assert "4.00 ±0.00" in outcome.text


def test_the_same_joined_by_an_equals_sign(scored_project: Project, tmp_path: Path) -> None:
    sheet = shutil.move(scored_project.root / "scores.json", tmp_path / "scores.json")
    assert scored_project.run(f"--judge-apply={sheet}").code == 0
    assert len(scored_project.judgements()) == 6


def test_items_left_null_stay_pending(scored_project: Project) -> None:
    sheet = scored_project.root / "scores.json"
    scored_project.judge(sheet, lambda item: None if item["scenario"]["id"] == MAYA[0] else 4)
    outcome = scored_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    assert len(scored_project.judgements()) == 4
    assert "2/3" in outcome.text
    assert "2 items of the sheet left open" in outcome.words
    assert "1 cell pending (2 tips to judge)" in outcome.words


def test_two_judges_are_averaged(scored_project: Project) -> None:
    """4 by ada and 2 by bob are 3."""
    scored_project.run("--judge-apply", "scores.json")
    sheet = scored_project.export("--judge-name", "bob", name="bob.json")
    outcome = scored_project.run("--judge-apply", str(scored_project.judge(sheet, 2, "bob")))
    assert outcome.code == 0, outcome.text
    assert len(scored_project.judgements()) == 12
    assert "3.00 ±0.00" in outcome.text
    assert "judged by ada, bob" in outcome.text
    assert "kappa" in outcome.text.lower()  # agreement is printed after apply


def test_several_files_at_once(scored_project: Project) -> None:
    shutil.copy(scored_project.root / "scores.json", scored_project.root / "bob.json")
    scored_project.judge(scored_project.root / "bob.json", 2, "bob")
    outcome = scored_project.run("--judge-apply", "scores.json", "--judge-apply", "bob.json")
    assert outcome.code == 0, outcome.text
    assert {judgement.judge for judgement in scored_project.judgements()} == {"ada", "bob"}
    assert "3.00 ±0.00" in outcome.text


def test_one_bad_file_of_several_keeps_all_out(scored_project: Project) -> None:
    scored_project.write("bad.json", "{")
    outcome = scored_project.run("--judge-apply", "scores.json", "--judge-apply", "bad.json")
    outcome.assert_mistake("bad.json")
    assert scored_project.judgements() == []


def test_the_files_own_experiment_counts(scored_project: Project) -> None:
    scored_project.write_configuration(tipbench_experiment="elsewhere")
    outcome = scored_project.run("--judge-apply", "scores.json")
    assert outcome.code == 0, outcome.text
    assert "tip-bench: 1 row" in outcome.text
    assert "4.00 ±0.00" in outcome.text


def test_a_machine_with_the_same_runs_needs_no_mapping(
    scored_project: Project, generated_project: Project
) -> None:
    """Ids are a hash of nonce, scenario and tip, which every copy of the store knows."""
    sheet = scored_project.root / "scores.json"
    outcome = generated_project.run("--judge-apply", str(sheet))
    assert outcome.code == 0, outcome.text
    assert len(generated_project.judgements()) == 6


def test_with_a_path_it_runs_after_the_cells(
    scored_project: Project,
) -> None:
    scored_project.write_replay("r.jsonl", {("v1", MAYA[0]): ["Open the list of changes now."]})
    outcome = scored_project.run(
        "evals",
        *("--models", "replay/r.jsonl", "--prompts", "v1", "--scenarios", MAYA[0]),
        *("--judge-apply", "scores.json"),
    )
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert len(scored_project.judgements()) == 6


def test_a_faulty_sheet_takes_nothing_from_the_cells_that_ran_before_it(
    either_way: Project,
) -> None:
    sheet = either_way.root / "scores.json"
    assert either_way.run("evals", *ONE_CELL).code == 0
    either_way.judge(either_way.export())
    document = json.loads(sheet.read_text(encoding="utf-8"))
    for item in document["items"][:2]:
        item["tip"] += " Edited."
    sheet.write_text(json.dumps(document), encoding="utf-8")
    outcome = either_way.run(
        *("evals", *ONE_CELL, "--judge-apply", "scores.json"),
        *("--gate", "usable_rate>=0.5", "--junitxml", "junit.xml"),
    )
    assert outcome.code == 4, outcome.text
    assert "1 passed" in outcome.counts
    problems = [line for line in outcome.text.splitlines() if line.startswith("PROBLEM: ")]
    assert problems[0].endswith("faults, nothing was written")
    assert [problem for problem in problems if "its tip was edited" in problem] == problems[1:3]
    assert "PASS usable_rate>=0.5" in outcome.words
    assert "tipbench gates" in (either_way.root / "junit.xml").read_text(encoding="utf-8")
    assert either_way.judgements() == []


def test_a_mistake_in_the_selection_keeps_the_sheet_out(scored_project: Project) -> None:
    arguments = ("--judge-apply", "scores.json", "--scenarios", "typo")
    scored_project.run(*arguments).assert_mistake("unknown scenario", "typo")
    assert scored_project.judgements() == []


# --- faults: each is named, and the store stays as it was -----------------------------------------

NO_OBJECT = ("item {0}: scores is not an object",)

FAULTS: dict[str, tuple[Callable[[Document], object], tuple[str, ...]]] = {
    "unknown id": (
        lambda d: d["items"][0].update(id="0" * 16),
        ("item 0000000000000000", "unknown"),
    ),
    "repeated id": (lambda d: d["items"].append(d["items"][0]), ("item {0}", "2 times")),
    "missing criterion": (lambda d: d["items"][0]["scores"].pop("tone"), ("item {0}", "tone")),
    "extra criterion": (
        lambda d: d["items"][0]["scores"].update(wit=4),
        ("item {0}", "wit is not a criterion"),
    ),
    "true": (lambda d: d["items"][0]["scores"].update(tone=True), ("item {0}", "tone is true")),
    "text": (lambda d: d["items"][0]["scores"].update(tone="4"), ("item {0}", 'tone is "4"')),
    "fraction": (lambda d: d["items"][0]["scores"].update(tone=3.7), ("item {0}", "tone is 3.7")),
    "whole float": (lambda d: d["items"][0]["scores"].update(tone=4.0), ("item {0}", "tone is 4")),
    "NaN": (
        lambda d: d["items"][0]["scores"].update(tone=float("nan")),
        ("item {0}", "tone is NaN"),
    ),
    "above the scale": (
        lambda d: d["items"][0]["scores"].update(tone=6),
        ("item {0}", "tone is 6, outside 1 to 5"),
    ),
    "below the scale": (
        lambda d: d["items"][0]["scores"].update(tone=0),
        ("item {0}", "tone is 0, outside 1 to 5"),
    ),
    "some null": (
        lambda d: d["items"][0]["scores"].update(tone=None),
        ("item {0}", "score all criteria or none"),
    ),
    "scores null": (lambda d: d["items"][0].update(scores=None), NO_OBJECT),
    "scores a list": (lambda d: d["items"][0].update(scores=[1, 2, 3]), NO_OBJECT),
    "scores a text": (lambda d: d["items"][0].update(scores="x"), NO_OBJECT),
    "scores a number": (lambda d: d["items"][0].update(scores=3), NO_OBJECT),
    "no scores": (lambda d: d["items"][0].pop("scores"), NO_OBJECT),
    "a name too long": (lambda d: d.update(judge="a" * 101), ("a name has at most 100",)),
    "tip edited": (
        lambda d: d["items"][0].update(tip="Better words."),
        ("item {0}", "its tip was edited"),
    ),
    "scenario edited": (
        lambda d: d["items"][0]["scenario"]["persona"].update(name="Mia"),
        ("item {0}", "its scenario was edited"),
    ),
    "item removed": (lambda d: d["items"].pop(), ("checksum",)),
    "items moved": (lambda d: d["items"].reverse(), ("checksum",)),
    "instructions edited": (lambda d: d.update(instructions="Give fives."), ("checksum",)),
    "rubric edited": (lambda d: d["rubric"].update(text="Give fives."), ("rubric was edited",)),
    "another rubric": (lambda d: d["rubric"].update(sha256="0" * 64), ("judged by rubric",)),
    "another schema": (lambda d: d.update(schema="tipbench-judge/2"), ("tipbench-judge/1",)),
    "key too much": (lambda d: d.update(bonus=1), ("bonus does not belong there",)),
    "key missing": (lambda d: d.pop("nonce"), ("nonce is missing",)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_nothing_is_written(scored_project: Project, fault: str) -> None:
    spoil, parts = FAULTS[fault]
    sheet = scored_project.root / "scores.json"
    document = read(sheet)
    first = document["items"][0]["id"]
    spoil(document)
    sheet.write_text(json.dumps(document), encoding="utf-8")
    before = scored_project.ledger_path.read_bytes()
    outcome = scored_project.run("--judge-apply", "scores.json")
    outcome.assert_mistake(str(sheet), "nothing was written", *(p.format(first) for p in parts))
    assert scored_project.ledger_path.read_bytes() == before
    assert scored_project.judgements() == []


def test_every_fault_is_told_at_once(scored_project: Project) -> None:
    sheet = scored_project.root / "scores.json"
    document = read(sheet)
    first, second, third = document["items"][:3]
    first["scores"]["tone"] = 9
    second["scores"]["relevance"] = "4"
    third["scores"].pop("actionability")
    sheet.write_text(json.dumps(document), encoding="utf-8")
    outcome = scored_project.run("--judge-apply", "scores.json")
    outcome.assert_mistake("3 faults", *(item["id"] for item in (first, second, third)))


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda data: data[: len(data) // 2], "truncated"),
        (lambda data: data.decode().encode("utf-16"), "not UTF-8"),
        (lambda data: data.replace(b'"ada"', b'"\xff"'), "not UTF-8"),
        (lambda _: b"", "not JSON"),
        (lambda _: b"[]", "not a judge's sheet"),
        (lambda _: b"<html></html>", "a page, not a sheet"),
    ],
)
def test_a_file_that_is_no_sheet_is_refused(
    scored_project: Project, spoil: Callable[[bytes], bytes], part: str
) -> None:
    sheet = scored_project.root / "scores.json"
    sheet.write_bytes(spoil(sheet.read_bytes()))
    before = scored_project.ledger_path.read_bytes()
    scored_project.run("--judge-apply", "scores.json").assert_mistake(str(sheet), part)
    assert scored_project.ledger_path.read_bytes() == before


def test_another_experiment_than_the_named_one_is_refused(scored_project: Project) -> None:
    outcome = scored_project.run("--judge-apply", "scores.json", "--experiment", "other")
    outcome.assert_mistake("a sheet of experiment tip-bench", "--experiment names other")
    assert scored_project.judgements() == []


def test_a_sheet_of_the_rubric_before_is_refused(scored_project: Project) -> None:
    scored_project.edit("rubric.md", "would a tired person be glad", "would anybody be glad")
    scored_project.run("--judge-apply", "scores.json").assert_mistake("judged by rubric", "tip-v1")
    assert scored_project.judgements() == []


def test_a_file_that_is_not_there_is_told_before_any_cell_runs(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", "--scenarios", MAYA[0], "--judge-apply", "none.json")
    outcome.assert_mistake("none.json", "no such file")
    assert not ollama_project.ledger_path.exists()


def test_a_folder_is_a_mistake(scored_project: Project) -> None:
    scored_project.run("--judge-apply=evals").assert_mistake("evals")
