from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_tipbench.records import Completion, Outcome
from pytest_tipbench.reporting import attach, detach, junit_properties
from tests.unit.bench_samples import COMPLETION
from tests.unit.board_samples import a_run

ANYTHING = "NUL \0, lone \ud800, \x1b[31m, é, 👍\u2028"


def a_report(**extra: Any) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid="evals/test_tips.py::test_tips[x]",
        location=("evals/test_tips.py", 1, "test_tips"),
        keywords={},
        outcome="passed",
        longrepr=None,
        when="setup",
        **extra,
    )


def test_a_record_rides_as_one_ascii_text_and_comes_back() -> None:
    report, record = a_report(), a_run(model=ANYTHING, tips=[ANYTHING])
    attach(report, record)
    text = vars(report)["tipbench_run"]
    assert isinstance(text, str)
    assert text.isascii()
    assert detach(report) == record


def test_it_comes_through_what_xdist_does_to_a_report() -> None:
    report, record = a_report(), a_run(tips=[ANYTHING])
    attach(report, record)
    data = json.loads(json.dumps(report._to_json()))
    assert detach(pytest.TestReport._from_json(data)) == record


def test_it_comes_through_execnet() -> None:
    execnet = pytest.importorskip("execnet")
    report, record = a_report(), a_run(model=ANYTHING, tips=[ANYTHING])
    report.user_properties = [*junit_properties(record)]
    attach(report, record)
    data = execnet.loads(execnet.dumps(report._to_json()))
    assert detach(pytest.TestReport._from_json(data)) == record


def test_anybody_elses_report_carries_nothing() -> None:
    assert detach(a_report()) is None


def test_junit_properties_name_the_cells_facts() -> None:
    record = a_run(model="qwen2.5:0.5b", repeat=2).model_copy(update={"completion": COMPLETION})
    assert dict(junit_properties(record)) == {
        "tipbench.model": "qwen2.5:0.5b",
        "tipbench.prompt_version": "v1",
        "tipbench.scenario": "s01",
        "tipbench.repeat": "2",
        "tipbench.outcome": "ok",
        "tipbench.tip_count": "2",
        "tipbench.seed": "2",
        "tipbench.fingerprint": record.fingerprint,
        "tipbench.run_id": record.run_id,
        "tipbench.experiment": "tip-bench",
        "tipbench.model_digest": "digest-a",
        "tipbench.latency_seconds": "1.5",
        "tipbench.load_seconds": "0.25",
        "tipbench.prompt_tokens": "100",
        "tipbench.completion_tokens": "40",
        "tipbench.tokens_per_second": "32.0",
        "tipbench.resident_bytes": "500000000",
        "tipbench.resident_vram_bytes": "0",
    }


def test_what_is_not_known_is_no_property() -> None:
    short = a_run().model_copy(update={"completion": Completion(text="", latency_seconds=1)})
    names = [name for name, _ in junit_properties(short)]
    assert "tipbench.latency_seconds" in names
    assert not {"tipbench.load_seconds", "tipbench.resident_bytes"} & set(names)


def test_a_cell_without_model_and_completion_still_says_what_it_was() -> None:
    missing = a_run(outcome=Outcome.MISSING, digest=None)
    properties = dict(junit_properties(missing))
    assert properties["tipbench.outcome"] == "missing"
    assert properties["tipbench.tip_count"] == "0"
    assert "tipbench.model_digest" not in properties
    assert "tipbench.latency_seconds" not in properties


def test_properties_hold_no_text_that_could_not_cross_to_the_controller() -> None:
    record = a_run(model=ANYTHING)
    for _, value in junit_properties(record):
        value.encode("utf-8")
