from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

ONE_TRY = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.mark.parametrize(
    "uri", ["ftp://127.0.0.1", "sqlite:///mlflow.db", "./mlruns", "http://", "embeded"]
)
def test_what_is_no_uri_is_exit_code_4_before_any_item(
    ollama_project: Project, ollama: OllamaDouble, uri: str
) -> None:
    ollama_project.run("evals", *ONE_CELL, "--tracking-uri", uri).assert_mistake(uri)
    assert ollama.completions() == []


def test_unreachable_is_exit_code_4_before_the_first_cell(
    either_way: Project, ollama: OllamaDouble
) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--tracking-uri", NOBODY, environment=ONE_TRY)
    outcome.assert_mistake(NOBODY, "--offline")
    assert ollama.completions() == []


def test_the_environment_names_the_server(ollama_project: Project, ollama: OllamaDouble) -> None:
    environment = ONE_TRY | {"MLFLOW_TRACKING_URI": NOBODY}
    ollama_project.run("evals", *ONE_CELL, environment=environment).assert_mistake(NOBODY)
    assert ollama.completions() == []


def test_reading_commands_go_on_and_say_as_of_when(judged_project: Project) -> None:
    outcome = judged_project.run("--leaderboard", "--tracking-uri", NOBODY, environment=ONE_TRY)
    assert outcome.code == 0, outcome.text
    assert "not up to date with MLflow (as of: never pulled)" in outcome.words
    assert NOBODY in outcome.text
    assert "4.00" in outcome.text


def test_an_export_goes_on(generated_project: Project) -> None:
    outcome = generated_project.run(
        "--judge-export", "s.json", "--tracking-uri", NOBODY, environment=ONE_TRY
    )
    assert outcome.code == 0, outcome.text
    assert (generated_project.root / "s.json").exists()


def test_an_apply_is_kept_and_what_is_undelivered_is_said(generated_project: Project) -> None:
    sheet = generated_project.judge(generated_project.export())
    outcome = generated_project.run(
        f"--judge-apply={sheet}", "--tracking-uri", NOBODY, environment=ONE_TRY
    )
    assert outcome.code == 1, outcome.text
    assert len(generated_project.judgements()) == 6
    assert "pytest --tracking-sync" in outcome.words


def test_delivering_to_nobody_is_a_mistake_and_needs_a_uri(judged_project: Project) -> None:
    judged_project.run("--tracking-sync").assert_mistake("--tracking-sync", "--tracking-uri")
    outcome = judged_project.run("--tracking-sync", "--tracking-uri", NOBODY, environment=ONE_TRY)
    assert outcome.code in (1, 4), outcome.text
    assert NOBODY in outcome.text
    assert len(judged_project.judgements()) == 6
