"""Every command of the pages that need no MLflow server and no weights, run word by word."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import KNOWN_SCORES, MAYA, REPOSITORY, known_score, known_tip
from tests.documents import Document, documents, run_commands
from tests.integration.documents import RUN_THERE
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project

JUDGING = Document("docs/judging.md")
BY_AGENT = Document("docs/judging-by-agent.md")
REPORTS = Document("docs/reports.md")
RUN_HERE = (JUDGING, BY_AGENT, REPORTS)


def test_every_page_with_a_command_is_run_by_a_test() -> None:
    assert {page.path for page in documents()} == {page.path for page in (*RUN_HERE, *RUN_THERE)}


def test_what_needs_ollama_says_so() -> None:
    for page in documents():
        for command in page.commands:
            if ("qwen" in command or "llama3" in command) and "replay/" not in command:
                assert command.endswith("# needs Ollama"), f"{page.path}: {command}"


def test_the_pages_make_a_site_without_a_broken_link(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert (tmp_path / "site/first-evaluation/index.html").is_file()


def test_judging(project: Project) -> None:
    pending = {("v1", scenario): [f"Begin early in {scenario}."] for scenario in MAYA}
    project.write_replay("known.jsonl", pending)
    project.write_configuration(tipbench_models="replay/known.jsonl", tipbench_n_tips="1")
    assert project.run("evals", "--prompts", "v1", "--scenarios", "maya-*").code == 0

    def fill_in() -> None:
        # What the page saves is the sheet with scores; tests/integration drives the page itself.
        for judge, name in (("ada", "scores-ada.json"), ("bob", "scores-bob.json")):
            project.judge(project.export(name=name), 4, judge)
        downloads = project.root / "Downloads"
        downloads.mkdir()
        project.judge(project.export(name="Downloads/scores-tip-bench.json"), 3, "cy")

    printed = run_commands(
        JUDGING,
        project.root,
        project.environment | {"HOME": str(project.root)},
        before={"pytest --judge-apply ~/Downloads": fill_in},
    )
    assert len(printed) == len(JUDGING.commands)
    assert (project.root / "sheet.html").is_file()
    assert {each.judge for each in project.judgements()} == {"ada", "bob", "cy"}


def test_judging_by_an_agent_and_gating_in_ci(project: Project) -> None:
    project.write_replay("known.jsonl", {cell: [known_tip(*cell)] for cell in KNOWN_SCORES})
    project.write_configuration(
        tipbench_models="replay/known.jsonl",
        tipbench_n_tips="1",
        tipbench_scenarios="maya-morning-deadline",
        tipbench_prompts="v1",
    )
    assert project.run("evals").code == 0

    def judge_for_ci() -> None:
        project.judge(project.root / "sheet.json")

    def forget() -> None:  # CI begins with a fresh ledger
        shutil.rmtree(project.root / ".tipbench")

    with OllamaDouble() as ollama:
        printed = run_commands(
            BY_AGENT,
            project.root,
            project.environment | {"HOME": str(project.root), "OLLAMA_HOST": ollama.url},
            instead={"--tracking-uri https://mlflow.example ": "--offline "},
            before={
                "pytest --judge-apply": lambda: project.judge(
                    project.root / "judging/sheet.json", known_score, "agent"
                ),
                "mv sheet.json": judge_for_ci,
                "pytest evals --models replay/": forget,
            },
        )
    assert len(printed) == len(BY_AGENT.commands)
    gated = printed[BY_AGENT.commands[-1]]
    assert "PASS" in gated
    assert "judged by ada" in gated


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq on the PATH")
def test_reports(judged_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_project.write_configuration(tipbench_prompts="v1,v2-mentor", tipbench_scenarios="maya-*")
    printed = run_commands(
        REPORTS,
        judged_project.root,
        judged_project.environment,
        exit_codes={"pytest evals/ --min-composite 3": (1,)},  # row v2-mentor has 2
    )
    rows, failed = (printed[command] for command in REPORTS.commands[-2:])
    assert [line.split("\t")[1:] for line in rows.splitlines()] == [
        ["replay/known.jsonl", "v1", "4"],
        ["replay/known.jsonl", "v2-mentor", "2"],
    ]
    assert failed == "0\n"
    assert "| " in (judged_project.root / "summary.md").read_text(encoding="utf-8")

    schema, table = REPORTS.programs
    monkeypatch.chdir(judged_project.root)
    known: dict[str, object] = {}
    exec(schema + "found = report_schema()", known)
    shipped = REPOSITORY / "pytest_tipbench/reports/tipbench-report-1.schema.json"
    assert known["found"] == json.loads(shipped.read_text(encoding="utf-8"))
    assert judged_project.run("--leaderboard", "--tipbench-report", "board.csv").code == 0
    exec(table + "found = by_tip['composite'].mean().mean()", known)
    assert known["found"] == pytest.approx(3.0)
