"""Owns small, distinctive records that the tests of the judging room share."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pytest_tipbench.judge.export import build_sheet
from pytest_tipbench.judge.files import Sheet, sheet_json
from pytest_tipbench.judgement_records import Anchor, Criterion, Judgement, Rubric, TipKey
from pytest_tipbench.records import (
    Cell,
    Completion,
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXPORTED_AT = datetime(2026, 4, 27, 10, 0, 0, 250000, tzinfo=timezone.utc)
APPLIED_AT = EXPORTED_AT + timedelta(hours=2)
NONCE = "0f" * 16

RUBRIC = Rubric(
    version="tip-v9",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(
        Criterion(name="relevance", weight=0.5),
        Criterion(name="actionability", weight=0.3),
        Criterion(name="tone", weight=0.2),
    ),
    text="# Relevance\n5: fits the moment…\n",
)


def make_scenario(identity: str, *, notes: str | None = "vor dem Café") -> Scenario:
    return Scenario(
        id=identity,
        persona=Persona(id="zoe", name="Zoë Ödegård", description="Nurse on shifts"),
        time_slot=TimeSlot(id="dawn", label="Early morning", local_time="06:30"),
        tasks=(
            Task(title="Call the pharmacy", due="16:00", minutes=10, energy="low", notes=notes),
            Task(title="Water the plants"),
        ),
    )


def make_run(
    scenario: Scenario,
    tips: Sequence[str],
    *,
    model: str = "secretmodel:0.5b",
    prompt_version: str = "whisper-prompt",
    outcome: Outcome = Outcome.OK,
) -> RunRecord:
    reference = ModelReference(
        text=f"hushprovider/{model}", provider="hushprovider", name=f"{model}"
    )
    return RunRecord(
        run_id="cafe" * 8,
        session_id="feed" * 8,
        experiment="garden",
        tipbench_version="9.8.7",
        cell=Cell(
            model=reference,
            prompt_version=prompt_version,
            scenario=scenario.id,
            repeat=1,
            repeats=1,
        ),
        fingerprint="f1" * 32,
        configuration_sha256="c2" * 32,
        model=ModelDescription(
            reference=reference,
            digest="sha256:d16e57",
            parameter_count=494032768,
            quantization="Q4_K_HUSH",
            family="hushfamily",
            server_version="0.33.777",
            local=True,
        ),
        scenario=scenario,
        scenario_sha256=scenario.sha256,
        prompt_sha256="ab" * 32,
        rubric_version=RUBRIC.version,
        rubric_sha256=RUBRIC.sha256,
        n_tips=5,
        seed=20260427,
        sampling=SamplingOptions(temperature=0.77, num_ctx=4097, num_predict=1025),
        residency="call",
        prompt=RenderedPrompt(system="You whisper secretly.", user="Whisper five tips now."),
        outcome=outcome,
        tips=tuple(tips),
        completion=Completion(text="raw secret completion", latency_seconds=3.1415),
        started_at=EXPORTED_AT - timedelta(days=1, minutes=1),
        finished_at=EXPORTED_AT - timedelta(days=1),
    )


def make_judgement(
    scenario: Scenario,
    tip: str,
    *,
    judge: str = "ada",
    scores: tuple[int, int, int] = (3, 3, 3),
    rubric_sha256: str = RUBRIC.sha256,
    judged_at: datetime = EXPORTED_AT - timedelta(hours=1),
    sheet_nonce: str = "earlier",
) -> Judgement:
    return Judgement(
        judgement_id=f"{judge} {scenario.id} {tip} {scores} {sheet_nonce}",
        key=TipKey(rubric_sha256=rubric_sha256, scenario_sha256=scenario.sha256, tip=tip),
        judge=judge,
        scores=dict(zip(RUBRIC.criterion_names, scores, strict=True)),
        judged_at=judged_at,
        sheet_nonce=sheet_nonce,
    )


def make_anchor(scenario: Scenario, tip: str, scores: tuple[int, int, int] = (3, 3, 3)) -> Anchor:
    return Anchor(
        scenario=scenario.id,
        tip=tip,
        scores=dict(zip(RUBRIC.criterion_names, scores, strict=True)),
        reason="because of a hidden reason",
    )


def export(
    runs: Sequence[RunRecord],
    *,
    judgements: Sequence[Judgement] = (),
    anchors: Sequence[Anchor] = (),
    judge: str | None = None,
    judge_name: str | None = None,
    limit: int | None = None,
    anchor_count: int = 0,
    nonce: str = NONCE,
) -> Sheet:
    build = build_sheet(
        experiment="garden",
        runs=runs,
        judgements=judgements,
        rubric=RUBRIC,
        anchors=anchors,
        judge=judge,
        judge_name_for_pending=judge_name,
        limit=limit,
        anchor_count=anchor_count,
        nonce=nonce,
        exported_at=EXPORTED_AT,
    )
    assert build.sheet is not None
    return build.sheet


def document_of(sheet: Sheet) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(sheet_json(sheet))
    return document


def to_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def score(document: dict[str, Any], scores_of: Callable[[str], tuple[int, int, int]]) -> None:
    """Fill in every item's scores from its tip."""
    for item in document["items"]:
        item["scores"] = dict(zip(RUBRIC.criterion_names, scores_of(item["tip"]), strict=True))
