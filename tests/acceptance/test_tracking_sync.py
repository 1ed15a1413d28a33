"""What was kept without MLflow reaches it later, whole and once; with it, runs hang together."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import KNOWN_SCORES, known_tip
from tests.fault_proxy import FaultProxy
from tests.integration.mlflow_server import mlflow_server, proxied
from tests.tracked_runs import artifact, artifact_names, has_experiment, of_kind, runs_of
from tests.unit.mlflow_stub import Reply, Request, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble
    from tests.tracked_runs import Json

CELLS = ("--prompts", "v1,v2-mentor", "--scenarios", "maya-*")
CRITERIA = ("relevance", "actionability", "tone")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def tracked(judged_project: Project, url: str, request: pytest.FixtureRequest) -> Project:
    """Six judged cells that MLflow knows nothing of, under an experiment of this test's own."""
    name = request.node.name
    judged_project.write_configuration(
        tipbench_tracking_uri=url, tipbench_experiment=f"sync {name}"
    )
    with contextlib.closing(sqlite3.connect(judged_project.ledger_path)) as connection:
        # The cells were made under another name; the ledger has no command that renames.
        for table in ("runs", "sessions", "applies"):
            connection.execute(
                f"UPDATE {table} SET experiment = ?, record = json_set(record, '$.experiment', ?)",
                (f"sync {name}",) * 2,
            )
        connection.commit()
    return judged_project


def experiment_of(project: Project) -> str:
    return project.ini["tipbench_experiment"]


def assert_known_scores(cells: list[Json]) -> None:
    """As ``KNOWN_SCORES`` has them: one tip of one asked for, the same on every criterion."""
    assert len(cells) == len(KNOWN_SCORES)
    for cell in cells:
        place = (cell["params"]["prompt_version"], cell["params"]["scenario"])
        for name in (*CRITERIA, "composite"):
            assert cell["metrics"][name] == pytest.approx(KNOWN_SCORES[place])
        assert cell["tags"]["judge_pending"] == "false"
        assert cell["tags"]["judge"] == "ada"


def test_offline_then_sync(tracked: Project, url: str) -> None:
    offline = tracked.run("evals", *CELLS, "--resume", "--offline")
    assert offline.code == 0, offline.text
    assert not has_experiment(url, experiment_of(tracked))

    outcome = tracked.run("--tracking-sync")
    assert outcome.code == 0, outcome.text
    assert "MLflow took " in outcome.text
    runs = runs_of(url, experiment_of(tracked))
    assert_known_scores(of_kind(runs, "cell"))
    assert len(of_kind(runs, "session")) == 2  # the one that made them, and the one that resumed
    assert len(of_kind(runs, "judging")) == 1

    again = tracked.run("--tracking-sync")
    assert again.code == 0, again.text
    assert "MLflow took 0 records" in again.text
    assert runs_of(url, experiment_of(tracked)) == runs


def test_a_session_delivers_what_earlier_ones_kept_offline(tracked: Project, url: str) -> None:
    outcome = tracked.run("evals", *CELLS)
    assert outcome.code == 0, outcome.text
    cells = of_kind(runs_of(url, experiment_of(tracked)), "cell")
    assert len(cells) == 2 * len(KNOWN_SCORES)
    by_session: dict[str, list[Json]] = {}
    for cell in cells:
        by_session.setdefault(cell["tags"]["tipbench.session_id"], []).append(cell)
    assert [len(cells) for cells in by_session.values()] == [6, 6]
    for cells in by_session.values():  # the same tips, made again, are judged already
        assert_known_scores(cells)


def test_the_parent_run_carries_the_board_and_the_cells_hang_under_it(
    tracked: Project, url: str
) -> None:
    outcome = tracked.run("evals", *CELLS)
    assert outcome.code == 0, outcome.text
    runs = runs_of(url, experiment_of(tracked))
    parents = {run["run_id"]: run for run in of_kind(runs, "session")}
    assert {cell["tags"]["mlflow.parentRunId"] for cell in of_kind(runs, "cell")} == set(parents)
    for parent in parents.values():
        assert parent["status"] == "FINISHED"
        assert parent["name"].startswith("session 20")
        assert artifact_names(url, parent) == {"board.txt"}
        assert "mlflow.parentRunId" not in parent["tags"]
    newest = max(parents.values(), key=lambda run: run["name"])
    board = artifact(url, newest, "board.txt")
    # Means of KNOWN_SCORES: v1 (5+4+3)/3 = 4, v2-mentor (3+2+1)/3 = 2.
    for row, mean in (("v1", 4), ("v2-mentor", 2)):
        lines = [each for each in board.splitlines() if "replay/known.jsonl" in each]
        line = next(each for each in lines if f" {row} " in each)
        assert f"{mean}.00" in line
        composite = newest["metrics"][f"replay/known.jsonl/{row}/composite"]
        assert composite == pytest.approx(mean)
        assert newest["metrics"][f"replay/known.jsonl/{row}/cells"] == 3
    (cell,) = [
        run
        for run in of_kind(runs, "cell")
        if run["tags"]["mlflow.parentRunId"] == newest["run_id"]
        and run["name"].endswith("v1-maya-morning-deadline")
    ]
    assert known_tip("v1", "maya-morning-deadline") in artifact(url, cell, "candidates.json")
    assert artifact_names(url, cell) == {"candidates.json", "prompt.txt", "raw.txt", "scores.json"}


def test_a_server_on_the_command_line_is_in_the_command_that_mends(
    generated_project: Project, url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is undelivered is counted, and the words to deliver it can be pasted."""
    sheet = generated_project.judge(generated_project.export())
    with FaultProxy(url) as proxy:
        proxy.go_away()
        outcome = generated_project.run(
            "--judge-apply",
            sheet.name,
            "--tracking-uri",
            proxy.url,
            environment={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
        )
        assert outcome.code == 1, outcome.text
        command = f"pytest --tracking-sync --tracking-uri {proxy.url}"
        assert f"deliver them with: {command}" in outcome.words
        # A session, its end, 3 cells, and a sheet; scores are due once their run is there.
        assert "MLflow lacks 6 records" in outcome.words
        proxy.come_back()
        outcome = generated_project.run(*command.split()[1:])
        assert outcome.code == 0, outcome.text
    cells = of_kind(runs_of(url), "cell")
    mine = {run.run_id for run in generated_project.runs()}
    scored = [cell for cell in cells if cell["tags"]["tipbench.run_id"] in mine]
    assert [cell["metrics"]["composite"] for cell in scored] == [pytest.approx(4.0)] * 3


def test_cells_that_come_after_their_session_bear_its_commit(
    project: Project, ollama: OllamaDouble, url: str
) -> None:
    """The parent run got through, the cells did not; their code was that of their session."""
    git = ("git", "-C", project.root, "-c", "user.name=zoe", "-c", "user.email=zoe@example.org")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "one"], check=True)
    project.environment["OLLAMA_HOST"] = ollama.url
    made = itertools.count(1)
    most = 1

    def one_run(request: Request) -> Reply | None:
        if request.path.endswith("/runs/create") and next(made) > most:
            return refused("PERMISSION_DENIED", status=403)
        return None

    with proxied(url, instead=one_run) as proxy:
        project.write_configuration(
            tipbench_models="qwen2.5:0.5b",
            tipbench_tracking_uri=proxy.url,
            tipbench_experiment="commits",
        )
        outcome = project.run("evals", "--prompts", "v1", "--scenarios", "maya-*")
        assert outcome.code == 1, outcome.text
        (parent,) = runs_of(url, "commits")
        commit = parent["tags"]["mlflow.source.git.commit"]
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "two"], check=True)
        most = 100
        outcome = project.run("--tracking-sync")
        assert outcome.code == 0, outcome.text
    cells = of_kind(runs_of(url, "commits"), "cell")
    assert [cell["tags"].get("mlflow.source.git.commit") for cell in cells] == 3 * [commit]
    assert {cell["tags"]["mlflow.parentRunId"] for cell in cells} == {parent["run_id"]}


def test_a_bearer_token_gets_in_and_a_wrong_one_is_explained(tracked: Project, url: str) -> None:
    def answer(request: Request) -> Reply | None:
        if request.headers.get("authorization") == "Bearer t0k3n":
            return None
        return Reply(401, b"<html>", {"Content-Type": "text/html"})

    with proxied(url, instead=answer) as proxy:
        tracked.write_configuration(tipbench_tracking_uri=proxy.url)
        wrong = tracked.run("evals", *CELLS, environment={"MLFLOW_TRACKING_TOKEN": "hunter2"})
        wrong.assert_mistake(
            f"MLflow at {proxy.url} refused the credentials of MLFLOW_TRACKING_TOKEN (401): set "
        )
        assert "hunter2" not in wrong.text
        assert not has_experiment(url, experiment_of(tracked))
        right = {"MLFLOW_TRACKING_TOKEN": "t0k3n"}
        outcome = tracked.run("--tracking-sync", environment=right)
        assert outcome.code == 0, outcome.text
        assert "t0k3n" not in outcome.text
    assert_known_scores(of_kind(runs_of(url, experiment_of(tracked)), "cell"))


def test_credentials_of_the_address_are_not_shown(tracked: Project, url: str) -> None:
    with_password = url.replace("http://", "http://ann:hunter2@")
    tracked.write_configuration(tipbench_tracking_uri=with_password)
    outcome = tracked.run("evals", *CELLS)
    assert outcome.code == 0, outcome.text
    assert "hunter2" not in outcome.text


def test_a_lost_ledger_comes_back_from_mlflow(tracked: Project, url: str) -> None:
    assert tracked.run("--tracking-sync").code == 0
    board = tracked.run("--leaderboard").text
    for path in tracked.ledger_path.parent.iterdir():
        path.unlink()
    outcome = tracked.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    for mean in ("4.00", "2.00"):
        assert mean in board
        assert mean in outcome.text
    # And nothing of it is made over there again.
    before = runs_of(url, experiment_of(tracked))
    assert tracked.run("--tracking-sync").code == 0
    assert len(runs_of(url, experiment_of(tracked))) == len(before)


def test_a_damaged_ledger_says_how_it_comes_back(tracked: Project) -> None:
    assert tracked.run("--tracking-sync").code == 0
    path = tracked.ledger_path
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:8192] + b"\xa5" * 8192)
    outcome = tracked.run("--tracking-sync")
    assert outcome.code == 0, outcome.text
    assert "it is kept as ledger.db.damaged-1" in outcome.words
    assert len(tracked.runs(experiment_of(tracked))) == len(KNOWN_SCORES)
    assert len(tracked.judgements()) == len(KNOWN_SCORES)


def test_the_embedded_server_gives_back_a_lost_ledger(judged_project: Project) -> None:
    judged_project.write_configuration(tipbench_tracking_uri="embedded")
    outcome = judged_project.run("--tracking-sync")
    assert outcome.code == 0, outcome.text
    for path in judged_project.ledger_path.parent.glob("ledger.db*"):
        path.unlink()
    outcome = judged_project.run("--tracking-sync")
    assert outcome.code == 0, outcome.text
    assert "MLflow took 0 records" in outcome.text
    assert len(judged_project.runs()) == len(judged_project.judgements()) == len(KNOWN_SCORES)
    board = judged_project.run("--leaderboard")
    assert "4.00" in board.text
