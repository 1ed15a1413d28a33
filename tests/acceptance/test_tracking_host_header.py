"""``--tracking-host-header``: an MLflow server that does not accept its own address."""

from __future__ import annotations

import importlib.util
import shlex
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import ONE_CELL
from tests.integration.mlflow_server import mlflow_server, proxied
from tests.tracked_runs import has_experiment, of_kind, runs_of
from tests.unit.mlflow_stub import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble
    from tests.unit.mlflow_stub import StubServer

HOST = "mlflow.example:8443"
OPTION = ("--tracking-host-header", HOST)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("needs the extra `mlflow`")
    with mlflow_server(tmp_path_factory.mktemp("server")) as served:
        yield served


@pytest.fixture
def door(url: str) -> Iterator[StubServer]:
    """What answers as MLflow's check of allowed hosts does, and lets one name in."""

    def answer(request: Request) -> Reply | None:
        if request.headers["host"] == HOST:
            return None
        return Reply(403, b"Invalid Host header - possible DNS rebinding attack detected")

    with proxied(url, instead=answer) as proxy:
        yield proxy


@pytest.fixture
def tracked(either_way: Project, door: StubServer, request: pytest.FixtureRequest) -> Project:
    """A project with an experiment of this test's own."""
    either_way.write_configuration(
        tipbench_tracking_uri=door.url, tipbench_experiment=f"host {request.node.name}"
    )
    return either_way


def cells_of(url: str, project: Project) -> int:
    return len(of_kind(runs_of(url, project.ini["tipbench_experiment"]), "cell"))


def test_without_it_the_refusal_is_explained_before_the_first_cell(
    tracked: Project, url: str, ollama: OllamaDouble
) -> None:
    outcome = tracked.run("evals", *ONE_CELL)
    outcome.assert_mistake("--allowed-hosts", "--tracking-host-header")
    assert ollama.completions() == []
    assert not has_experiment(url, tracked.ini["tipbench_experiment"])


def test_every_request_of_a_session_carries_it(
    tracked: Project, url: str, door: StubServer
) -> None:
    outcome = tracked.run("evals", *ONE_CELL, *OPTION)
    assert outcome.code == 0, outcome.text
    assert cells_of(url, tracked) == 1
    assert {request.headers["host"] for request in door.requests} == {HOST}
    assert not any("origin" in request.headers for request in door.requests)


def test_the_ini_twin_serves_every_command(tracked: Project, url: str, door: StubServer) -> None:
    tracked.write_configuration(tipbench_tracking_host_header=HOST)
    assert tracked.run("evals", *ONE_CELL, "--offline").code == 0
    assert door.requests == []
    for command in (("--tracking-sync",), ("--leaderboard",), ("--judge-export", "s.json")):
        outcome = tracked.run(*command)
        assert outcome.code == 0, outcome.text
        assert "not up to date" not in outcome.text
    assert cells_of(url, tracked) == 1
    assert {request.headers["host"] for request in door.requests} == {HOST}


def test_the_command_line_comes_before_the_ini_twin(tracked: Project, door: StubServer) -> None:
    tracked.write_configuration(tipbench_tracking_host_header="other.example")
    tracked.run("evals", *ONE_CELL).assert_mistake("--tracking-host-header")
    assert {request.headers["host"] for request in door.requests} == {"other.example"}
    assert tracked.run("evals", *ONE_CELL, *OPTION).code == 0


def test_the_next_command_that_is_offered_has_it_too(tracked: Project) -> None:
    outcome = tracked.run("evals", *ONE_CELL, *OPTION)
    assert outcome.code == 0, outcome.text
    assert shlex.join(OPTION) in outcome.words[outcome.words.index("--judge-export") :]


def test_a_reading_command_that_is_refused_goes_on_from_the_ledger(
    tracked: Project, door: StubServer
) -> None:
    assert tracked.run("evals", *ONE_CELL, *OPTION).code == 0
    outcome = tracked.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "not up to date with MLflow" in outcome.words
    assert "--tracking-host-header" in outcome.words


@pytest.mark.parametrize(
    "value",
    ["http://mlflow.example", "mlflow.example/path", "a b", "user@host", "foo\nbar"],
)
def test_what_is_no_host_is_a_mistake_and_nothing_is_sent(
    tracked: Project, ollama: OllamaDouble, door: StubServer, value: str
) -> None:
    for words in (("evals", *ONE_CELL), ("--leaderboard",)):
        outcome = tracked.run(*words, "--tracking-host-header", value)
        outcome.assert_mistake("--tracking-host-header", "expected HOST or HOST:PORT")
    assert ollama.completions() == []
    assert door.requests == []


def test_an_empty_one_is_a_mistake(ollama_project: Project) -> None:
    outcome = ollama_project.run("evals", *ONE_CELL, "--tracking-host-header", " ")
    outcome.assert_mistake("--tracking-host-header", "expected a text, got an empty one")
