"""Small runs and judgements to make boards of: two tips a cell, two criteria, twelve scenarios."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from pytest_tipbench.judgement_records import Criterion, Judgement, Rubric, TipKey
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
    configuration_sha256,
    fingerprint,
    sha256_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

START = datetime(2026, 4, 27, 8, 0, tzinfo=timezone.utc)
SAMPLING = SamplingOptions()
RUBRIC = Rubric(
    version="tip-v1",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(Criterion(name="relevance", weight=3), Criterion(name="tone", weight=1)),
    text="What the numbers mean.",
)
OTHER_RUBRIC = RUBRIC.model_copy(update={"text": "Something else."})
TWELVE = tuple(f"s{number:02}" for number in range(1, 13))
SIX = TWELVE[:6]


def a_scenario(scenario_id: str, task: str = "Write the report") -> Scenario:
    return Scenario(
        id=scenario_id,
        persona=Persona(id="zoë", name="Zoë", description="A nurse on nights."),
        time_slot=TimeSlot(id="dawn", label="Dawn", local_time="05:30"),
        tasks=(Task(title=task),),
    )


def a_run(
    model: str = "small:1b",
    prompt: str = "v1",
    scenario: str = "s01",
    *,
    tips: Sequence[str] | None = None,
    outcome: Outcome = Outcome.OK,
    repeat: int = 1,
    n_tips: int = 2,
    digest: str | None = "digest-a",
    prompt_text: str = "Give tips.",
    task: str = "Write the report",
    sampling: SamplingOptions = SAMPLING,
    minutes: float = 0,
    provider: str = "ollama",
    name: str | None = None,
    latency_seconds: float = 2.0,
    tokens_per_second: float | None = 50.0,
    resident_bytes: int | None = None,
    foreign_models: tuple[str, ...] = (),
    diversity: Mapping[str, float] | None = None,
    rubric: Rubric = RUBRIC,
) -> RunRecord:
    """A finished cell; its tips are its own unless given, and none where the outcome has none."""
    reference = ModelReference(text=model, provider=provider, name=name or model)
    cell = Cell(model=reference, prompt_version=prompt, scenario=scenario, repeat=repeat, repeats=1)
    if tips is None:
        count = n_tips if outcome is Outcome.OK else 1 if outcome is Outcome.SHORT else 0
        tips = [f"{model} {prompt} {scenario} r{repeat} tip {k + 1}" for k in range(count)]
    content = a_scenario(scenario, task)
    prompt_sha256 = sha256_of(prompt_text)
    configuration = configuration_sha256(digest or "", prompt_sha256, sampling, n_tips)
    finished_at = START + timedelta(minutes=minutes)
    completion = Completion(
        text="…",
        latency_seconds=latency_seconds,
        tokens_per_second=tokens_per_second,
        resident_bytes=resident_bytes,
        foreign_models=foreign_models,
    )
    identity = [cell.id, repeat, configuration, content.sha256, minutes]
    return RunRecord(
        run_id=sha256_of(identity)[:32],
        session_id="session",
        experiment="tip-bench",
        tipbench_version="0.1.0",
        cell=cell,
        fingerprint=fingerprint(configuration, content.sha256, repeat),
        configuration_sha256=configuration,
        model=ModelDescription(reference=reference, digest=digest, local=True) if digest else None,
        scenario=content,
        scenario_sha256=content.sha256,
        prompt_sha256=prompt_sha256,
        rubric_version=rubric.version,
        rubric_sha256=rubric.sha256,
        n_tips=n_tips,
        seed=repeat,
        sampling=sampling,
        residency="call",
        prompt=RenderedPrompt(system="", user=prompt_text),
        outcome=outcome,
        tips=tuple(tips),
        completion=None if outcome.is_machine_fault else completion,
        diversity=dict(diversity or {}),
        started_at=finished_at - timedelta(seconds=latency_seconds),
        finished_at=finished_at,
    )


def judged(
    run: RunRecord,
    *scores: tuple[int, int] | int,
    judge: str = "anna",
    rubric: Rubric = RUBRIC,
    minutes: float = 0,
) -> list[Judgement]:
    """One judge's scores of the run's tips in their order; one number is for all criteria."""
    return [
        Judgement(
            judgement_id=sha256_of([run.run_id, tip, judge, minutes, rubric.sha256]),
            key=TipKey(rubric_sha256=rubric.sha256, scenario_sha256=run.scenario_sha256, tip=tip),
            judge=judge,
            scores=dict(
                zip(
                    rubric.criterion_names,
                    score if isinstance(score, tuple) else [score] * len(rubric.criteria),
                    strict=True,
                )
            ),
            judged_at=START + timedelta(days=1, minutes=minutes),
            sheet_nonce="nonce",
        )
        for tip, score in zip(run.tips, scores, strict=False)
    ]


def judged_alike(
    runs: Iterable[RunRecord], score: int | tuple[int, int], judge: str = "anna"
) -> list[Judgement]:
    """Every tip of the runs with the same score."""
    return [said for run in runs for said in judged(run, *[score] * len(run.tips), judge=judge)]


def a_matrix(
    scores: Mapping[tuple[str, str], Sequence[tuple[int, int]]],
) -> tuple[list[RunRecord], list[Judgement]]:
    """Judged rows: (model, prompt) → the scores of the two tips of scenario s01, s02, …"""
    runs: list[RunRecord] = []
    judgements: list[Judgement] = []
    for (model, prompt), by_scenario in scores.items():
        for scenario, (first, second) in zip(TWELVE, by_scenario, strict=False):
            run = a_run(model, prompt, scenario)
            runs.append(run)
            judgements += judged(run, first, second)
    return runs, judgements
