"""A session that is killed at any moment loses no answered cell, and the next one runs the rest."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.evaluation import load_evaluation_set
from pytest_tipbench.judgement_records import Judgement, TipKey
from pytest_tipbench.records import jsonable, sha256_of
from pytest_tipbench.store.ledger import Ledger
from tests.acceptance.conftest import Project, make_project
from tests.acceptance.sessions import are_gone, members_of, started, until
from tests.ollama_double import OllamaDouble
from tests.unit.store_samples import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_tipbench.records import RunRecord

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

CELLS = 3 * 10 * 2
MATRIX = (
    *("--prompts", "v1,v2-mentor,v3-few-shot"),
    *("--scenarios", "maya-*,zoe-*,lukasz-*,amadou-evening-*"),
    *("--repeats", "2"),
)
CHAINS = range(5)
KILLS_IN_A_CHAIN = 10
MEASURED = (
    "last_finished_at",
    "run_ids",
    "median_latency_seconds",
    "p95_latency_seconds",
    "tokens_per_second",
    "resident_bytes",
    "resident_vram_bytes",
)
"""What is measured, and so differs between two sessions that generated the same."""


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble(generate_seconds=0.004) as double:
        yield double


def bench_project(folder: Path, home: Path, ollama: OllamaDouble) -> Project:
    made = make_project(folder, home)
    made.environment["OLLAMA_HOST"] = ollama.url
    made.write_configuration(tipbench_models="qwen2.5:0.5b", tipbench_n_tips="2")
    return made


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shared_home: Path, ollama: OllamaDouble
) -> Project:
    """The same 60 cells, from one session."""
    project = bench_project(tmp_path_factory.mktemp("undisturbed"), shared_home, ollama)
    outcome = project.run("evals", *MATRIX)
    assert outcome.code == 0, outcome.text
    assert f"{CELLS} passed" in outcome.counts
    return project


def runs_of(project: Project) -> list[RunRecord]:
    return project.runs() if project.ledger_path.exists() else []


def asked_of(requests: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Return what tells one cell's request from all others: its seed and what was said."""
    return [(each["options"]["seed"], each["messages"][-1]["content"]) for each in requests]


def asked_for(runs: list[RunRecord]) -> list[tuple[int, str]]:
    return [(run.seed, run.prompt.user) for run in runs]


def board_of(project: Project) -> list[dict[str, Any]]:
    """Return the rows of a board on which every tip has a score that its text decides."""
    evaluation = load_evaluation_set(project.root / "evals", project.root / "rubric.md")
    rubric = evaluation.rubric
    with Ledger.open(project.ledger_path, read_only=True) as ledger:
        runs = ledger.latest_runs("tip-bench")
    judgements = []
    for scenario_sha256, tip in {(run.scenario_sha256, tip) for run in runs for tip in run.tips}:
        identity = sha256_of([scenario_sha256, tip])
        judgements.append(
            Judgement(
                judgement_id=identity,
                key=TipKey(rubric_sha256=rubric.sha256, scenario_sha256=scenario_sha256, tip=tip),
                judge="ann",
                scores=dict.fromkeys(rubric.criterion_names, 1 + int(identity, 16) % 5),
                note="",
                judged_at=START,
                sheet_nonce="n",
            )
        )
    rows = build_board(runs, judgements, rubric).rows
    assert all(row.composite is not None for row in rows)
    return [
        {key: value for key, value in jsonable(row).items() if key not in MEASURED} for row in rows
    ]


def assert_as_undisturbed(project: Project, undisturbed: Project) -> None:
    runs, expected = project.runs(), undisturbed.runs()
    assert len(runs) == CELLS
    assert Counter(run.fingerprint for run in runs) == Counter(run.fingerprint for run in expected)
    assert max(Counter(run.fingerprint for run in runs).values()) == 1
    told = {run.cell.id: (run.outcome, run.tips, run.seed) for run in expected}
    assert {run.cell.id: (run.outcome, run.tips, run.seed) for run in runs} == told
    for row, expected_row in zip(board_of(project), board_of(undisturbed), strict=True):
        assert row == expected_row


def kill_at_a_random_moment(project: Project, ollama: OllamaDouble, dice: random.Random) -> bool:
    """Start a session and kill it; return whether it was still there to be killed."""
    before = len(ollama.completions())
    with started(project, "evals", *MATRIX, "--resume") as session:
        if dice.random() < 0.2:
            # While it starts, prepares, or is at its first cells.
            time.sleep(dice.uniform(0.05, 1.5))
        else:
            wanted = dice.randint(1, 9)
            until(lambda: len(ollama.completions()) - before >= wanted or not session.is_running)
            time.sleep(dice.uniform(0.0, 0.02))
        family = members_of(session.pid)
        was_alive = session.is_running
        session.process.kill()
        session.ended()
        until(lambda: are_gone(family))  # xdist's workers outlive their controller by a while
    return was_alive


def settled(ollama: OllamaDouble) -> int:
    """Return how many completions were asked for, once nobody asks any more and memory is free."""
    until(lambda: not ollama.resident())
    return len(ollama.completions())


def assert_killing_loses_nothing(
    project: Project, ollama: OllamaDouble, dice: random.Random
) -> bool:
    """Kill a session; return whether it was still there to be killed."""
    before, asked = runs_of(project), settled(ollama)
    was_killed = kill_at_a_random_moment(project, ollama, dice)
    after, asked_now = runs_of(project), settled(ollama)
    requests = asked_of(ollama.completions()[asked:])
    # What was kept is not generated again …
    assert not set(requests) & set(asked_for(before))
    assert len(requests) == len(set(requests))
    # … and of what was answered, at most the one in flight is lost.
    assert set(asked_for(before)) <= set(asked_for(after))
    assert asked_now - asked - 1 <= len(after) - len(before) <= asked_now - asked
    return was_killed


def assert_exactly_the_rest_runs(
    project: Project, ollama: OllamaDouble, undisturbed: Project
) -> None:
    before, asked = runs_of(project), settled(ollama)
    outcome = project.run("evals", *MATRIX, "--resume")
    assert outcome.code == 0, outcome.text
    assert f"{CELLS} passed" in outcome.counts
    missing = set(asked_for(undisturbed.runs())) - set(asked_for(before))
    assert Counter(asked_of(ollama.completions()[asked:])) == Counter(missing)
    left = CELLS - len(before)
    assert f"resume: {len(before)} cells from the store, {left} generated" in outcome.text
    assert_as_undisturbed(project, undisturbed)


@pytest.mark.parametrize("seed", CHAINS)
def test_killed_at_random_moments(
    tmp_path: Path, shared_home: Path, ollama: OllamaDouble, undisturbed: Project, seed: int
) -> None:
    dice = random.Random(seed)
    kills = 0
    for number in itertools.count():  # a session that was quicker than its killer kills nobody
        if kills >= KILLS_IN_A_CHAIN:
            break
        project = bench_project(tmp_path / str(number), shared_home, ollama)
        while kills < KILLS_IN_A_CHAIN and len(runs_of(project)) < CELLS - 15:
            kills += assert_killing_loses_nothing(project, ollama, dice)
        assert_exactly_the_rest_runs(project, ollama, undisturbed)


def test_killed_with_two_workers(
    tmp_path: Path, shared_home: Path, ollama: OllamaDouble, undisturbed: Project
) -> None:
    """A worker may end a cell that nobody keeps any more; it runs again, and is there once."""
    dice = random.Random(99)
    project = bench_project(tmp_path, shared_home, ollama)
    project.workers = ("-n", "2")
    for _ in range(3):
        before = runs_of(project)
        kill_at_a_random_moment(project, ollama, dice)
        settled(ollama)
        assert set(asked_for(before)) <= set(asked_for(runs_of(project)))
    before = runs_of(project)
    asked = len(ollama.completions())
    outcome = project.run("evals", *MATRIX, "--resume")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) - asked == CELLS - len(before)
    assert_as_undisturbed(project, undisturbed)


def test_nothing_is_left_to_run(ollama: OllamaDouble, undisturbed: Project) -> None:
    asked = settled(ollama)
    outcome = undisturbed.run("evals", *MATRIX, "--resume")
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == asked
    assert f"resume: {CELLS} cells from the store, 0 generated" in outcome.text
    with contextlib.closing(Ledger.open(undisturbed.ledger_path, read_only=True)) as ledger:
        assert len(ledger.runs("tip-bench")) == CELLS
