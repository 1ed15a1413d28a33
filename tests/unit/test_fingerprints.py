from __future__ import annotations

from typing import Any

import pytest

from pytest_tipbench.fingerprints import changed_parts, resume_lines
from pytest_tipbench.records import Outcome, RunRecord, SamplingOptions
from tests.unit.store_samples import run


def changed(record: RunRecord, **changes: Any) -> RunRecord:
    return record.model_copy(update=changes)


def again(record: RunRecord, number: int, **changes: Any) -> RunRecord:
    """Return another session's run of the same cell."""
    other = {"run_id": f"{number:032x}", "session_id": "s2"}
    return record.model_copy(update=other | changes)


def test_equal_runs_differ_in_nothing() -> None:
    assert changed_parts(run(1), again(run(1), 2)) == {}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"prompt_sha256": "0" * 64}, {"prompt text": "v1"}),
        ({"scenario_sha256": "0" * 64}, {"scenario": "monday"}),
        ({"seed": 1}, {"seed": "20260427 to 1"}),
        ({"n_tips": 3}, {"n_tips": "2 to 3"}),
        ({"sampling": SamplingOptions(temperature=0)}, {"temperature": "0.7 to 0.0"}),
        ({"sampling": SamplingOptions(num_ctx=1, num_predict=2)},
         {"num_ctx": "4096 to 1", "num_predict": "1024 to 2"}),
        ({"model": None}, {"model digest": "qwen2.5:0.5b"}),
    ],
)  # fmt: skip
def test_each_part(changes: dict[str, Any], parts: dict[str, str]) -> None:
    assert changed_parts(run(1), changed(run(1), **changes)) == parts


def test_a_models_digest() -> None:
    record = run(1)
    assert record.model is not None
    other = changed(record, model=record.model.model_copy(update={"digest": "0" * 64}))
    assert changed_parts(record, other) == {"model digest": "qwen2.5:0.5b"}


def test_a_seed_is_the_sessions_whatever_the_repeat() -> None:
    cell = run(1).cell.model_copy(update={"repeat": 2, "repeats": 2})
    second = changed(run(1), cell=cell, seed=20260428)
    assert changed_parts(run(1), second) == {}


def test_the_nearest_of_the_earlier_runs_tells() -> None:
    far = changed(run(1), fingerprint="1", prompt_sha256="0" * 64, seed=5)
    near = changed(run(1), fingerprint="2", n_tips=3)
    now = again(run(1), 9, fingerprint="3")
    for earlier in ([far, near], [near, far]):
        assert resume_lines([*earlier, now], "s2", taken=4) == [
            "resume: 4 cells from the store, 1 generated",
            "resume: 1 cell run again: n_tips changed (3 to 2)",
        ]


def test_a_machines_fault_is_the_reason_even_beside_an_older_change() -> None:
    old = changed(run(1), fingerprint="1", prompt_sha256="0" * 64)
    fault = run(1, outcome=Outcome.TIMEOUT, fingerprint="2")
    now = again(run(1), 9, fingerprint="2")
    assert resume_lines([old, fault, now], "s2", taken=0)[1:] == [
        "resume: 1 cell run again: not measured before (timeout)"
    ]
    # An undescribed model's fault has a fingerprint that nothing matches.
    lost = changed(fault, fingerprint="unknown")
    assert resume_lines([lost, now], "s2", taken=0)[1:] == [
        "resume: 1 cell run again: not measured before (timeout)"
    ]


def test_what_another_machine_finished_meanwhile_is_said() -> None:
    now = again(run(1), 9)
    (line,) = resume_lines([run(1), now], "s2", taken=0)[1:]
    assert "finished elsewhere meanwhile" in line


def test_many_details_are_counted() -> None:
    earlier = [run(n, scenario_id=f"s{n}", fingerprint=f"{n}") for n in range(9)]
    now = [
        again(each, 100 + n, fingerprint=f"new {n}", scenario_sha256="0" * 64)
        for n, each in enumerate(earlier)
    ]
    assert resume_lines([*earlier, *now], "s2", taken=1) == [
        "resume: 1 cell from the store, 9 generated",
        "resume: 9 cells run again: scenario changed (s0, s1, s2, s3, s4, s5, 3 more)",
    ]


def test_other_cells_are_no_earlier_runs() -> None:
    others = [
        run(2, model="llama3.2:1b"),
        run(3, prompt_version="v2"),
        run(4, scenario_id="friday"),
    ]
    assert resume_lines([*others, again(run(1), 9)], "s2", taken=0)[1:] == [
        "resume: 1 cell run for the first time"
    ]
