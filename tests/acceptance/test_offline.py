from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import NOBODY, ONE_CELL

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project


@pytest.mark.parametrize("uri", [NOBODY, "embedded"])
def test_the_ledger_alone_is_used_although_a_uri_is_set(either_way: Project, uri: str) -> None:
    outcome = either_way.run("evals", *ONE_CELL, "--tracking-uri", uri, "--offline")
    assert outcome.code == 0, outcome.text
    assert len(either_way.runs()) == 1
    assert "MLflow" not in outcome.text
    assert not (either_way.root / "mlflow.db").exists()


def test_a_uri_of_the_environment_is_left_alone_too(ollama_project: Project) -> None:
    outcome = ollama_project.run(
        "evals", *ONE_CELL, "--offline", environment={"MLFLOW_TRACKING_URI": NOBODY}
    )
    assert outcome.code == 0, outcome.text


def test_the_ini_twin(judged_project: Project) -> None:
    judged_project.write_configuration(tipbench_offline="true", tipbench_tracking_uri=NOBODY)
    outcome = judged_project.run("--leaderboard")
    assert outcome.code == 0, outcome.text
    assert "not up to date" not in outcome.text
    assert "4.00" in outcome.text


def test_delivering_offline_makes_no_sense(judged_project: Project) -> None:
    outcome = judged_project.run("--tracking-sync", "--tracking-uri", NOBODY, "--offline")
    outcome.assert_mistake("--tracking-sync", "--offline")
