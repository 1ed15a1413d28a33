from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.records import (
    Cell,
    Completion,
    Outcome,
    Persona,
    PromptVersion,
    Record,
    RunRecord,
    SamplingOptions,
    Scenario,
    Selection,
    Task,
    TimeSlot,
    configuration_sha256,
    fingerprint,
    from_json,
    sha256_of,
    to_json,
)
from tests.unit.bench_samples import a_cell, a_reference
from tests.unit.board_samples import a_run

if TYPE_CHECKING:
    from collections.abc import Callable

ANYTHING = "NUL \0, lone \ud800 and \udfff, \x1b[31m, <b>, é, 漢, 👍, \"'\\\n\r\t\u2028"


class _Text(Record):
    text: str


# --- JSON and hashes --------------------------------------------------------------------------


@given(st.text(alphabet=st.characters(exclude_categories=())))
@settings(max_examples=200)
def test_any_text_survives_json_as_one_line_of_ascii(text: str) -> None:
    written = to_json(_Text(text=text))
    assert written.isascii()
    assert written.splitlines() == [written]
    assert from_json(_Text, written).text == text
    assert from_json(_Text, written.encode("ascii")).text == text


def test_a_run_survives_json() -> None:
    record = a_run(model=ANYTHING, tips=[ANYTHING, ANYTHING])
    assert from_json(RunRecord, to_json(record)) == record


@pytest.mark.parametrize("text", ["", "{", "[]", '{"text": 1}', '{"text": "a", "b": 1}', "null"])
def test_what_is_not_the_record_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of json or of pydantic, as documented
        from_json(_Text, text)


def test_the_hash_is_of_the_canonical_form() -> None:
    assert sha256_of({"b": [1, 2.5], "a": "é"}) == (
        hashlib.sha256(b'{"a":"\\u00e9","b":[1,2.5]}').hexdigest()
    )
    assert sha256_of({"a": 1, "b": 2}) == sha256_of({"b": 2, "a": 1})
    assert len(sha256_of(ANYTHING)) == 64


# --- what a record refuses --------------------------------------------------------------------


def test_records_are_frozen_and_know_their_fields() -> None:
    record = _Text(text="a")
    with pytest.raises(ValidationError):
        record.text = "b"  # type: ignore[misc]  # what is tested
    with pytest.raises(ValidationError):
        _Text(text="a", other=1)  # type: ignore[call-arg]  # what is tested


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), float("-inf")])
def test_no_float_of_a_record_is_not_finite(seconds: float) -> None:
    with pytest.raises(ValidationError):
        Completion(text="", latency_seconds=seconds)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SamplingOptions(temperature=-0.1),
        lambda: SamplingOptions(num_ctx=0),
        lambda: SamplingOptions(num_predict=0),
        lambda: a_cell(repeat=0),
        lambda: a_cell(repeats=0),
        lambda: Task(title="x", minutes=0),
        lambda: Criterion(name="tone", weight=0),
    ],
)
def test_numbers_out_of_range_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValidationError):
        make()


# --- identities -------------------------------------------------------------------------------


def test_a_prompts_hash_is_of_what_reaches_the_model() -> None:
    prompt = PromptVersion(version="v1", description="plain", system="s", template="t")
    assert prompt.sha256 == sha256_of(["s", "t"])
    renamed = prompt.model_copy(update={"version": "v9", "description": "other"})
    assert renamed.sha256 == prompt.sha256
    for part in ("system", "template"):
        assert prompt.model_copy(update={part: "x"}).sha256 != prompt.sha256


def test_a_scenarios_hash_is_of_everything_in_it() -> None:
    scenario = Scenario(
        id="s",
        persona=Persona(id="p", name="Zoë", description="a nurse"),
        time_slot=TimeSlot(id="t", label="Dawn", local_time="05:30"),
        tasks=(Task(title="Call", due="16:00", minutes=10, energy="low", notes="n"),),
    )
    persona, slot, task = scenario.persona, scenario.time_slot, scenario.tasks[0]
    changes: list[dict[str, Any]] = [
        {"id": "x"},
        {"tasks": ()},
        *({"persona": persona.model_copy(update={key: "x"})} for key in ("id", "name")),
        {"persona": persona.model_copy(update={"description": "x"})},
        *({"time_slot": slot.model_copy(update={key: "x"})} for key in ("id", "local_time")),
        {"tasks": (task.model_copy(update={"minutes": 11}),)},
        {"tasks": (task.model_copy(update={"notes": None}),)},
    ]
    hashes = {scenario.model_copy(update=change).sha256 for change in changes}
    assert len(hashes) == len(changes)
    assert scenario.sha256 not in hashes


def test_configuration_and_fingerprint_are_what_they_say() -> None:
    sampling = SamplingOptions()
    configuration = configuration_sha256("digest", "prompt", sampling, 5)
    assert configuration == sha256_of(
        ["digest", "prompt", {"temperature": 0.7, "num_ctx": 4096, "num_predict": 1024}, 5]
    )
    assert fingerprint(configuration, "scenario", 7) == sha256_of([configuration, "scenario", 7])


# --- the rubric -------------------------------------------------------------------------------


def test_the_composite_is_the_weighted_mean() -> None:
    rubric = Rubric(
        version="r",
        scale=(1, 5),
        missing_tip_score=1,
        criteria=(Criterion(name="relevance", weight=3), Criterion(name="tone", weight=1)),
        text="",
    )
    assert rubric.criterion_names == ("relevance", "tone")
    assert rubric.composite({"relevance": 5, "tone": 1}) == 4.0  # (3·5 + 1·1) / 4
    with pytest.raises(KeyError):
        rubric.composite({"relevance": 5})
    assert rubric.model_copy(update={"text": "x"}).sha256 != rubric.sha256


# --- cells ------------------------------------------------------------------------------------


def test_a_cells_id_names_its_parts_and_its_repeat() -> None:
    assert a_cell().id == "fake/small-v1-s01"
    assert a_cell(repeat=1, repeats=3).id == "fake/small-v1-s01-r1"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("qwen2.5:0.5b", "qwen2.5:0.5b-v1-s01"),
        ("hf.co/user/repo:Q4_K_M", "hf.co/user/repo:Q4_K_M-v1-s01"),
        ("llamacpp/a b[1]%.gguf", "llamacpp/a b[1]%.gguf-v1-s01"),
        # RFC 3986: the octets of the UTF-8 form, ö is C3 B6 and the backslash 5C.
        ("replay/töne.jsonl", "replay/t%C3%B6ne.jsonl-v1-s01"),
        (r"llamacpp/C:\m.gguf", "llamacpp/C:%5Cm.gguf-v1-s01"),
        ("a\nb", "a%0Ab-v1-s01"),
        ("a\ud800b", "a%ED%A0%80b-v1-s01"),
    ],
)
def test_a_cells_id_is_what_pytest_makes_of_it(
    model: str, expected: str, pytester: pytest.Pytester
) -> None:
    cell_id = a_cell(model=a_reference(model)).id
    assert cell_id == expected
    items, _ = pytester.inline_genitems(
        pytester.makepyfile(
            f"""
            import pytest

            @pytest.mark.parametrize("cell", [1], ids=[{cell_id!r}])
            def test_x(cell):
                pass
            """
        )
    )
    assert [item.name for item in items] == [f"test_x[{cell_id}]"]


def test_a_cell_is_one_value() -> None:
    assert a_cell() == a_cell()
    assert len({a_cell(), a_cell(), a_cell(repeat=2, repeats=2)}) == 2


# --- outcomes and runs ------------------------------------------------------------------------


def test_outcomes_come_in_the_order_in_which_they_are_decided() -> None:
    assert [outcome.value for outcome in Outcome] == [
        "timeout",
        "provider_error",
        "missing",
        "ok",
        "short",
        "refused",
        "looping",
        "truncated",
        "empty",
        "malformed",
    ]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_whose_fault_an_outcome_is(outcome: Outcome) -> None:
    assert outcome.is_machine_fault == (outcome in {"timeout", "provider_error", "missing"})
    assert outcome.is_usable == (outcome in {"ok", "short"})


def test_a_run_says_what_is_missing_and_why_it_is_unusable() -> None:
    run = a_run(outcome=Outcome.SHORT, n_tips=5)
    assert (len(run.tips), run.tips_missing) == (1, 4)
    assert repr(run) == "<run small:1b-v1-s01: short, 1/5 tips>"
    raw = Completion(text="\ud800" + "x" * 300, latency_seconds=1)
    failed = a_run(outcome=Outcome.MALFORMED).model_copy(update={"completion": raw})
    assert failed.why_unusable == f"malformed: no usable tip in '\\ud800{'x' * 199}'"
    assert failed.why_unusable.isascii()
    assert a_run(outcome=Outcome.TIMEOUT).why_unusable == "timeout: no usable tip in ''"


def test_more_tips_than_asked_for_are_none_missing() -> None:
    assert a_run(tips=["a", "b", "c"], n_tips=2).tips_missing == 0


# --- selections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "admitted"),
    [
        (Selection(), True),
        (Selection(models=("fake/small",), prompts=("v1",), scenarios=("s01",)), True),
        (Selection(models=("small",)), False),
        (Selection(models=()), False),
        (Selection(prompts=("v2",)), False),
        (Selection(scenarios=("s*",)), False),
    ],
)
def test_a_selection_admits_what_it_names(selection: Selection, admitted: bool) -> None:
    assert selection.admits(a_cell()) is admitted


def test_a_run_record_has_no_field_that_json_cannot_hold() -> None:
    record = a_run()
    values = json.loads(to_json(record))
    assert set(values) == set(RunRecord.model_fields)
    assert Cell.model_validate(values["cell"]) == record.cell
