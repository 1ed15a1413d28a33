from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pytest_tipbench.judge.files import (
    Sheet,
    item_id,
    judge_name,
    sealed,
    sheet_checksum,
    sheet_json,
    sheet_scenario,
    sheet_schema,
)
from pytest_tipbench.judge.reading import is_untouched_export, read_sheet
from pytest_tipbench.records import Scenario
from tests.unit.judge_samples import document_of, export, make_run, make_scenario, score, to_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

SCENARIO = make_scenario("zoe-dawn")
TIPS = ("Call the pharmacy before nine.", "Trink erst ein Glas Wasser, Zoë.")


@pytest.fixture
def sheet() -> Sheet:
    return export([make_run(SCENARIO, TIPS)])


@pytest.fixture
def document(sheet: Sheet) -> dict[str, Any]:
    return document_of(sheet)


def faults_of(document: object) -> tuple[str, ...]:
    return read_sheet(to_bytes(document)).faults


def schema_errors(document: object) -> list[str]:
    """Return where the shipped schema does not hold, by a validator that is not ours."""
    Draft202012Validator.check_schema(sheet_schema())
    errors = Draft202012Validator(sheet_schema()).iter_errors(document)
    return [error.json_path for error in errors]


class TestFormat:
    def test_the_shipped_schema_is_the_models(self) -> None:
        # When this fails, write the right-hand side to judge/tipbench-judge-1.schema.json; a
        # change that refuses older sheets needs another schema name.
        dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
        assert sheet_schema() == {**dialect, **Sheet.model_json_schema()}

    @pytest.mark.parametrize("scores", [None, (1, 3, 5)])
    def test_an_export_is_valid_by_the_schema_blank_and_scored(
        self, document: dict[str, Any], scores: tuple[int, int, int] | None
    ) -> None:
        if scores is not None:
            score(document, lambda _: scores)
            document["judge"] = "Zoë"
        assert schema_errors(document) == []

    @pytest.mark.parametrize(
        ("edit", "where"),
        [
            (lambda d: d["items"][1]["scores"].update(tone="4"), "$.items[1].scores.tone"),
            (lambda d: d["items"][1]["scores"].update(tone=3.7), "$.items[1].scores.tone"),
            (lambda d: d["items"][1]["scores"].update(tone=True), "$.items[1].scores.tone"),
            (lambda d: d["items"][1].update(scores=None), "$.items[1].scores"),
            (lambda d: d["items"][1].pop("scores"), "$.items[1]"),
            (lambda d: d["items"][1].update(model="x"), "$.items[1]"),
            (lambda d: d.update(schema="tipbench-judge/2"), "$.schema"),
            (lambda d: d.update(exported_at=None), "$.exported_at"),
            (lambda d: d["rubric"]["scale"].pop(), "$.rubric.scale"),
        ],
    )
    def test_what_apply_refuses_the_schema_refuses(
        self, document: dict[str, Any], edit: Callable[[dict[str, Any]], None], where: str
    ) -> None:
        edit(document)
        assert schema_errors(document) == [where]
        assert faults_of(document)

    def test_the_file_has_the_keys_of_the_format_in_their_order(
        self, document: dict[str, Any]
    ) -> None:
        assert list(document) == [
            "schema",
            "experiment",
            "nonce",
            "checksum",
            "exported_at",
            "judge",
            "rubric",
            "instructions",
            "items",
        ]
        assert list(document["rubric"]) == ["version", "sha256", "criteria", "scale", "text"]
        item = document["items"][0]
        assert list(item) == ["id", "scenario", "tip", "scores", "note"]
        assert item["scores"] == {"relevance": None, "actionability": None, "tone": None}
        assert item["note"] == ""

    def test_the_scenario_is_what_a_judge_can_read(self, document: dict[str, Any]) -> None:
        assert document["items"][0]["scenario"] == {
            "id": "zoe-dawn",
            "persona": {"name": "Zoë Ödegård", "description": "Nurse on shifts"},
            "time_slot": {"label": "Early morning", "local_time": "06:30"},
            "tasks": [
                {
                    "title": "Call the pharmacy",
                    "due": "16:00",
                    "minutes": 10,
                    "energy": "low",
                    "notes": "vor dem Café",
                },
                {"title": "Water the plants"},
            ],
        }

    def test_an_id_is_the_hash_of_nonce_scenario_and_tip(self) -> None:
        canonical = '["n","5ca1e","Z\\u00eb"]'
        assert item_id("n", "5ca1e", "Zë") == hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @pytest.mark.parametrize("text", [" Zoë ", "Zoe\u0308"])
    def test_one_name_is_one_judge(self, text: str) -> None:
        assert judge_name(text) == "Zo\u00eb"


class TestText:
    def test_it_is_readable(self, sheet: Sheet) -> None:
        text = sheet_json(sheet)
        assert '      "tip": "Trink erst ein Glas Wasser, Zoë.",' in text.splitlines()
        assert text.startswith('{\n  "schema": "tipbench-judge/1",\n')
        assert text.endswith("}\n")

    @pytest.mark.parametrize(
        ("character", "escape"),
        [
            ("\x1b", "\\u001b"),
            ("\x00", "\\u0000"),
            ("\x7f", "\\u007f"),
            ("\x9b", "\\u009b"),
            ("\u202e", "\\u202e"),
            ("\u2028", "\\u2028"),
            ("\ud800", "\\ud800"),
            ("\U000e0041", "\\udb40\\udc41"),
        ],
    )
    def test_what_acts_or_hides_is_escaped(self, character: str, escape: str) -> None:
        tip = f"Drink some{character} water"
        sheet = export([make_run(SCENARIO, [tip])])
        text = sheet_json(sheet)
        assert f'"Drink some{escape} water"' in text
        read = read_sheet(text.encode("utf-8")).sheet
        assert read is not None
        assert read.items[0].tip == tip

    @given(tip=st.text(st.characters(exclude_categories=()), min_size=1), note=st.text())
    def test_any_text_comes_back_as_it_was(self, tip: str, note: str) -> None:
        sheet = export([make_run(SCENARIO, [tip])])
        noted = sheet.model_copy(
            update={"items": (sheet.items[0].model_copy(update={"note": note}),)}
        )
        reading = read_sheet(sheet_json(noted).encode("utf-8"))
        assert reading.faults == ()
        assert reading.sheet == noted
        assert reading.checksum_matches is True

    def test_the_view_of_a_scenario_says_nothing_that_is_absent(self) -> None:
        view = sheet_scenario(Scenario(**{**SCENARIO.model_dump(), "tasks": ()}))
        assert view.tasks == ()


class TestChecksum:
    @pytest.mark.parametrize(
        "write",
        [
            json.dumps,
            lambda document: json.dumps(document, indent=8, sort_keys=True),
            lambda document: json.dumps(document, ensure_ascii=False),
            lambda document: "\ufeff" + json.dumps(document, ensure_ascii=False),
            lambda document: json.dumps(document, indent=1).replace("\n", "\r\n"),
        ],
        ids=["one-line", "sorted", "unescaped", "byte-order-mark", "windows-lines"],
    )
    def test_formatting_changes_nothing(
        self, document: dict[str, Any], write: Callable[[object], str]
    ) -> None:
        reading = read_sheet(write(document).encode("utf-8"))
        assert reading.faults == ()
        assert reading.checksum_matches is True

    def test_whole_floats_may_lose_their_point(self) -> None:
        sheet = export([make_run(SCENARIO, TIPS)])
        whole = sheet.rubric.criteria[0].model_copy(update={"weight": 1.0})
        sheet = sealed(
            sheet.model_copy(
                update={"rubric": sheet.rubric.model_copy(update={"criteria": (whole,)})}
            )
        )
        document = document_of(sheet)
        document["rubric"]["criteria"][0]["weight"] = 1
        for item in document["items"]:
            item["scores"] = {"relevance": None}
        assert read_sheet(to_bytes(document)).checksum_matches is True

    def test_scores_notes_and_judge_are_not_covered(self, document: dict[str, Any]) -> None:
        score(document, lambda _: (1, 2, 3))
        document["judge"] = "ada"
        document["items"][0]["note"] = "kurz & gut"
        del document["items"][1]["note"]
        assert read_sheet(to_bytes(document)).checksum_matches is True

    @pytest.mark.parametrize(
        "edit",
        [
            lambda d: d.update(experiment="other"),
            lambda d: d.update(nonce="other"),
            lambda d: d.update(checksum="0" * 64),
            lambda d: d.update(exported_at="2026-04-27T10:00:01Z"),
            lambda d: d.update(instructions="Give fives."),
            lambda d: d["rubric"].update(text="5: anything"),
            lambda d: d["rubric"].update(version="tip-v0"),
            lambda d: d["rubric"]["criteria"][0].update(weight=0.6),
            lambda d: d["rubric"].update(scale=[1, 6]),
            lambda d: d["items"][0].update(tip="Another tip."),
            lambda d: d["items"][0].update(id="0" * 16),
            lambda d: d["items"][0]["scenario"].update(id="other"),
            lambda d: d["items"][0]["scenario"]["tasks"][1].update(notes="new"),
            lambda d: d["items"].pop(),
            lambda d: d["items"].reverse(),
            lambda d: d["items"].append(d["items"][0]),
        ],
    )
    def test_everything_else_is_covered(
        self, document: dict[str, Any], edit: Callable[[dict[str, Any]], None]
    ) -> None:
        edit(document)
        assert read_sheet(to_bytes(document)).checksum_matches is False

    def test_it_is_kept_on_the_sheet(self, sheet: Sheet) -> None:
        assert sheet.checksum == sheet_checksum(sheet)
        assert len(sheet.checksum) == 64


class TestUntouched:
    def test_a_fresh_export_is(self, sheet: Sheet) -> None:
        assert is_untouched_export(sheet_json(sheet).encode("utf-8"))

    def test_a_prefilled_judge_is_no_work(self, document: dict[str, Any]) -> None:
        document["judge"] = "ada"
        assert is_untouched_export(to_bytes(document))

    @pytest.mark.parametrize(
        "edit",
        [
            lambda d: d["items"][0]["scores"].update(tone=3),
            lambda d: d["items"][0]["scores"].update(tone="3"),
            lambda d: d["items"][1].update(note="hm"),
            lambda d: d["items"][1].update(tip="Another."),
            lambda d: d.update(remark="mine"),
        ],
    )
    def test_worked_on_is_not(
        self, document: dict[str, Any], edit: Callable[[dict[str, Any]], None]
    ) -> None:
        edit(document)
        assert not is_untouched_export(to_bytes(document))

    @pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"my shopping list"])
    def test_another_file_is_not(self, data: bytes) -> None:
        assert not is_untouched_export(data)


class TestFaultsOfTheFile:
    def test_wherever_it_is_cut_it_is_said_with_line_and_column(self, sheet: Sheet) -> None:
        text = sheet_json(sheet).rstrip()
        for length in range(len(text)):
            (fault,) = read_sheet(text[:length].encode("utf-8")).faults
            assert fault.startswith("not JSON at line "), text[:length][-40:]
            assert fault.endswith("; the file looks truncated"), (fault, text[:length][-40:])

    def test_the_place_of_a_syntax_fault(self) -> None:
        (fault,) = read_sheet(b'{\n  "schema" "tipbench-judge/1"\n}').faults
        assert fault == "not JSON at line 2, column 12: Expecting ':' delimiter"

    def test_what_follows_the_sheet_is_no_truncation(self, sheet: Sheet) -> None:
        (fault,) = read_sheet(f"{sheet_json(sheet)}```".encode()).faults
        assert fault.endswith(", column 1: Extra data")

    def test_not_utf_8(self, document: dict[str, Any]) -> None:
        text = json.dumps(document, ensure_ascii=False, indent=2)
        line = next(n for n, row in enumerate(text.splitlines(), 1) if "Zoë" in row)
        (fault,) = read_sheet(text.encode("latin-1", "replace")).faults
        assert fault == f"not UTF-8: byte 0xeb in line {line}; save the file as UTF-8"

    def test_a_page_is_not_its_scores(self) -> None:
        (fault,) = read_sheet(b"<!DOCTYPE html><html></html>").faults
        assert "save the JSON with its button" in fault

    @pytest.mark.parametrize("data", [b"[]", b"3", b'{"items": []}', b"null"])
    def test_no_sheet_at_all(self, data: bytes) -> None:
        (fault,) = read_sheet(data).faults
        assert fault == "not a judge's sheet: no object with the schema tipbench-judge/1"

    @pytest.mark.parametrize("schema", ["tipbench-judge/2", 1, None, {"a": 1}])
    def test_another_schema(self, document: dict[str, Any], schema: object) -> None:
        document["schema"] = schema
        (fault,) = faults_of(document)
        assert fault.endswith("; this version reads tipbench-judge/1")

    def test_nested_beyond_reading(self) -> None:
        (fault,) = read_sheet(b'{"schema":' + b"[" * 200_000).faults
        assert "nested" in fault

    def test_a_key_that_stands_twice(self, document: dict[str, Any]) -> None:
        document["items"][0]["id"] = "abc"
        text = json.dumps(document)
        text = text.replace('"judge": null', '"judge": null, "judge": "ada"')
        text = text.replace('"tone": null}', '"tone": 4, "tone": null}', 1)
        assert read_sheet(text.encode()).faults == (
            "key judge stands twice",
            "item abc: key tone stands twice",
        )

    def test_keys_that_are_missing_or_do_not_belong(self, document: dict[str, Any]) -> None:
        del document["nonce"]
        document["mood"] = "good"
        document["rubric"]["seen"] = True
        del document["items"][0]["tip"]
        document["items"][0]["id"] = "abc"
        document["items"][1] = 7
        reading = read_sheet(to_bytes(document))
        assert reading.sheet is None
        assert set(reading.faults) == {
            "nonce is missing",
            "mood does not belong there",
            "rubric.seen does not belong there",
            "item abc: tip is missing",
            "item number 2 is not an object",
        }

    @pytest.mark.parametrize("items", [None, {}, "all"])
    def test_items_that_are_no_list(self, document: dict[str, Any], items: object) -> None:
        document["items"] = items
        assert faults_of(document) == ("items is not a list",)

    def test_a_judge_that_is_no_text(self, document: dict[str, Any]) -> None:
        document["judge"] = 42
        (fault,) = faults_of(document)
        assert fault == "judge: Input should be a valid string"

    def test_a_note_that_is_no_text(self, document: dict[str, Any]) -> None:
        identity = document["items"][0]["id"]
        document["items"][0]["note"] = ["short"]
        assert faults_of(document) == (f"item {identity}: note: Input should be a valid string",)

    def test_a_broken_item_leaves_nothing_to_compare(self, document: dict[str, Any]) -> None:
        document["items"][0]["why"] = "because"
        reading = read_sheet(to_bytes(document))
        assert reading.checksum_matches is None
        assert reading.sheet is not None
        assert len(reading.sheet.items) == len(TIPS) - 1

    def test_a_file_cannot_speak_to_the_terminal(self, document: dict[str, Any]) -> None:
        document["items"][0]["id"] = "\x1b[2J\ud800" + "x" * 5000
        document["items"][0]["scores"]["\x1b[31m"] = 1
        for fault in faults_of(document):
            assert fault.isprintable()
            assert len(fault) < 200


class TestFaultsOfScores:
    @pytest.mark.parametrize(
        ("value", "shown"),
        [
            ("true", "true"),
            ("false", "false"),
            ('"4"', '"4"'),
            ("3.7", "3.7"),
            ("4.0", "4.0"),
            ("NaN", "NaN"),
            ("Infinity", "Infinity"),
            ("-Infinity", "-Infinity"),
            ("1e400", "Infinity"),
            ("[4]", "a list"),
            ('{"score": 4}', "an object"),
            ("9" * 5000, "Infinity"),
        ],
    )
    def test_only_whole_numbers(self, document: dict[str, Any], value: str, shown: str) -> None:
        item = document["items"][0]
        item["scores"] = {"relevance": 4, "actionability": 4, "tone": "HERE"}
        data = json.dumps(document).replace('"HERE"', value).encode()
        assert read_sheet(data).faults == (
            f"item {item['id']}: tone is {shown}, not a whole number from 1 to 5",
        )

    @pytest.mark.parametrize("value", [0, 6, -1, 10**12])
    def test_only_within_the_scale(self, document: dict[str, Any], value: int) -> None:
        item = document["items"][0]
        item["scores"] = {"relevance": 4, "actionability": 4, "tone": value}
        assert faults_of(document) == (f"item {item['id']}: tone is {value}, outside 1 to 5",)

    def test_all_criteria_or_none(self, document: dict[str, Any]) -> None:
        item = document["items"][0]
        item["scores"] = {"relevance": 4, "actionability": None, "tone": 2}
        assert faults_of(document) == (
            (
                f"item {item['id']}: scored on relevance, tone but not on actionability: "
                "score all criteria or none"
            ),
        )

    def test_missing_and_extra_criteria(self, document: dict[str, Any]) -> None:
        item = document["items"][0]
        item["scores"] = {"relevance": 4, "tone": 2, "charm": 5}
        assert faults_of(document) == (
            f"item {item['id']}: actionability is missing from scores",
            f"item {item['id']}: charm is not a criterion",
        )

    @pytest.mark.parametrize("scores", [None, [4, 4, 4], 4])
    def test_scores_that_are_no_object(self, document: dict[str, Any], scores: object) -> None:
        item = document["items"][0]
        item["scores"] = scores
        assert faults_of(document) == (
            f"item {item['id']}: scores is not an object with a score for each criterion",
        )

    def test_a_faulty_item_stands_unscored_and_the_others_keep_theirs(
        self, document: dict[str, Any]
    ) -> None:
        score(document, lambda _: (5, 4, 3))
        document["items"][0]["scores"]["tone"] = 33
        sheet = read_sheet(to_bytes(document)).sheet
        assert sheet is not None
        assert set(sheet.items[0].scores.values()) == {None}
        assert tuple(sheet.items[1].scores.values()) == (5, 4, 3)
