"""Owns hypothesis strategies of records whose texts may hold anything that JSON keeps."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from pytest_tipbench.records import (
    Cell,
    Completion,
    DroppedTip,
    ModelDescription,
    ModelReference,
    Outcome,
    Persona,
    RenderedPrompt,
    RunRecord,
    SamplingOptions,
    Scenario,
    Task,
    TimeSlot,
)


def _survives_json(text: str) -> bool:
    """False for a high and a low surrogate side by side, which JSON makes one character of."""
    return bool(json.loads(json.dumps(text)) == text)


_AWKWARD = st.sampled_from("\0\ud800\udfff\x1b\r\n\t\"'\\%_:<é漢😀\u2028")
_PIECES = st.lists(st.text(st.characters(), max_size=8) | _AWKWARD, max_size=5)
TEXTS = _PIECES.map("".join).filter(_survives_json)
"""Any script, and control characters, NUL and lone surrogates far more often than by chance.

Pieces, since hypothesis makes one alphabet of two, in which they would be as rare as any other.
"""
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**62)
_HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
_MOMENTS = st.timedeltas(timedelta(0), timedelta(days=36_500)).map(
    lambda since: datetime(1990, 1, 1, tzinfo=timezone.utc) + since
)


def _maybe(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | values


_REFERENCES = st.builds(ModelReference, text=TEXTS, provider=TEXTS, name=TEXTS)
_MODELS = st.builds(
    ModelDescription,
    reference=_REFERENCES,
    digest=TEXTS,
    parameter_count=_maybe(COUNTS),
    quantization=_maybe(TEXTS),
    family=_maybe(TEXTS),
    capabilities=st.lists(TEXTS, max_size=2).map(tuple),
    server_version=_maybe(TEXTS),
    local=st.booleans(),
)
_TASKS = st.builds(
    Task,
    title=TEXTS,
    due=_maybe(TEXTS),
    minutes=_maybe(st.integers(1, 10**6)),
    energy=st.sampled_from([None, "low", "medium", "high"]),
    notes=_maybe(TEXTS),
)
_SCENARIOS = st.builds(
    Scenario,
    id=TEXTS,
    persona=st.builds(Persona, id=TEXTS, name=TEXTS, description=TEXTS),
    time_slot=st.builds(TimeSlot, id=TEXTS, label=TEXTS, local_time=TEXTS),
    tasks=st.lists(_TASKS, max_size=2).map(tuple),
)
_COMPLETIONS = st.builds(
    Completion,
    text=TEXTS,
    thinking=_maybe(TEXTS),
    stop_reason=_maybe(TEXTS),
    latency_seconds=FLOATS,
    load_seconds=_maybe(FLOATS),
    prompt_tokens=_maybe(COUNTS),
    completion_tokens=_maybe(COUNTS),
    tokens_per_second=_maybe(FLOATS),
    resident_bytes=_maybe(COUNTS),
    resident_vram_bytes=_maybe(COUNTS),
    foreign_models=st.lists(TEXTS, max_size=2).map(tuple),
)
RUN_RECORDS = st.builds(
    RunRecord,
    run_id=st.uuids().map(lambda made: made.hex),
    session_id=st.just("5" * 32),
    experiment=st.just("arbitrary"),
    tipbench_version=TEXTS,
    cell=st.builds(
        Cell,
        model=_REFERENCES,
        prompt_version=TEXTS,
        scenario=TEXTS,
        repeat=st.integers(1, 99),
        repeats=st.integers(1, 99),
    ),
    fingerprint=_HASHES,
    configuration_sha256=_HASHES,
    model=_maybe(_MODELS),
    scenario=_SCENARIOS,
    scenario_sha256=_HASHES,
    prompt_sha256=_HASHES,
    rubric_version=TEXTS,
    rubric_sha256=_HASHES,
    n_tips=st.integers(1, 50),
    seed=COUNTS,
    sampling=st.builds(
        SamplingOptions,
        temperature=st.floats(0, 5),
        num_ctx=st.integers(1, 10**6),
        num_predict=st.integers(1, 10**6),
    ),
    residency=st.sampled_from(["call", "model"]),
    prompt=st.builds(RenderedPrompt, system=TEXTS, user=TEXTS),
    outcome=st.sampled_from(Outcome),
    error=_maybe(TEXTS),
    tips=st.lists(TEXTS, max_size=3).map(tuple),
    dropped=st.lists(st.builds(DroppedTip, text=TEXTS, reason=TEXTS), max_size=2).map(tuple),
    thinking_stripped=st.booleans(),
    completion=_maybe(_COMPLETIONS),
    diversity=st.dictionaries(st.text(max_size=9), FLOATS, max_size=2),
    started_at=_MOMENTS,
    finished_at=_MOMENTS,
)


def with_texts(
    record: RunRecord, *, experiment: str, system: str = "", user: str = "", raw: str = ""
) -> RunRecord:
    """Return a new run like this one, whose prompt and completion are these."""
    completion = record.completion or Completion(text="", latency_seconds=1.0)
    return record.model_copy(
        update={
            "run_id": uuid.uuid4().hex,
            "experiment": experiment,
            "prompt": RenderedPrompt(system=system, user=user),
            "completion": completion.model_copy(update={"text": raw}),
        }
    )
