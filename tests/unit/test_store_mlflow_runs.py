from __future__ import annotations

import json
import math
import posixpath
import random
import re
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tipbench.judgement_records import CriterionDrift
from pytest_tipbench.records import (
    Completion,
    DroppedTip,
    Outcome,
    RenderedPrompt,
    jsonable,
)
from pytest_tipbench.store import mlflow_runs, mlflow_values
from pytest_tipbench.store.base import RunScores
from tests.unit import store_samples
from tests.unit.mlflow_samples import RUN_RECORDS, TEXTS, with_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.store.mlflow_runs import LatePayload, RunPayload

property_test = settings(max_examples=50, deadline=None, derandomize=True)

SOURCE = {"mlflow.source.name": "pytest-tipbench", "mlflow.user": "zoe"}


def scattered(length: int, seed: int = 1, alphabet: str = string.printable) -> str:
    """Return text that does not compress well."""
    return "".join(random.Random(seed).choices(alphabet, k=length))


def unreadable(name: str) -> str:
    raise AssertionError(f"{name} was read although the tags hold the record")


def assert_fits_mlflow(payload: RunPayload | LatePayload) -> None:
    """Check every key and value against MLflow's ``utils/validation.py``."""
    params = getattr(payload, "params", {})
    for key in (*payload.tags, *payload.metrics, *params):
        assert re.fullmatch(r"[/\w.\- :]+", key)
        assert posixpath.normpath(key) == key
        assert not key.startswith((".", "/"))
        assert len(key) <= 250
    for limit, values in ((8000, payload.tags), (6000, params)):
        for value in values.values():
            assert len(value) <= limit
            value.encode("utf-8")
            assert "\x00" not in value
    assert all(math.isfinite(value) for value in payload.metrics.values())


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("relevance", "relevance"),
        ("drift.tone.bias", "drift.tone.bias"),
        ("Tonfall – gut", "Tonfall _x2013_ gut"),
        ("tone/voice", "tone/voice"),
        ("ton größe", "ton größe"),
        ("cost (EUR)", "cost _x28_EUR_x29_"),
        ("50 %", "50 _x25_"),
        ("a:b", "a_x3a_b"),
        ("a//b", "a_x2f__x2f_b"),
        ("..", "_x2e__x2e_"),
        ("", "_x_"),
        ("_x28_", "_x5f_x28_"),
        ("tone\n", "tone_xa_"),
        ("\ud800", "_xd800_"),
    ],
)
def test_a_name_becomes_a_key_that_mlflow_takes(name: str, key: str) -> None:
    assert mlflow_values.safe_key(name) == key


@property_test
@given(st.lists(st.text(st.characters() | st.sampled_from("_x2f/.")), unique=True, max_size=6))
def test_different_names_give_different_keys(names: list[str]) -> None:
    keys = [mlflow_values.safe_key(name) for name in names]
    assert len(set(keys)) == len(names)
    for key in keys:
        assert re.fullmatch(r"[/\w.\- ]+", key)
        assert posixpath.normpath(key) == key


def test_names_too_long_for_a_key_stay_apart() -> None:
    one, other = (mlflow_values.safe_key("n" * 300 + end) for end in "ab")
    assert len(one) == len(other) == 250
    assert one != other


@property_test
@given(st.text(), st.integers(1, 7))
def test_what_is_split_can_be_joined(value: str, limit: int) -> None:
    parts = mlflow_values.split("key", value, limit)
    assert all(len(part) <= limit for part in parts.values())
    assert mlflow_values.join("key", {**parts, "key.part": "x", "other": "y"}) == value


def test_parts_are_numbered_from_the_second_on() -> None:
    assert mlflow_values.split("k", "abcde", 2) == {"k": "ab", "k.part2": "cd", "k.part3": "e"}
    assert mlflow_values.join("missing", {"k": "ab"}) is None


def test_a_shorter_value_blanks_what_a_longer_one_left() -> None:
    older = mlflow_values.split("k", "abcdef", 2)
    newer = mlflow_values.blanked(mlflow_values.split("k", "xyz", 2), [*older, "k.partner", "j"])
    assert newer == {"k": "xy", "k.part2": "z", "k.part3": ""}
    assert mlflow_values.join("k", {**older, **newer}) == "xyz"


def test_packed_text_is_ascii_and_smaller_for_a_search_to_carry() -> None:
    text = json.dumps({"tips": ["take a short break"] * 20})
    packed = mlflow_values.pack(text)
    assert packed.isascii()
    assert len(packed) < len(text)
    assert mlflow_values.unpack(packed) == text


@pytest.mark.parametrize("value", ["", "{}", "zlib+base64:", "zlib+base64:%", "zlib+base64:AAAA"])
def test_what_was_not_packed_cannot_be_unpacked(value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        mlflow_values.unpack(value)


def test_only_finite_metrics_are_kept_and_the_others_are_named() -> None:
    kept, skipped = mlflow_values.finite(
        {"a": 1, "b": None, "nan": math.nan, "inf": -math.inf, "huge": 10**400, "c d*": 0.5}
    )
    assert kept == {"a": 1.0, "c d_x2a_": 0.5}
    assert skipped == ("nan", "inf", "huge")


def test_batches_obey_number_and_bytes() -> None:
    tags = {f"k{number}": "ü" * 8000 for number in range(150)}  # 16 kB each in UTF-8
    batches = list(mlflow_values.batches(tags, 100))
    assert {key: value for batch in batches for key, value in batch.items()} == tags
    assert max(len(json.dumps(batch, ensure_ascii=False).encode()) for batch in batches) < 500_000
    short = {f"k{number}": "v" for number in range(150)}
    assert [len(batch) for batch in mlflow_values.batches(short, 100)] == [100, 50]
    assert list(mlflow_values.batches({}, 100)) == []


@property_test
@given(st.dictionaries(TEXTS, TEXTS))
def test_readable_json_keeps_every_character_and_is_utf8(value: dict[str, str]) -> None:
    text = mlflow_values.readable_json(value)
    text.encode("utf-8")
    assert "\x00" not in text
    assert json.loads(text) == value


def test_people_can_read_what_no_database_keeps() -> None:
    assert mlflow_values.storable("a\x00b\ud800c😀\n") == "a\\x00b\\ud800c😀\n"


# --- cells ------------------------------------------------------------------------------------


def test_a_cells_run_has_the_documented_params_as_text() -> None:
    record = store_samples.run(1).model_copy(update={"residency": "model"})
    assert record.model is not None
    model = record.model.model_copy(update={"quantization": "Q4_K_M"})
    payload = mlflow_runs.cell_payload(record.model_copy(update={"model": model}), "parent", SOURCE)
    assert payload.params == {
        "model": "qwen2.5:0.5b",
        "provider": "ollama",
        "prompt_version": "v1",
        "scenario": "monday",
        "repeat": "1",
        "n_tips": "2",
        "seed": "20260427",
        "temperature": "0.7",
        "num_ctx": "4096",
        "num_predict": "1024",
        "residency": "model",
        "model_digest": "d" * 64,
        "parameter_count": "494032768",
        "quantization": "Q4_K_M",
        "prompt_sha256": "e" * 64,
        "scenario_sha256": record.scenario_sha256,
    }


def test_what_is_not_known_is_left_out() -> None:
    payload = mlflow_runs.cell_payload(store_samples.run(1), None, {})
    assert "quantization" not in payload.params
    assert "tipbench.error" not in payload.tags
    assert "mlflow.parentRunId" not in payload.tags
    missing = store_samples.run(1, outcome=Outcome.MISSING).model_copy(update={"model": None})
    payload = mlflow_runs.cell_payload(missing, None, {})
    assert "model_digest" not in payload.params
    assert payload.metrics == {"tip_count": 0.0, "tips_missing": 2.0}
    assert set(payload.artifacts) == {"candidates.json", "prompt.txt"}


def test_a_cells_run_has_its_measurements_as_metrics() -> None:
    completion = Completion(
        text="[]",
        latency_seconds=1.5,
        load_seconds=0.25,
        prompt_tokens=300,
        completion_tokens=90,
        tokens_per_second=60.0,
        resident_bytes=10**9,
        resident_vram_bytes=0,
    )
    record = store_samples.run(1, n_tips=5).model_copy(
        update={"completion": completion, "diversity": {"distinct_2": 0.5}}
    )
    assert mlflow_runs.cell_payload(record, None, {}).metrics == {
        "latency_seconds": 1.5,
        "load_seconds": 0.25,
        "prompt_tokens": 300.0,
        "completion_tokens": 90.0,
        "tokens_per_second": 60.0,
        "resident_bytes": 1e9,
        "resident_vram_bytes": 0.0,
        "tip_count": 2.0,
        "tips_missing": 3.0,
        "distinct_2": 0.5,
    }


def test_a_cells_run_has_the_tags_that_people_filter_by() -> None:
    record = store_samples.run(1)
    payload = mlflow_runs.cell_payload(record, "parent", SOURCE)
    expected = {
        **SOURCE,
        "mlflow.runName": "qwen2.5:0.5b-v1-monday",
        "mlflow.parentRunId": "parent",
        "judge_pending": "true",
        "tipbench.kind": "cell",
        "tipbench.cell": "qwen2.5:0.5b-v1-monday",
        "tipbench.run_id": record.run_id,
        "tipbench.session_id": "s1",
        "tipbench.fingerprint": record.fingerprint,
        "tipbench.version": "0.1.0",
        "tipbench.outcome": "ok",
    }
    assert {key: payload.tags[key] for key in expected} == expected
    assert payload.name == "qwen2.5:0.5b-v1-monday"
    assert payload.identity == ("tipbench.kind", "tipbench.run_id")


@pytest.mark.parametrize(
    ("outcome", "status", "pending"),
    [
        (Outcome.OK, "FINISHED", "true"),
        (Outcome.SHORT, "FINISHED", "true"),
        (Outcome.REFUSED, "FINISHED", "false"),
        (Outcome.TIMEOUT, "FAILED", "false"),
        (Outcome.PROVIDER_ERROR, "FAILED", "false"),
    ],
)
def test_a_machines_fault_fails_the_run_and_tips_await_their_judge(
    outcome: Outcome, status: str, pending: str
) -> None:
    payload = mlflow_runs.cell_payload(store_samples.run(1, outcome=outcome), None, {})
    assert payload.status == status
    assert payload.tags["judge_pending"] == pending


def test_times_are_whole_milliseconds() -> None:
    record = store_samples.run(1, finished_at=store_samples.START)
    payload = mlflow_runs.cell_payload(record, None, {})
    assert payload.started_ms == payload.ended_ms == 1793610000000  # 2026-11-02T09:00:00Z


def test_a_name_too_long_for_a_database_is_whole_in_a_tag() -> None:
    path = "/models/" + "x" * 9000
    payload = mlflow_runs.cell_payload(store_samples.run(1, model=path), None, {})
    assert len(payload.name) == 250
    assert payload.tags["mlflow.runName"] == payload.name
    assert mlflow_values.join("tipbench.cell", payload.tags) == f"{path}-v1-monday"
    assert mlflow_values.join("model", payload.params) == path
    assert_fits_mlflow(payload)


@property_test
@given(RUN_RECORDS)
def test_any_record_fits_and_comes_back_equal_from_its_tags(record: RunRecord) -> None:
    payload = mlflow_runs.cell_payload(record, "parent", SOURCE)
    assert_fits_mlflow(payload)
    assert mlflow_runs.read_cell(payload.tags, unreadable) == record


def as_files(payload: RunPayload) -> Callable[[str], str]:
    """Read artifacts as a server that proxies them gives them back."""
    files = {
        name: text.encode("utf-8", "backslashreplace") for name, text in payload.artifacts.items()
    }
    return lambda name: files[name].decode("utf-8")


def as_tags(payload: RunPayload) -> Callable[[str], str]:
    """Read artifacts from tags, where a server does not."""
    tags: dict[str, str] = {}
    for name, text in payload.artifacts.items():
        tags |= mlflow_values.split(name, mlflow_values.storable(text))
    assert all(len(value) <= 8000 for value in tags.values())
    return lambda name: mlflow_values.join(name, tags) or ""


@property_test
@given(RUN_RECORDS)
def test_any_record_comes_back_equal_from_its_artifacts(record: RunRecord) -> None:
    payload = mlflow_runs.cell_payload(record, None, {})
    without = {k: v for k, v in payload.tags.items() if k != mlflow_runs.RECORD_TAG}
    assert mlflow_runs.read_cell(without, as_files(payload)) == record
    assert mlflow_runs.read_cell(without, as_tags(payload)) == record


@pytest.mark.parametrize("end", ["", "\x00", "\ud800", "\r\n", "😀"])
def test_a_megabyte_is_read_from_the_artifacts(end: str) -> None:
    sample = store_samples.run(1)
    record = with_texts(
        sample, experiment="x", user=scattered(50_000), raw=scattered(1_000_000, 2) + end
    )
    payload = mlflow_runs.cell_payload(record, None, {})
    assert mlflow_runs.RECORD_TAG not in payload.tags
    assert_fits_mlflow(payload)
    assert mlflow_runs.read_cell(payload.tags, as_files(payload)) == record
    assert mlflow_runs.read_cell(payload.tags, as_tags(payload)) == record


def test_a_middling_record_is_split_over_a_few_tags() -> None:
    record = with_texts(store_samples.run(1), experiment="x", raw=scattered(10_000))
    payload = mlflow_runs.cell_payload(record, None, {})
    assert f"{mlflow_runs.RECORD_TAG}.part2" in payload.tags
    assert f"{mlflow_runs.RECORD_TAG}.part5" not in payload.tags
    assert mlflow_runs.read_cell(payload.tags, unreadable) == record


def test_candidates_hold_everything_but_the_long_texts() -> None:
    record = with_texts(
        store_samples.run(1, tips=("Trink Tee 🍵",)), experiment="x", user="Give tips", raw="[]"
    ).model_copy(update={"dropped": (DroppedTip(text="hm", reason="too short"),)})
    text = mlflow_runs.cell_payload(record, None, {}).artifacts["candidates.json"]
    assert "Trink Tee 🍵" in text
    candidates = json.loads(text)
    assert candidates["tips"] == ["Trink Tee 🍵"]
    assert candidates["dropped"] == [{"text": "hm", "reason": "too short"}]
    assert candidates["prompt"] is None
    assert candidates["completion"]["text"] is None
    assert candidates["completion"]["latency_seconds"] == 1.5


def test_the_raw_text_is_the_artifact_byte_for_byte() -> None:
    record = with_texts(store_samples.run(1), experiment="x", raw="a\r\n\x00b\t")
    assert mlflow_runs.cell_payload(record, None, {}).artifacts["raw.txt"] == "a\r\n\x00b\t"


def test_a_prompt_is_readable_under_headers_that_count() -> None:
    prompt = RenderedPrompt(system="Be kind.", user="Zwölf\nTips")
    assert mlflow_runs.prompt_text(prompt) == (
        "system (8 characters):\nBe kind.\nuser (10 characters):\nZwölf\nTips\n"
    )


HEADERS = st.sampled_from(["system (0 characters):\n", "user (3 characters):\n", "\n", "x"])


@property_test
@given(st.lists(HEADERS | st.text()).map("".join), st.lists(HEADERS).map("".join))
def test_no_prompt_can_forge_a_header(system: str, user: str) -> None:
    prompt = RenderedPrompt(system=system, user=user)
    assert mlflow_runs.parse_prompt_text(mlflow_runs.prompt_text(prompt)) == prompt


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Be kind.",
        "system (8 characters):\nBe kind.\n",
        "system (8 characters):\nBe kind.\nuser (99 characters):\nTips\n",
        "system (8 characters):\nBe kind.\nuser (4 characters):\nTips\nmore",
    ],
)
def test_a_prompt_that_somebody_changed_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"prompt\.txt"):
        mlflow_runs.parse_prompt_text(text)


@pytest.mark.parametrize(
    ("tags", "files"),
    [
        ({mlflow_runs.RECORD_TAG: "nonsense"}, {}),
        ({mlflow_runs.RECORD_TAG: mlflow_values.pack('{"run_id": "1"}')}, {}),
        ({mlflow_runs.RECORD_TAG: mlflow_values.pack("[")}, {}),
        ({}, {"candidates.json": "{"}),
        ({}, {"candidates.json": "[]"}),
        ({}, {"candidates.json": "{}", "prompt.txt": "?"}),
        ({}, {"candidates.json": '{"prompt": {"system": "", "user": ""}}'}),
    ],
)
def test_what_is_no_record_is_a_value_error(
    tags: Mapping[str, str], files: Mapping[str, str]
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        mlflow_runs.read_cell(tags, lambda name: files[name])


# --- sessions, sheets, scores -----------------------------------------------------------------


def test_a_session_comes_back_equal_and_shows_its_environment() -> None:
    session = store_samples.session().model_copy(
        update={"environment": {"python": "3.11", "a//b": "\x00ü"}}
    )
    payload = mlflow_runs.session_payload(session, SOURCE)
    assert_fits_mlflow(payload)
    assert payload.name == "session 2026-11-02 09:00:00"
    assert payload.status == "RUNNING"
    assert payload.ended_ms is None
    assert payload.params == {"python": "3.11", "a_x2f__x2f_b": "\\x00ü"}
    assert payload.tags["tipbench.kind"] == "session"
    assert mlflow_runs.read_session(payload.tags) == session


def test_a_session_without_its_record_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"it has no tag tipbench\.record"):
        mlflow_runs.read_session({"tipbench.kind": "session"})


def test_a_sheet_comes_back_equal_with_its_judgements_and_notes() -> None:
    judgements = (
        store_samples.judgement("Trink Tee", note="kurz\x00 \ud800"),
        store_samples.judgement("Walk", (1, 2, 3)),
    )
    sheet = store_samples.applied(judgements, judge="zoë").model_copy(
        update={
            "drift": {"tone/voice": CriterionDrift(mean_absolute_error=0.5, bias=-0.25)},
            "drift_mean_absolute_error": 0.5,
            "drift_accepted": True,
            "anchors_sha256": "a1" * 32,
            "anchors_scored": 3,
        }
    )
    payload = mlflow_runs.apply_payload(sheet, judgements, SOURCE)
    assert_fits_mlflow(payload)
    assert payload.tags["tipbench.kind"] == "judging"
    assert payload.tags["judge"] == "zoë"
    assert payload.tags["tipbench.drift_accepted"] == "true"
    assert payload.tags["tipbench.anchors_sha256"] == "a1" * 32
    assert payload.metrics == {
        "judgements": 2.0,
        "anchors_scored": 3.0,
        "repeats_scored": 0.0,
        "repeats_agreed": 0.0,
        "drift_mean_absolute_error": 0.5,
        "drift.tone/voice.mean_absolute_error": 0.5,
        "drift.tone/voice.bias": -0.25,
    }
    read = mlflow_runs.read_apply(payload.tags, as_files(payload))
    assert read == (sheet, judgements)
    assert mlflow_runs.read_apply(payload.tags, as_tags(payload)) == read


def test_judgements_that_are_no_list_are_a_value_error() -> None:
    payload = mlflow_runs.apply_payload(store_samples.applied(()), (), {})
    with pytest.raises(ValueError, match=r"judgements\.json is not a list"):
        mlflow_runs.read_apply(payload.tags, lambda _: "{}")


def test_scores_are_metrics_whatever_the_criteria_are_called() -> None:
    judgement = store_samples.judgement("Walk", note="ü")
    scores = RunScores(
        run_id="1" * 32,
        metrics={"relevance": 4.5, "cost (EUR)": 1.0, "tip_count": 3.0, "composite": 4.0},
        judge_pending=False,
        judges=("ann", "bob"),
        rubric_version="tip-v1",
        rubric_sha256="a" * 64,
        judgements=(judgement,),
    )
    payload = mlflow_runs.scores_payload(scores)
    assert_fits_mlflow(payload)
    assert payload.metrics == {
        "relevance": 4.5,
        "cost _x28_EUR_x29_": 1.0,
        "criterion.tip_count": 3.0,
        "composite": 4.0,
    }
    assert payload.tags == {
        "judge_pending": "false",
        "judge": "ann, bob",
        "rubric_version": "tip-v1",
        "rubric_sha256": "a" * 64,
    }
    assert json.loads(payload.artifacts["scores.json"]) == jsonable(scores)


def test_a_boards_metric_that_is_not_finite_is_named_in_a_tag() -> None:
    payload = mlflow_runs.board_payload("rank 1", {"rows": 3, "best": math.nan})
    assert payload.metrics == {"rows": 3.0}
    assert payload.tags == {"tipbench.skipped_metrics": "best"}
    assert payload.artifacts == {"board.txt": "rank 1"}
