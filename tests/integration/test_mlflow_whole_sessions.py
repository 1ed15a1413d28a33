"""Whole sessions against a server as plain ``mlflow server`` starts it, and what its UI shows."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.acceptance.conftest import KNOWN_SCORES, known_score, known_tip, make_project
from tests.integration import mlflow_reader
from tests.integration.mlflow_server import mlflow_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from tests.acceptance.conftest import Project

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs the extra `mlflow`"
)
pytest_plugins = ["tests.integration.browser"]

CELLS = {f"replay/known.jsonl-{prompt}-{scenario}" for prompt, scenario in KNOWN_SCORES}
DEFAULT_WORKERS = 4
UI_MILLISECONDS = 60_000


@dataclass(frozen=True)
class Judged:
    """A server with one session and one judging on it."""

    url: str
    log: Path
    project: Project
    runs_page: str
    """Where the session said that its runs are seen."""
    runs: tuple[dict[str, Any], ...]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [run for run in self.runs if run["tags"].get("tipbench.kind") == kind]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    project = make_project(tmp_path_factory.mktemp("user"), tmp_path_factory.mktemp("home"))
    project.write_replay("known.jsonl", {cell: [known_tip(*cell)] for cell in KNOWN_SCORES})
    folder = tmp_path_factory.mktemp("server")
    with mlflow_server(folder, workers=None) as url:
        project.write_configuration(
            tipbench_models="replay/known.jsonl", tipbench_n_tips="1", tipbench_tracking_uri=url
        )
        rows = ("--prompts", "v1,v2-mentor", "--scenarios", "maya-*")
        outcome = project.run("evals", *rows, "--judge-export", "scores.json")
        assert outcome.code == 0, outcome.text
        runs_page = re.search(r"^see the runs: (.+)$", outcome.text, re.MULTILINE)
        assert runs_page is not None, outcome.text
        sheet = project.judge(project.root / "scores.json", known_score)
        outcome = project.run("--judge-apply", str(sheet))
        assert outcome.code == 0, outcome.text
        read = subprocess.run(
            [sys.executable, mlflow_reader.__file__, url, "tip-bench"],
            capture_output=True,
            check=True,
        )
        yield Judged(url, folder / "log", project, runs_page[1], tuple(json.loads(read.stdout)))


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with chromium.new_context(viewport={"width": 1600, "height": 1000}) as context:
        made = context.new_page()
        made.set_default_timeout(UI_MILLISECONDS)
        yield made


def test_the_server_has_its_default_number_of_workers(judged: Judged) -> None:
    log = judged.log.read_text(encoding="utf-8", errors="replace")
    assert log.count("Started server process") == DEFAULT_WORKERS


def test_each_cell_is_there_once_and_judged(judged: Judged) -> None:
    cells = judged.of_kind("cell")
    assert sorted(run["name"] for run in cells) == sorted(CELLS)
    assert {run["status"] for run in cells} == {"FINISHED"}
    for run in cells:
        expected = KNOWN_SCORES[run["params"]["prompt_version"], run["params"]["scenario"]]
        assert run["metrics"]["composite"] == pytest.approx(expected)
        assert run["tags"]["judge_pending"] == "false"
    assert len(judged.of_kind("judging")) == 1


def test_cells_hang_under_one_finished_session_with_its_board(judged: Judged) -> None:
    (session,) = judged.of_kind("session")
    assert session["status"] == "FINISHED"
    parents = {run["tags"]["mlflow.parentRunId"] for run in judged.of_kind("cell")}
    assert parents == {session["run_id"]}
    assert "2 rows, 3 scenarios" in session["artifacts"]["board.txt"]
    for prompt in ("v1", "v2-mentor"):
        assert session["metrics"][f"replay/known.jsonl/{prompt}/usable_rate"] == 1
        assert session["metrics"][f"replay/known.jsonl/{prompt}/cells"] == 3


def test_another_machine_sees_the_same_board(judged: Judged, tmp_path: Path) -> None:
    board = judged.project.run("--leaderboard", "--ledger", str(tmp_path / "other.db"))
    assert board.code == 0, board.text
    assert "4.00 ±2.48" in board.text
    assert "2.00 ±2.48" in board.text
    assert "judged by ada" in board.text


def test_the_ui_lists_the_session_with_its_cells_under_it(
    judged: Judged, page: Page, tmp_path: Path
) -> None:
    (session,) = judged.of_kind("session")
    page.goto(judged.runs_page)
    row = page.get_by_role("row").filter(has_text=session["name"])
    expect(row).to_be_visible(timeout=UI_MILLISECONDS)
    a_cell = page.get_by_text(sorted(CELLS)[0])
    expect(a_cell).to_have_count(0)
    row.get_by_role("button").first.click()
    expect(a_cell.first).to_be_visible(timeout=UI_MILLISECONDS)
    page.screenshot(path=tmp_path / "runs.png")


def test_the_ui_finds_them_by_its_own_menu(judged: Judged, page: Page, tmp_path: Path) -> None:
    (session,) = judged.of_kind("session")
    # Some pages greet a new user with an introduction that takes every click.
    page.add_locator_handler(page.get_by_role("button", name="Got it"), lambda got: got.click())
    page.goto(f"{judged.url}/#/experiments")
    page.get_by_role("link", name="tip-bench", exact=True).click()
    page.get_by_role("link", name="Evaluation runs").click()
    row = page.get_by_role("row").filter(has_text=session["name"])
    expect(row).to_be_visible()
    for name in CELLS:
        expect(page.get_by_role("row").filter(has_text=name)).to_be_visible()
    page.screenshot(path=tmp_path / "evaluation_runs.png")
    row.get_by_role("button").first.click()
    for name in CELLS:
        expect(page.get_by_role("row").filter(has_text=name)).to_have_count(0)
    expect(row).to_be_visible()


def test_the_ui_shows_the_sessions_children_metrics_and_board(
    judged: Judged, page: Page, tmp_path: Path
) -> None:
    (session,) = judged.of_kind("session")
    address = f"{judged.url}/#/experiments/1/runs/{session['run_id']}"
    page.set_viewport_size({"width": 1600, "height": 1800})
    page.goto(address)
    for name in CELLS:
        expect(page.get_by_role("link", name=name, exact=True)).to_be_in_viewport()
    for prompt in ("v1", "v2-mentor"):
        for column, value in (("usable_rate", "1"), ("median_latency_seconds", "0.5")):
            metric = f"replay/known.jsonl/{prompt}/{column}"
            row = page.get_by_role("row").filter(has=page.get_by_text(metric, exact=True))
            expect(row).to_have_text(metric + value)
            expect(row).to_be_in_viewport()
    page.screenshot(path=tmp_path / "session.png")
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.goto(f"{address}/artifacts")
    page.get_by_text("board.txt").first.click()
    expect(page.get_by_text("2 rows, 3 scenarios").first).to_be_visible(timeout=UI_MILLISECONDS)
    page.screenshot(path=tmp_path / "board.png")
