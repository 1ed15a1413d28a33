"""Several sessions and machines write to one experiment at once, and each sees all of it."""

from __future__ import annotations

import contextlib
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import MAYA, Project, make_project
from tests.acceptance.sessions import started
from tests.integration.mlflow_server import mlflow_server
from tests.tracked_runs import artifact, of_kind, runs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.conftest import Outcome

PROMPTS = ("v1", "v2-mentor", "v3-few-shot")
MODEL = "replay/tips.jsonl"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def experiment() -> str:
    return f"shared {uuid.uuid4().hex[:8]}"


@pytest.fixture
def machine(
    tmp_path: Path, shared_home: Path, url: str, experiment: str
) -> Callable[[str], Project]:
    """Set a machine up: a folder, a ledger and locks of its own, and the common server."""

    def make(name: str) -> Project:
        made = make_project(tmp_path / name, shared_home)
        made.write_replay(
            "tips.jsonl",
            {
                (prompt, scenario): [tip_of(prompt, scenario)]
                for prompt in PROMPTS
                for scenario in MAYA
            },
        )
        made.write_configuration(
            tipbench_models=MODEL,
            tipbench_n_tips="1",
            tipbench_tracking_uri=url,
            tipbench_experiment=experiment,
        )
        return made

    return make


def tip_of(prompt_version: str, scenario: str) -> str:
    return f"Do one thing before the next, as {prompt_version} has it for {scenario}."


def at_once(*calls: tuple[Project, tuple[str, ...]]) -> list[Outcome]:
    """Run sessions side by side."""
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(started(project, *arguments)) for project, arguments in calls
        ]
        return [each.ended(180) for each in running]


def matrix(*prompts: str) -> tuple[str, ...]:
    return ("evals", "--prompts", ",".join(prompts), "--scenarios", "maya-*")


def rows(text: str) -> dict[str, str]:
    """Return the board's line of each prompt version."""
    return {
        prompt: line
        for prompt in PROMPTS
        for line in text.splitlines()
        if MODEL in line and f" {prompt} " in line and " × " not in line
    }


def cells_of(url: str, experiment: str) -> Counter[tuple[str, str]]:
    cells = of_kind(runs_of(url, experiment), "cell")
    assert len({cell["tags"]["tipbench.run_id"] for cell in cells}) == len(cells)
    return Counter((cell["params"]["prompt_version"], cell["params"]["scenario"]) for cell in cells)


def score_of(item: dict[str, Any]) -> int:
    """Tips of v1 get a 5, those of v2-mentor a 3, on every criterion."""
    return 5 if " v1 " in item["tip"] else 3


def test_two_machines_at_once_and_a_sheet_that_travels(
    machine: Callable[[str], Project], url: str, experiment: str
) -> None:
    here, there = machine("here"), machine("there")
    # The experiment does not exist yet: both make it.
    for outcome in at_once((here, matrix("v1")), (there, matrix("v2-mentor"))):
        assert outcome.code == 0, outcome.text
    expected = {(prompt, scenario) for prompt in PROMPTS[:2] for scenario in MAYA}
    assert cells_of(url, experiment) == Counter(dict.fromkeys(expected, 1))
    for project in (here, there):
        board = project.run("--leaderboard")
        assert board.code == 0, board.text
        assert rows(board.text).keys() == {"v1", "v2-mentor"}
        assert {run.cell.prompt_version for run in project.runs(experiment)} == set(PROMPTS[:2])
    assert sorted(here.runs(experiment), key=lambda run: run.run_id) == sorted(
        there.runs(experiment), key=lambda run: run.run_id
    )

    sheet = here.judge(here.export(), score_of)
    travelled = there.write("from-here.json", sheet.read_text(encoding="utf-8"))
    outcome = there.run("--judge-apply", travelled.name)
    assert outcome.code == 0, outcome.text
    assert len(there.judgements()) == 6
    assert here.judgements() == []

    for project in (here, there):
        of_prompt = rows(project.run("--leaderboard").text)
        assert "5.00" in of_prompt["v1"]
        assert "3.00" in of_prompt["v2-mentor"]
    assert here.judgements() == there.judgements()
    runs = runs_of(url, experiment)
    for cell in of_kind(runs, "cell"):
        mean = 5.0 if cell["params"]["prompt_version"] == "v1" else 3.0
        assert cell["metrics"]["composite"] == pytest.approx(mean)
        assert cell["tags"]["judge_pending"] == "false"
    (judging,) = of_kind(runs, "judging")
    assert judging["tags"]["judge"] == "ada"
    # Applied again where it came from, it changes nothing.
    assert here.run("--judge-apply", sheet.name).code == 0
    assert len(here.judgements()) == 6
    assert len(of_kind(runs_of(url, experiment), "judging")) == 1


def test_two_judges_on_two_machines_at_once(
    machine: Callable[[str], Project], url: str, experiment: str
) -> None:
    here, there = machine("here"), machine("there")
    assert here.run(*matrix("v1")).code == 0
    first = here.judge(here.export("--judge-name", "ann"), 5, "ann")
    second = there.judge(there.export("--judge-name", "bo"), 2, "bo")
    for outcome in at_once(
        (here, ("--judge-apply", first.name)), (there, ("--judge-apply", second.name))
    ):
        assert outcome.code == 0, outcome.text
    # Whoever comes last sees both; (5 + 2) / 2 on every criterion.
    for project in (here, there, here):
        board = project.run("--leaderboard", "--tracking-sync")
        assert board.code == 0, board.text
        assert "3.50" in rows(board.text)["v1"]
    runs = runs_of(url, experiment)
    assert sorted(run["tags"]["judge"] for run in of_kind(runs, "judging")) == ["ann", "bo"]
    for cell in of_kind(runs, "cell"):
        assert cell["metrics"]["composite"] == pytest.approx(3.5)
        assert cell["tags"]["judge"] == "ann, bo"
        scores = artifact(url, cell, "scores.json")
        assert '"ann"' in scores
        assert '"bo"' in scores


def test_two_sessions_on_one_ledger_at_once(
    machine: Callable[[str], Project], url: str, experiment: str
) -> None:
    here = machine("here")
    for outcome in at_once((here, matrix("v1", "v3-few-shot")), (here, matrix("v2-mentor"))):
        assert outcome.code == 0, outcome.text
    expected = {(prompt, scenario) for prompt in PROMPTS for scenario in MAYA}
    assert cells_of(url, experiment) == Counter(dict.fromkeys(expected, 1))
    runs = runs_of(url, experiment)
    assert len(of_kind(runs, "session")) == 2
    by_parent = Counter(cell["tags"]["mlflow.parentRunId"] for cell in of_kind(runs, "cell"))
    assert sorted(by_parent.values()) == [3, 6]
    assert {run["status"] for run in of_kind(runs, "session")} == {"FINISHED"}


def test_the_same_cells_on_two_machines_count_once_on_the_board(
    machine: Callable[[str], Project], url: str, experiment: str
) -> None:
    here, there = machine("here"), machine("there")
    for outcome in at_once((here, matrix("v1")), (there, matrix("v1"))):
        assert outcome.code == 0, outcome.text
    assert set(cells_of(url, experiment).values()) == {2}  # both were made, and both are kept
    for project in (here, there):
        assert 3 <= len(project.runs(experiment)) <= 6  # and what of the other's was there in time
        assert "0/3" in rows(project.run("--leaderboard").text)["v1"]
        assert len(project.runs(experiment)) == 6


def test_resume_takes_the_cells_of_another_machine(
    machine: Callable[[str], Project], url: str, experiment: str
) -> None:
    here, there = machine("here"), machine("there")
    assert here.run(*matrix("v1")).code == 0
    outcome = there.run(*matrix("v1", "v2-mentor"), "--resume")
    assert outcome.code == 0, outcome.text
    assert "resume: 3 cells from the store, 3 generated" in outcome.text
    assert set(cells_of(url, experiment).values()) == {1}
    assert len(cells_of(url, experiment)) == 6
