"""Owns the pure mapping between records and MLflow runs; imports records and mlflow_values only.

What a run holds, beside the params and metrics that people read:

- ``tipbench.record``: the whole record, compressed JSON, so that a pull needs no call per run. Past
  four tags it is left out, and the record is read from the run's artifacts.
- ``candidates.json``: the record without prompt and completion text. Where one of these holds what
  not every database keeps (NUL, lone surrogates) it is in here too.
- ``prompt.txt``, ``raw.txt``: what was sent and what came, for people and for the record.
- ``scores.json``: every judge's judgement of every tip; ``judgements.json``: those of one sheet.

An artifact that the server does not proxy becomes a tag ``artifact:NAME``, past a tag's limit
continued in ``artifact:NAME.part2``, ``.part3`` …
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from pytest_tipbench.judgement_records import ApplyRecord, Judgement
from pytest_tipbench.records import (
    RenderedPrompt,
    RunRecord,
    SessionRecord,
    from_json,
    jsonable,
    to_json,
)
from pytest_tipbench.store import mlflow_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from pytest_tipbench.store.base import RunScores

KIND_TAG = "tipbench.kind"
RECORD_TAG = "tipbench.record"
RUN_ID_TAG = "tipbench.run_id"
SESSION_ID_TAG = "tipbench.session_id"
APPLY_ID_TAG = "tipbench.apply_id"
SKIPPED_METRICS_TAG = "tipbench.skipped_metrics"

MEASURED_METRICS = (
    "latency_seconds",
    "load_seconds",
    "prompt_tokens",
    "completion_tokens",
    "tokens_per_second",
    "resident_bytes",
    "resident_vram_bytes",
)
_COUNTED_METRICS = ("tip_count", "tips_missing")
_LARGEST_RECORD_TAGS = 4
_LARGEST_NAME = 250
_PROMPT_HEADER = re.compile(r"(system|user) \(([0-9]+) characters\):\n")


@dataclass(frozen=True)
class RunPayload:
    """One MLflow run as it is to be made; every value fits MLflow's fields."""

    experiment: str
    identity: tuple[str, ...]
    """Tags by which the run is found again before it would be made twice."""
    name: str
    tags: dict[str, str]
    started_ms: int
    ended_ms: int | None = None
    """None = the run goes on."""
    status: Literal["RUNNING", "FINISHED", "FAILED"] = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    artifacts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LatePayload:
    """What a run that exists gets besides."""

    tags: dict[str, str]
    metrics: dict[str, float]
    artifacts: dict[str, str]


# --- records → runs ---------------------------------------------------------------------------


def cell_payload(record: RunRecord, parent: str | None, source: Mapping[str, str]) -> RunPayload:
    """Return a cell's run; ``source`` are MLflow's own tags on who runs what."""
    completion, model = record.completion, record.model
    metrics: dict[str, float | None] = {
        name: getattr(completion, name) for name in MEASURED_METRICS if completion is not None
    }
    metrics |= {
        "tip_count": len(record.tips),
        "tips_missing": record.tips_missing,
    }
    metrics |= record.diversity
    finite, skipped = mlflow_values.finite(metrics)
    return RunPayload(
        experiment=record.experiment,
        identity=(KIND_TAG, RUN_ID_TAG),
        name=_short_name(record.cell.id),
        tags=_tags(
            {
                **source,
                "mlflow.parentRunId": parent,
                "mlflow.runName": _short_name(record.cell.id),
                "judge_pending": _flag(bool(record.tips)),
                KIND_TAG: "cell",
                RUN_ID_TAG: record.run_id,
                SESSION_ID_TAG: record.session_id,
                "tipbench.cell": record.cell.id,
                "tipbench.fingerprint": record.fingerprint,
                "tipbench.configuration": record.configuration_sha256,
                "tipbench.version": record.tipbench_version,
                "tipbench.outcome": record.outcome.value,
                "tipbench.error": record.error,
                "tipbench.stop_reason": completion.stop_reason if completion else None,
                "tipbench.thinking_stripped": _flag(record.thinking_stripped),
                "tipbench.foreign_models": _listed(completion.foreign_models if completion else ()),
                "tipbench.server_version": model.server_version if model else None,
                SKIPPED_METRICS_TAG: _listed(skipped),
                RECORD_TAG: _packed_record(record),
            }
        ),
        params=_params(
            {
                "model": record.cell.model.text,
                "provider": record.cell.model.provider,
                "prompt_version": record.cell.prompt_version,
                "scenario": record.cell.scenario,
                "repeat": record.cell.repeat,
                "n_tips": record.n_tips,
                "seed": record.seed,
                "temperature": record.sampling.temperature,
                "num_ctx": record.sampling.num_ctx,
                "num_predict": record.sampling.num_predict,
                "residency": record.residency,
                "model_digest": model.digest if model else None,
                "parameter_count": model.parameter_count if model else None,
                "quantization": model.quantization if model else None,
                "prompt_sha256": record.prompt_sha256,
                "scenario_sha256": record.scenario_sha256,
            }
        ),
        metrics=finite,
        artifacts=_cell_artifacts(record),
        started_ms=milliseconds(record.started_at),
        ended_ms=milliseconds(record.finished_at),
        status="FINISHED" if record.is_measured else "FAILED",
    )


def session_payload(session: SessionRecord, source: Mapping[str, str]) -> RunPayload:
    """Return a session's parent run, still going on; its environment is in params."""
    name = f"session {session.started_at:%Y-%m-%d %H:%M:%S}"
    environment = {mlflow_values.safe_key(key): value for key, value in session.environment.items()}
    return RunPayload(
        experiment=session.experiment,
        identity=(KIND_TAG, SESSION_ID_TAG),
        name=name,
        tags=_tags(
            {
                **source,
                "mlflow.runName": name,
                KIND_TAG: "session",
                SESSION_ID_TAG: session.session_id,
                "tipbench.version": session.tipbench_version,
                RECORD_TAG: mlflow_values.pack(to_json(session)),
            }
        ),
        params=_params(environment),
        started_ms=milliseconds(session.started_at),
    )


def apply_payload(
    apply: ApplyRecord, judgements: Sequence[Judgement], source: Mapping[str, str]
) -> RunPayload:
    """Return the judging run of one applied sheet, with its drift and its judgements."""
    name = _short_name(f"judging {apply.judge} {apply.applied_at:%Y-%m-%d %H:%M:%S}")
    metrics: dict[str, float | None] = {
        "judgements": apply.judgements,
        "anchors_scored": apply.anchors_scored,
        "drift_mean_absolute_error": apply.drift_mean_absolute_error,
        "repeats_scored": apply.repeats_scored,
        "repeats_agreed": apply.repeats_agreed,
    }
    for criterion, drift in apply.drift.items():
        metrics[f"drift.{criterion}.mean_absolute_error"] = drift.mean_absolute_error
        metrics[f"drift.{criterion}.bias"] = drift.bias
    metrics |= apply.agreement
    finite, skipped = mlflow_values.finite(metrics)
    return RunPayload(
        experiment=apply.experiment,
        identity=(KIND_TAG, APPLY_ID_TAG),
        name=name,
        tags=_tags(
            {
                **source,
                "mlflow.runName": name,
                KIND_TAG: "judging",
                APPLY_ID_TAG: apply.apply_id,
                "tipbench.sheet_nonce": apply.sheet_nonce,
                "tipbench.drift_accepted": _flag(apply.drift_accepted),
                "tipbench.anchors_sha256": apply.anchors_sha256,
                "judge": apply.judge,
                "rubric_version": apply.rubric_version,
                "rubric_sha256": apply.rubric_sha256,
                SKIPPED_METRICS_TAG: _listed(skipped),
                RECORD_TAG: mlflow_values.pack(to_json(apply)),
            }
        ),
        metrics=finite,
        artifacts={"judgements.json": mlflow_values.readable_json([*map(jsonable, judgements)])},
        started_ms=milliseconds(apply.applied_at),
        ended_ms=milliseconds(apply.applied_at),
        status="FINISHED",
    )


def scores_payload(scores: RunScores) -> LatePayload:
    """Return the scores as metrics and tags, and all judgements as ``scores.json``.

    A criterion that bears the name of something measured becomes ``criterion.NAME``.
    """
    measured = {*MEASURED_METRICS, *_COUNTED_METRICS}
    finite, skipped = mlflow_values.finite(
        {
            f"criterion.{name}" if name in measured else name: value
            for name, value in scores.metrics.items()
        }
    )
    return LatePayload(
        tags=_tags(
            {
                "judge_pending": _flag(scores.judge_pending),
                "judge": _listed(scores.judges),
                "rubric_version": scores.rubric_version,
                "rubric_sha256": scores.rubric_sha256,
                SKIPPED_METRICS_TAG: _listed(skipped),
            }
        ),
        metrics=finite,
        artifacts={"scores.json": mlflow_values.readable_json(jsonable(scores))},
    )


def board_payload(board_text: str, metrics: Mapping[str, float]) -> LatePayload:
    """Return what a session's parent run carries at its end."""
    finite, skipped = mlflow_values.finite(metrics)
    return LatePayload(
        tags=_tags({SKIPPED_METRICS_TAG: _listed(skipped)}),
        metrics=finite,
        artifacts={"board.txt": board_text},
    )


def _cell_artifacts(record: RunRecord) -> dict[str, str]:
    candidates = jsonable(record)
    prompt = record.prompt
    if mlflow_values.is_storable(prompt.system + prompt.user):
        candidates["prompt"] = None
    artifacts = {"prompt.txt": prompt_text(prompt)}
    if record.completion is not None:
        if mlflow_values.is_storable(record.completion.text):
            candidates["completion"]["text"] = None
        artifacts["raw.txt"] = record.completion.text
    return {"candidates.json": mlflow_values.readable_json(candidates), **artifacts}


def _packed_record(record: RunRecord) -> str | None:
    packed = mlflow_values.pack(to_json(record))
    fits = len(packed) <= _LARGEST_RECORD_TAGS * mlflow_values.TAG_VALUE_LIMIT
    return packed if fits else None


def prompt_text(prompt: RenderedPrompt) -> str:
    """Return both texts, each under a header that counts its characters, whatever it contains."""
    return "".join(
        f"{role} ({len(text)} characters):\n{text}\n"
        for role, text in (("system", prompt.system), ("user", prompt.user))
    )


def milliseconds(moment: datetime) -> int:
    """Return MLflow's time: whole milliseconds since 1970, never negative."""
    return max(int(moment.timestamp() * 1000), 0)


def _short_name(text: str) -> str:
    """Return a run's name, which databases hold 250 characters of; the whole is in a tag."""
    name = mlflow_values.storable(text)
    if len(name) <= _LARGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:8]
    return f"{name[: _LARGEST_NAME - 10]}… {digest}"


def _tags(values: Mapping[str, str | None]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for key, value in values.items():
        if value is not None:
            tags |= mlflow_values.split(key, mlflow_values.storable(value))
    return tags


def _params(values: Mapping[str, object]) -> dict[str, str]:
    params: dict[str, str] = {}
    for key, value in values.items():
        if value is not None:
            text = mlflow_values.storable(str(value))
            params |= mlflow_values.split(key, text, mlflow_values.PARAM_VALUE_LIMIT)
    return params


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _listed(names: Sequence[str]) -> str | None:
    return ", ".join(names) or None


# --- runs → records ---------------------------------------------------------------------------


def read_cell(tags: Mapping[str, str], read_artifact: Callable[[str], str]) -> RunRecord:
    """Return a cell's record, whole, from its run.

    Args:
        tags: the run's.
        read_artifact: gives an artifact's text by its name; called only where the tags lack the
            record.

    Raises:
        ValueError: what is there is not a record.
    """
    packed = mlflow_values.join(RECORD_TAG, tags)
    if packed is not None:
        return from_json(RunRecord, mlflow_values.unpack(packed))
    candidates = _object(read_artifact("candidates.json"))
    if candidates.get("prompt") is None:
        candidates["prompt"] = jsonable(parse_prompt_text(read_artifact("prompt.txt")))
    completion = candidates.get("completion")
    if isinstance(completion, dict) and completion.get("text") is None:
        completion["text"] = read_artifact("raw.txt")
    return RunRecord.model_validate(candidates)


def read_session(tags: Mapping[str, str]) -> SessionRecord:
    """Return a session's record from its parent run; ValueError where it is not one."""
    return from_json(SessionRecord, _required_record(tags))


def read_apply(
    tags: Mapping[str, str], read_artifact: Callable[[str], str]
) -> tuple[ApplyRecord, tuple[Judgement, ...]]:
    """Return an applied sheet and its judgements from its judging run; ValueError otherwise."""
    apply = from_json(ApplyRecord, _required_record(tags))
    judgements = json.loads(read_artifact("judgements.json"))
    if not isinstance(judgements, list):
        raise ValueError("judgements.json is not a list")  # noqa: TRY004 - one error for the caller
    return apply, tuple(Judgement.model_validate(each) for each in judgements)


def parse_prompt_text(text: str) -> RenderedPrompt:
    """Read back what :func:`prompt_text` wrote; ValueError where it is something else."""
    texts: dict[str, str] = {}
    position = 0
    while header := _PROMPT_HEADER.match(text, position):
        end = header.end() + int(header[2])
        texts[header[1]] = text[header.end() : end]
        position = end + 1
    if position != len(text) or texts.keys() != {"system", "user"}:
        raise ValueError("prompt.txt is not as it was written")
    return RenderedPrompt(**texts)


def _required_record(tags: Mapping[str, str]) -> str:
    packed = mlflow_values.join(RECORD_TAG, tags)
    if packed is None:
        raise ValueError(f"it has no tag {RECORD_TAG}")
    return mlflow_values.unpack(packed)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("candidates.json is not an object")  # noqa: TRY004 - one error for the caller
    return value
