"""Every command of the pages that need weights or an MLflow server, run word by word."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.acceptance.conftest import MAYA, REPOSITORY, known_tip
from tests.documents import run_commands
from tests.integration import serve_briefly
from tests.integration.documents import FIRST_EVALUATION, MLFLOW, README
from tests.integration.mlflow_server import mlflow_server
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project

HERE_ALREADY = {
    "python3 -m venv .venv && . .venv/bin/activate": "true",
    "pip install -e '.[llamacpp,mlflow]' && ": "",
}
"""The environment that these tests run in has been made and filled by the README's test command."""

FLOOR_EXIT_CODES = {
    "pip install -e '.[llamacpp,mlflow]' && pytest evals/": (0, 1),
    "pytest --leaderboard --min-composite 3.5": (1,),
}
"""What a processor's arithmetic decides: the floor of the leaderboard may fail a cell, or none."""


@pytest.fixture
def real(project: Project) -> Project:
    """A project as this repository is configured, but of two scenarios: cells take seconds each."""
    project.write_configuration(
        tipbench_models="llamacpp/gemma3-270m",
        tipbench_tracking_uri="embedded",
        tipbench_scenarios="maya-m*,zoe-midday*",
    )
    project.environment["HOME"] = str(project.root)
    return project


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def no_error_in(printed: dict[str, str]) -> None:
    """An ERROR is a machine's fault; a failed item is the model's own."""
    for text in printed.values():
        assert "ERROR evals/" not in text, text


def brief(url: str) -> str:
    return f"{sys.executable} {serve_briefly.__file__} {url}"


def test_the_readme(real: Project) -> None:
    tests = "pip install -e '.[dev]' && pytest tests/"
    assert "pip install --quiet --disable-pip-version-check -e '.[dev]'" in (
        REPOSITORY / ".ci/run"
    ).read_text(encoding="utf-8")

    with OllamaDouble(("qwen2.5:0.5b", "llama3.2:3b")) as ollama:
        printed = run_commands(
            README,
            real.root,
            real.environment | {"OLLAMA_HOST": ollama.url},
            instead={**HERE_ALREADY, tests: "true"},
            before={
                "pytest --judge-apply": lambda: real.judge(real.root / "scores.json", 3),
            },
            exit_codes=FLOOR_EXIT_CODES,
        )
    no_error_in(printed)
    board = printed["pytest --leaderboard                  # the same board again, next month too"]
    assert "judged by ada" in board
    assert len(printed) == len(README.commands)


def test_the_first_evaluation(real: Project) -> None:
    def judge_in_the_browser() -> None:
        # tests/integration/test_judge_page_browser.py drives the page itself.
        downloads = real.root / "Downloads"
        downloads.mkdir()
        real.judge(real.export(name="Downloads/scores-tip-bench.json"), 3)

    with OllamaDouble(("qwen2.5:0.5b", "llama3.2:3b")) as ollama:
        url = f"http://127.0.0.1:{free_port()}"
        printed = run_commands(
            FIRST_EVALUATION,
            real.root,
            real.environment | {"OLLAMA_HOST": ollama.url},
            instead={**HERE_ALREADY, "mlflow ui": f"{brief(url)} mlflow ui --port {url[17:]}"},
            before={"pytest --judge-apply": judge_in_the_browser},
            exit_codes={**FLOOR_EXIT_CODES, "pytest evals/ --prompts v4-short": (0, 1)},
        )
    no_error_in(printed)
    assert len(printed) == len(FIRST_EVALUATION.commands)
    assert (real.root / "board.html").is_file()


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on the PATH")
def test_mlflow(project: Project, tmp_path: Path) -> None:
    project.write_replay("known.jsonl", {("v1", name): [known_tip("v1", name)] for name in MAYA})
    project.write_configuration(
        tipbench_models="replay/known.jsonl",
        tipbench_n_tips="1",
        tipbench_scenarios="maya-*",
        tipbench_prompts="v1",
    )
    folder = tmp_path / "server"
    folder.mkdir()
    team = tmp_path / "team"
    team.mkdir()
    ui, server = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    with mlflow_server(folder) as url:
        instead = {
            "http://127.0.0.1:5000": url,
            "$URL": url,
            "RUN_ID": "told by the search before",
            "cd PROJECT && mlflow ui": f"{brief(ui)} mlflow ui --port {ui[17:]}",
            "mlflow server --host 0.0.0.0 --port 5000": (
                f"{brief(server)} mlflow server --host 127.0.0.1 --port {server[17:]}"
            ),
            "/srv/mlflow": str(team),
            "pytest --tracking-sync": f"pytest --tracking-sync --tracking-uri {url}",
        }

        def read_the_search() -> None:
            (cell, *_) = httpx.post(
                f"{url}/api/2.0/mlflow/runs/search",
                json={"experiment_ids": ["1"], "filter": "tags.`tipbench.kind` = 'cell'"},
                trust_env=False,
            ).json()["runs"]
            instead["RUN_ID"] = cell["info"]["run_id"]

        printed = run_commands(
            MLFLOW,
            project.root,
            project.environment,
            instead=instead,
            before={'curl -s "$URL/get-artifact': read_the_search},
        )
    experiment, found, artifact = (
        next(text for command, text in printed.items() if part in command)
        for part in ("get-by-name", "runs/search", "get-artifact")
    )
    assert json.loads(experiment)["experiment"]["name"] == "tip-bench"
    assert json.loads(found) == {}  # nothing is judged yet
    assert json.loads(artifact)["cell"]["prompt_version"] == "v1"
