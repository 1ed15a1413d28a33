"""From nothing to a judged board on real weights, read back through MLflow's own Python client."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.store.embedded import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project

READ_WITH_MLFLOW = """
import json, sys
from mlflow import MlflowClient

client = MlflowClient(sys.argv[1])
experiment = client.get_experiment_by_name("tip-bench")
found = []
for run in client.search_runs([experiment.experiment_id]):
    texts = {}
    for info in client.list_artifacts(run.info.run_id):
        path = client.download_artifacts(run.info.run_id, info.path, sys.argv[2])
        texts[info.path] = open(path, encoding="utf-8").read()
    found.append({
        "name": run.info.run_name, "status": run.info.status, "params": run.data.params,
        "metrics": run.data.metrics, "tags": run.data.tags, "texts": texts,
    })
print(json.dumps(found))
"""


def read_with_mlflow(root: Path, folder: Path) -> list[dict[str, Any]]:
    server = EmbeddedServer(root)
    server.start()
    try:
        url = server.wait_ready()
        folder.mkdir()
        answer = subprocess.run(
            [sys.executable, "-c", READ_WITH_MLFLOW, url, str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        server.stop()
    found: list[dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def of_kind(runs: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [run for run in runs if run["tags"].get("tipbench.kind") == kind]


def test_from_nothing_to_a_judged_board(project: Project, tmp_path: Path) -> None:
    project.write_configuration(
        tipbench_models="llamacpp/gemma3-270m", tipbench_tracking_uri="embedded"
    )

    outcome = project.run("evals", "--prompts", "v1,v3-few-shot", "--scenarios", "maya-*")
    # The floor of the leaderboard may well fail a cell; a machine's fault would be an ERROR.
    assert outcome.code in (0, 1), outcome.text
    assert "error" not in outcome.counts
    assert "PROBLEM" not in outcome.text
    assert "next: " in outcome.text
    runs = project.runs()
    assert len(runs) == 2 * 3
    assert all(run.is_measured for run in runs)
    assert all(run.completion is not None and run.completion.text for run in runs)

    before = of_kind(read_with_mlflow(project.root, tmp_path / "before"), "cell")
    assert {run["name"] for run in before} == {run.cell.id for run in runs}
    by_name = {run["name"]: run for run in before}
    for record in runs:
        run = by_name[record.cell.id]
        assert run["status"] == "FINISHED"
        assert run["params"]["model"] == "llamacpp/gemma3-270m"
        assert run["params"]["parameter_count"] == "268098176"
        assert run["params"]["scenario"] == record.cell.scenario
        assert run["params"]["prompt_version"] == record.cell.prompt_version
        assert record.completion is not None
        assert run["metrics"]["latency_seconds"] == record.completion.latency_seconds
        assert run["metrics"]["tip_count"] == len(record.tips)
        assert run["tags"]["judge_pending"] == ("true" if record.tips else "false")
        assert run["texts"]["raw.txt"] == record.completion.text
        assert record.prompt.user in run["texts"]["prompt.txt"]
        assert json.loads(run["texts"]["candidates.json"])["tips"] == list(record.tips)

    sheet = project.root / "scores.json"
    assert project.run("--judge-export", "scores.json").code == 0
    text = sheet.read_text(encoding="utf-8")
    assert "gemma" not in text
    assert "few-shot" not in text
    project.judge(sheet, score=4)
    applied = project.run("--judge-apply", "scores.json")
    assert applied.code == 0, applied.text
    assert "PROBLEM" not in applied.text

    after = of_kind(read_with_mlflow(project.root, tmp_path / "after"), "cell")
    by_name = {run["name"]: run for run in after}
    for record in runs:
        run = by_name[record.cell.id]
        # Each of the usable tips scored 4 (an anchor's text is never a real tip's), each missing
        # one 1, on every criterion; the composite is their weighted mean, so the same number.
        expected = (4 * len(record.tips) + 1 * (5 - len(record.tips))) / 5
        for name in ("relevance", "actionability", "tone", "composite"):
            assert run["metrics"][name] == pytest.approx(expected)
        assert run["tags"]["judge_pending"] == "false"
    assert len(of_kind(read_with_mlflow(project.root, tmp_path / "again"), "judging")) == 1

    board = project.run("--leaderboard")
    assert board.code == 0
    assert table_of(board.text) == table_of(applied.text)
    gated = project.run("--leaderboard", "--min-composite", "4.5")
    assert gated.code == 1
    assert "llamacpp/gemma3-270m × v1" in gated.text


def table_of(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("tier"))
    return lines[start : start + 4]
