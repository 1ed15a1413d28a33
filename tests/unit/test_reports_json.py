from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.as_json import render_json, report_schema, schema_of
from pytest_tipbench.reports.report_records import Report
from tests.unit.board_samples import a_run
from tests.unit.report_samples import changed_report, lifelike_report, report_of


def document(report: Report) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(render_json(report))
    return parsed


class TestFile:
    def test_has_the_keys_that_readers_rely_on(self) -> None:
        report = document(lifelike_report(scenarios=3))
        assert report["schema"] == "tipbench-report/1"
        assert {
            "schema",
            "experiment",
            "rubric",
            "rows",
            "cells",
            "older_rows",
            "least_significant_difference",
            "gates",
            "environment",
        } <= report.keys()
        assert {
            "model",
            "prompt_version",
            "tier",
            "composite",
            "composite_low",
            "composite_high",
            "criteria",
            "usable_rate",
            "median_latency_seconds",
            "p95_latency_seconds",
            "resident_bytes",
        } <= report["rows"][0].keys()
        (cell, *_) = report["cells"]
        assert {
            "model",
            "prompt_version",
            "scenario",
            "repeat",
            "outcome",
            "resident_bytes",
            "tips",
            "completion",
            "prompt",
            "latency_seconds",
        } <= cell.keys()
        (tip, *_) = cell["tips"]
        assert set(tip["scores"]) == {"anna", "ben"}
        assert set(tip["scores"]["anna"]) == {"relevance", "actionability", "tone"}

    def test_can_be_read_back_whole(self) -> None:
        report = lifelike_report(scenarios=3)
        assert Report.model_validate(document(report)) == report

    def test_has_the_comparison_with_a_baseline_or_none(self) -> None:
        assert document(lifelike_report(scenarios=3))["comparison"] is None
        comparison = document(changed_report())["comparison"]
        assert comparison.keys() == {"baseline", "outcome", "notices", "rows", "scenario_means"}
        assert comparison["baseline"] == "last-week"
        standings = {
            (row["model"], row["prompt_version"]): row["standing"] for row in comparison["rows"]
        }
        assert standings["llama3.2:3b", "v1"] == "compared"
        assert standings["qwen2.5:1.5b", "v2-mentor"] == "new"
        assert standings["llama3.2:3b", "v3-few-shot"] == "other_prompt"
        assert standings["qwen2.5:0.5b", "v1"] == "gone"
        (row,) = [
            row
            for row in comparison["rows"]
            if (row["model"], row["prompt_version"]) == ("llama3.2:3b", "v1")
        ]
        assert row["direction"] == "rose"
        paired = [change for change in row["scenarios"] if change["left_out_because"] is None]
        assert row["difference"]["scenarios"] == len(paired) == 5
        mean = sum(change["after"] - change["before"] for change in paired) / 5
        assert row["difference"]["mean"] == pytest.approx(mean)
        assert row["composite_after"] - row["composite_before"] == pytest.approx(mean)
        assert {"low", "high", "sign_flip_p"} < row["difference"].keys()
        assert all(change["difference"] is not None for change in paired)
        assert [change["difference"] for change in row["scenarios"] if change not in paired] == (
            [None] * 3
        )

    def test_of_a_comparison_can_be_read_back_whole(self) -> None:
        report = changed_report()
        assert Report.model_validate(document(report)) == report

    def test_is_ascii_and_keeps_every_character(self) -> None:
        text = 'Zoë\x00\x1b[31m \ud800 \u202e </script> "quoted"'
        rendered = render_json(report_of([a_run(tips=[text])], [], gates=()))
        assert rendered.isascii()
        assert json.loads(rendered)["cells"][0]["tips"][0]["text"] == text

    def test_of_nothing(self) -> None:
        report = document(report_of([], []))
        assert (report["rows"], report["cells"], report["last_finished_at"]) == ([], [], None)

    def test_has_no_number_that_is_none(self) -> None:
        def refuse(constant: str) -> None:
            pytest.fail(f"{constant} is no JSON")

        rendered = render_json(report_of([a_run(outcome=Outcome.TIMEOUT)], []))
        json.loads(rendered, parse_constant=refuse)


class TestSchema:
    def test_the_shipped_one_is_the_records(self) -> None:
        # When this fails, write the right-hand side to reports/tipbench-report-1.schema.json, if
        # fields were added; anything else needs another schema name.
        assert report_schema() == schema_of(Report)

    def test_tells_its_promise(self) -> None:
        assert "only added" in report_schema()["description"]

    def test_describes_every_field_of_the_file(self) -> None:
        schema = report_schema()
        report = document(lifelike_report(scenarios=3))
        assert schema["required"] == list(report)
        assert schema["properties"]["schema"]["const"] == "tipbench-report/1"
        for name in ("rows", "cells", "scenarios", "drift_history"):
            reference = schema["properties"][name]["items"]["$ref"].removeprefix("#/$defs/")
            assert schema["$defs"][reference]["required"] == list(report[name][0]), name

    def test_describes_every_field_of_a_comparison(self) -> None:
        schema, comparison = report_schema(), document(changed_report())["comparison"]
        definitions = schema["$defs"]
        options = schema["properties"]["comparison"]["anyOf"]
        assert options == [{"$ref": "#/$defs/ReportBaseline"}, {"type": "null"}]
        assert definitions["ReportBaseline"]["required"] == list(comparison)
        row = comparison["rows"][2]
        assert definitions["ReportRowChange"]["required"] == list(row)
        assert definitions["ReportScenarioChange"]["required"] == list(row["scenarios"][0])

    def test_lets_fields_of_later_versions_through(self) -> None:
        def objects(part: Any) -> list[dict[str, Any]]:
            if isinstance(part, list):
                return [found for value in part for found in objects(value)]
            if not isinstance(part, dict):
                return []
            own = [part] if "properties" in part else []
            return own + [found for value in part.values() for found in objects(value)]

        found = objects(report_schema())
        assert len(found) > 10
        assert all("additionalProperties" not in part for part in found)
