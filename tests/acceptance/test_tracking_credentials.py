"""Against MLflow's own login: what gets in, what does not, and that nobody reads a password."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.conftest import ONE_CELL
from tests.integration.mlflow_server import mlflow_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("flask_wtf") is None,
    reason="needs the extra `auth` of mlflow",
)

USER, PASSWORD = "zoe", "hunter2 @:/%"
"""ASCII: MLflow's own login refuses anything else where it serves artifacts."""
QUOTED_PASSWORD = "hunter2%20%40%3A%2F%25"
ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


def variables(user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lets in one user, by MLflow's own login."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        "database_uri = sqlite:///auth.db\n"
        f"admin_username = {USER}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for these tests",
    }
    with mlflow_server(folder, "--app-name", "basic-auth", variables=environment) as served:
        yield served


def cells_over_there(url: str, run_id: str) -> int:
    query = {"experiment_ids": ["1"], "filter": f"tags.`tipbench.run_id` = '{run_id}'"}
    with httpx.Client(trust_env=False, timeout=60, auth=(USER, PASSWORD)) as client:
        answer = client.post(f"{url}/api/2.0/mlflow/runs/search", json=query)
    assert answer.status_code == 200, answer.text
    return len(answer.json().get("runs", []))


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (variables(password="hunter3"), "refused the credentials of MLFLOW_TRACKING_USERNAME and"),
        (variables(user="nobody"), "refused the credentials of MLFLOW_TRACKING_USERNAME and"),
        ({}, "wants credentials"),
        ({"MLFLOW_TRACKING_TOKEN": "t0k3n"}, "refused the credentials of MLFLOW_TRACKING_TOKEN"),
    ],
    ids=["wrong password", "wrong user", "none", "token"],
)
def test_what_does_not_get_in_is_explained_before_the_first_cell(
    ollama_project: Project,
    ollama: OllamaDouble,
    url: str,
    environment: dict[str, str],
    said: str,
) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--tracking-uri", url, environment=ONE_TRY | environment
    )
    outcome.assert_mistake(
        f"MLflow at {url} {said}",
        "(401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_",
    )
    for secret in ("hunter3", "t0k3n"):
        assert secret not in outcome.text
    assert ollama.completions() == []


def test_the_right_password_gets_in(ollama_project: Project, url: str) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--tracking-uri", url, environment=ONE_TRY | variables()
    )
    assert outcome.code == 0, outcome.text
    assert {cells_over_there(url, record.run_id) for record in ollama_project.runs()} == {1}


def test_a_password_in_the_address_gets_in_and_is_never_shown(
    ollama_project: Project, url: str
) -> None:
    """Not in the commands either that go on from here, which need the variables instead."""
    address = url.replace("//", f"//{USER}:{QUOTED_PASSWORD}@")
    told: list[str] = []
    for words in (("evals", *ONE_CELL), ("--leaderboard",), ("--judge-export", "s.json")):
        outcome = ollama_project.run(*words, "--tracking-uri", address, environment=ONE_TRY)
        assert outcome.code == 0, outcome.text
        told.append(outcome.text)
    for text in told:
        assert f"--tracking-uri {url}" in text  # of "next: …", then of "score, then: …"
        assert "hunter2" not in text
    assert {cells_over_there(url, record.run_id) for record in ollama_project.runs()} == {1}


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (
            (),
            {"MLFLOW_TRACKING_TOKEN": "hun\nter2"},
            "MLFLOW_TRACKING_TOKEN: it holds a line break",
        ),
        (
            ("--tracking-host-header", "foo\nbar"),
            {},
            r"--tracking-host-header 'foo\nbar': expected HOST or HOST:PORT",
        ),
    ],
)
def test_what_no_header_can_hold_is_the_users_mistake_and_not_the_servers(
    ollama_project: Project,
    url: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    said: str,
) -> None:
    for words in (("evals", *ONE_CELL), ("--leaderboard",)):
        outcome = ollama_project.run(
            *words, "--tracking-uri", url, *arguments, environment=environment
        )
        outcome.assert_mistake(said)
        assert "hun" not in outcome.text
        assert "does not answer" not in outcome.text
