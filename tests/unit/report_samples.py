"""Reports to render: a lifelike one of any size, and the odd ones that renderers have to bear."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.gates import evaluate_gates, parse_gate
from pytest_tipbench.judgement_records import (
    ApplyRecord,
    Criterion,
    CriterionDrift,
    Judgement,
    Rubric,
    TipKey,
)
from pytest_tipbench.records import (
    DroppedTip,
    Outcome,
    Persona,
    RenderedPrompt,
    Scenario,
    Task,
    TimeSlot,
    sha256_of,
)
from pytest_tipbench.reports.report import build_report
from tests.unit.board_samples import START, a_run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_tipbench.board_baseline import BaselineComparison
    from pytest_tipbench.board_records import Board
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.reports.report_records import Report

TIP_RUBRIC = Rubric(
    version="tip-v1",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(
        Criterion(name="relevance", weight=0.4),
        Criterion(name="actionability", weight=0.4),
        Criterion(name="tone", weight=0.2),
    ),
    text="# How to score a tip\n\nEach criterion from 1 to 5.\n",
)
MODELS = {
    "llama3.2:3b": (3.6, 4.2, 2.4),
    "qwen2.5:1.5b": (3.4, 2.1, 1.3),
    "qwen2.5:0.5b": (2.4, 0.9, 0.6),
    "llamacpp/gemma3-270m": (1.3, 1.1, 0.3),
}
"""Model → how well it writes, its latency in seconds, its size in GiB."""
PROMPTS = {"v1": 0.0, "v2-mentor": 0.15, "v3-few-shot": 0.4}
GATES = ("composite>=2.5", "best:relevance>=3.5", "p95_latency_seconds<=20")
ENVIRONMENT = {
    "python": "3.11.14",
    "system": "Linux",
    "machine": "x86_64",
    "git_commit": "8af3744c7f0f9a0e4b0d5ee28a4f0e2b7e1f9c33",
}
_PEOPLE = (
    ("maya", "Maya Okafor", "Software developer, works from home. Starting is the hard part."),
    ("zoe", "Zoë de Vries", "Nurse on rotating shifts, raises her daughter Noor (6) alone."),
    ("lukasz", "Łukasz Wiśniewski", "Freelance translator who looks after his father at home."),
    ("misaki", "美咲 (Misaki) Tanaka", "Doctoral student who finds it hard to finish anything."),
)
_SLOTS = (("morning", "Morning", "08:00"), ("afternoon", "Afternoon", "15:30"))
_TASKS = ("release notes", "pull request", "dentist", "invoice", "supper", "slides", "inhaler")
_BEGINNINGS = (
    "Open the {task} now and write the first two sentences, no more",
    "Put the {task} before everything else until 09:30",
    "You could start on the {task} while the soup simmers",
    "Leave the {task} for tomorrow: what you have is enough for today",
    "Ask somebody to take the {task} off your hands at noon",
)
_ENDS = (
    "; ten minutes will do, and the rest can wait.",
    ". Then stop, even if it is not finished, and have a glass of water.",
    ", because the line is always engaged from 09:15 on.",
    ". You have done harder things this week.",
)


def lifelike_scenarios(count: int) -> list[Scenario]:
    scenarios = []
    for number in range(count):
        slot_id, label, local_time = _SLOTS[number // len(_PEOPLE) % len(_SLOTS)]
        person_id, name, description = _PEOPLE[number % len(_PEOPLE)]
        task = _TASKS[number % len(_TASKS)]
        scenarios.append(
            Scenario(
                id=f"{person_id}-{slot_id}-{task.replace(' ', '-')}-{number + 1}",
                persona=Persona(id=person_id, name=name, description=description),
                time_slot=TimeSlot(id=slot_id, label=label, local_time=local_time),
                tasks=(
                    Task(title=f"Finish the {task}", due="12:00", minutes=60, energy="high"),
                    Task(title="Book the dentist", notes="The line opens at 09:00."),
                    Task(title="Water the plants", minutes=5, energy="low"),
                ),
            )
        )
    return scenarios


def lifelike_runs(
    scenarios: Sequence[Scenario], models: Sequence[str], generator: random.Random, n_tips: int = 5
) -> list[RunRecord]:
    """Runs of the models by all prompts, with the failures that small models have."""
    runs = []
    for model in models:
        quality, seconds, gibibytes = MODELS[model]
        for prompt in PROMPTS:
            for scenario in scenarios:
                outcome = Outcome.OK
                if generator.random() < (3 - quality) / 8:
                    outcome = generator.choice((Outcome.MALFORMED, Outcome.SHORT, Outcome.LOOPING))
                count = {Outcome.OK: n_tips, Outcome.SHORT: n_tips - 2}.get(outcome, 0)
                tips = dict.fromkeys(_tip(scenario, generator) for _ in range(count))
                run = a_run(
                    model,
                    prompt,
                    scenario.id,
                    tips=tuple(tips),
                    outcome=outcome,
                    n_tips=n_tips,
                    digest=sha256_of(model),
                    prompt_text=prompt,
                    latency_seconds=seconds * generator.uniform(0.8, 1.6),
                    tokens_per_second=120 / seconds,
                    resident_bytes=int(gibibytes * 2**30),
                )
                assert run.completion is not None
                raw = '{"tips": ["' + '", "'.join(tips) + '"]}' if tips else "tip tip tip " * 200
                runs.append(
                    run.model_copy(
                        update={
                            "scenario": scenario,
                            "scenario_sha256": scenario.sha256,
                            "prompt": _prompt(prompt, scenario),
                            "completion": run.completion.model_copy(
                                update={
                                    "text": raw,
                                    "load_seconds": 0.4,
                                    "prompt_tokens": 412,
                                    "completion_tokens": 40 * len(tips),
                                    "stop_reason": "stop" if tips else "length",
                                }
                            ),
                            "dropped": ()
                            if tips
                            else (DroppedTip(text="tip tip tip", reason="repeats itself"),),
                        }
                    )
                )
    return runs


def _tip(scenario: Scenario, generator: random.Random) -> str:
    beginning = generator.choice(_BEGINNINGS).format(task=generator.choice(_TASKS))
    minutes = generator.randint(5, 55)
    name = scenario.persona.name.split()[0]
    return f"{name}, at 08:{minutes:02}: {beginning}{generator.choice(_ENDS)}"


def _prompt(prompt: str, scenario: Scenario) -> RenderedPrompt:
    examples = "Example: eat for twenty minutes now, away from the shop floor. " * 40
    return RenderedPrompt(
        system=f"You write short tips ({prompt}).",
        user=f"{examples if prompt == 'v3-few-shot' else ''}"
        f"For {scenario.persona.name}. {scenario.persona.description} "
        f"It is {scenario.time_slot.local_time}. Tasks: "
        + "; ".join(task.title for task in scenario.tasks)
        + ". Write 5 tips of at most 280 characters each, as JSON.",
    )


def lifelike_judgements(
    runs: Sequence[RunRecord], judge: str, generator: random.Random, *, share: float = 1.0
) -> list[Judgement]:
    """One judge's scores of a share of the runs' tips, by how well the model writes."""
    given: dict[tuple[str, str], Judgement] = {}
    for run in runs:
        quality = MODELS[run.cell.model.text][0] + PROMPTS[run.cell.prompt_version]
        quality += (int(run.scenario_sha256[:4], 16) % 100 - 50) / 80
        for tip in run.tips:
            scores = {
                name: min(max(round(generator.gauss(quality, 0.8)), 1), 5)
                for name in TIP_RUBRIC.criterion_names
            }
            if generator.random() > share:
                continue
            given[run.scenario_sha256, tip] = Judgement(
                judgement_id=sha256_of([run.scenario_sha256, tip, judge]),
                key=TipKey(
                    rubric_sha256=TIP_RUBRIC.sha256, scenario_sha256=run.scenario_sha256, tip=tip
                ),
                judge=judge,
                scores=scores,
                note="Uses the due time, but not what is said of the person."
                if scores["relevance"] == 4
                else "",
                judged_at=START + timedelta(days=1),
                sheet_nonce="nonce",
            )
    return list(given.values())


def an_apply(
    judge: str, *, days: int, error: float | None = 0.4, accepted: bool = False
) -> ApplyRecord:
    drift = {
        name: CriterionDrift(mean_absolute_error=error or 0, bias=bias)
        for name, bias in zip(TIP_RUBRIC.criterion_names, (0.2, -0.4, 0.0), strict=True)
    }
    return ApplyRecord(
        apply_id=sha256_of([judge, days]),
        experiment="tip-bench",
        sheet_nonce="nonce",
        judge=judge,
        rubric_version=TIP_RUBRIC.version,
        rubric_sha256=TIP_RUBRIC.sha256,
        applied_at=START + timedelta(days=days),
        judgements=180,
        anchors_scored=5 if error is not None else 2,
        drift=drift if error is not None else {},
        drift_mean_absolute_error=error,
        drift_accepted=accepted,
        repeats_scored=18 if days > 1 else 0,
        repeats_agreed=15 if days > 1 else 0,
    )


def lifelike_report(
    *, scenarios: int = 12, models: Sequence[str] = tuple(MODELS), judged: bool = True
) -> Report:
    """Every model by three prompts, judged by two judges (or not at all)."""
    generator = random.Random(9)
    runs = lifelike_runs(lifelike_scenarios(scenarios), models, generator)
    judgements = (
        lifelike_judgements(runs, "anna", generator)
        + lifelike_judgements(runs, "ben", generator, share=0.6)
        if judged
        else []
    )
    return report_of(
        runs,
        judgements,
        [
            an_apply("anna", days=1),
            an_apply("ben", days=2, error=0.9, accepted=True),
            an_apply("ben", days=3, error=None),
        ]
        if judged
        else [],
    )


class Changed(NamedTuple):
    """An experiment, and the board of the one that it is compared with."""

    runs: list[RunRecord]
    judgements: list[Judgement]
    baseline: Board

    @property
    def comparison(self) -> BaselineComparison:
        board = build_board(self.runs, self.judgements, TIP_RUBRIC)
        return compare_with_baseline(board, self.baseline)


def lifelike_change(*, scenarios: int = 8, models: Sequence[str] = tuple(MODELS)[:2]) -> Changed:
    """Models by three prompts, and what they were in experiment last-week.

    There the first row scored lower; its model's third scenario was not judged; the second
    scenario and prompt v3-few-shot had other texts; the last scenario, and the last model with
    v2-mentor, were not there; and qwen2.5:0.5b was.
    """
    generator = random.Random(12)
    runs = lifelike_runs(lifelike_scenarios(scenarios), models, generator)
    judgements = lifelike_judgements(runs, "anna", generator)
    names = [scenario.id for scenario in lifelike_scenarios(scenarios)]
    there = dict.fromkeys([*models, "qwen2.5:0.5b"])
    earlier = [
        _as_it_was(run, names[1])
        for run in lifelike_runs(lifelike_scenarios(scenarios - 1), tuple(there), generator)
        if (run.cell.model.text, run.cell.prompt_version) != (models[-1], "v2-mentor")
    ]
    said = []
    for run in earlier:
        if (run.cell.model.text, run.cell.scenario) == (models[0], names[2]):
            continue
        was_lower = run.cell.id.startswith(f"{models[0]}-v1-")
        for judgement in lifelike_judgements([run], "anna", generator):
            lower = {name: max(score - 1, 1) for name, score in judgement.scores.items()}
            said.append(judgement.model_copy(update={"scores": lower}) if was_lower else judgement)
    return Changed(runs, judgements, build_board(earlier, said, TIP_RUBRIC))


def _as_it_was(run: RunRecord, changed_scenario: str) -> RunRecord:
    changes: dict[str, object] = {"experiment": "last-week"}
    if run.cell.scenario == changed_scenario:
        content = run.scenario.model_copy(update={"tasks": run.scenario.tasks[:2]})
        changes |= {"scenario": content, "scenario_sha256": content.sha256}
    if run.cell.prompt_version == "v3-few-shot":
        changes["prompt_sha256"] = sha256_of("another text")
    return run.model_copy(update=changes)


def changed_report(*, scenarios: int = 8, models: Sequence[str] = tuple(MODELS)[:2]) -> Report:
    """The report on :func:`lifelike_change`."""
    made = lifelike_change(scenarios=scenarios, models=models)
    return report_of(made.runs, made.judgements, gates=(), baseline=made.baseline)


def report_of(
    runs: Sequence[RunRecord],
    judgements: Sequence[Judgement],
    applies: Sequence[ApplyRecord] = (),
    *,
    rubric: Rubric = TIP_RUBRIC,
    gates: Sequence[str] = GATES,
    baseline: Board | None = None,
) -> Report:
    board = build_board(runs, judgements, rubric)
    parsed = [parse_gate(text, rubric.criterion_names) for text in gates]
    return build_report(
        board=board,
        runs=runs,
        judgements=judgements,
        applies=applies,
        rubric=rubric,
        verdicts=evaluate_gates(parsed, board, pending="fail"),
        environment=ENVIRONMENT,
        comparison=None if baseline is None else compare_with_baseline(board, baseline),
    )
