"""Installed is not switched on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project

STRANGER = """
import sys

def pytest_addoption(parser):
    parser.addoption("--models", default="theirs", help="the stranger's own")
    parser.addoption("--seed", type=int, default=7)

def pytest_sessionfinish(session):
    heavy = ["httpx", "pydantic", "numpy", "scipy", "jinja2", "pytest_tipbench.plugin",
             "pytest_tipbench.store.ledger"]
    print("imported:", [name for name in heavy if name in sys.modules])
"""
STRANGERS_TEST = """
def test_own(request):
    assert request.config.getoption("--models") == "mine"
    assert request.config.getoption("--seed") == 7
"""


@dataclass
class Stranger:
    """An unrelated project in the same environment."""

    root: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> Outcome:
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout + finished.stderr)


@pytest.fixture
def stranger(tmp_path: Path, project: Project) -> Stranger:
    root = tmp_path / "stranger"
    root.mkdir()
    # pytest-randomly imports numpy by itself.
    (root / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly\n", encoding="utf-8")
    return Stranger(root, project.environment)


@pytest.mark.parametrize("arguments", [(), ("-W", "error"), ("-n", "2"), ("-W", "error", "-n2")])
def test_a_stranger_is_free_to_use_our_names_and_imports_nothing(
    stranger: Stranger, arguments: tuple[str, ...]
) -> None:
    (stranger.root / "conftest.py").write_text(STRANGER, encoding="utf-8")
    (stranger.root / "test_own.py").write_text(STRANGERS_TEST, encoding="utf-8")
    outcome = stranger.run("--models", "mine", "-s", *arguments)
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert "imported: []" in outcome.text
    assert "tipbench " not in outcome.text.replace("tipbench-", "")
    assert not (stranger.root / ".tipbench").exists()


def test_a_stranger_sees_no_option_of_ours(stranger: Stranger) -> None:
    outcome = stranger.run("--help")
    assert outcome.code == 0
    assert "--judge-export" not in outcome.text
    assert "--ollama-host" not in outcome.text
    refused = stranger.run("--models", "qwen2.5:0.5b")
    assert refused.code == 4
    assert "unrecognized arguments" in refused.text


def test_a_comment_or_another_section_switches_nothing_on(stranger: Stranger) -> None:
    (stranger.root / "pytest.ini").unlink()
    (stranger.root / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\n# tipbench_models = "x"\nminversion = "8"\n'
        '[tool.other]\ntipbench_models = "x"\n',
        encoding="utf-8",
    )
    assert "--judge-export" not in stranger.run("--help").text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\ntipbench_seed = 1\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntipbench_seed = 1\n"),
        ("pyproject.toml", "[tool.pytest]\ntipbench_seed = 1\n"),
        ("pytest.toml", "[pytest]\ntipbench_seed = 1\n"),
        ("tox.ini", "[pytest]\ntipbench_seed = 1\n"),
        ("setup.cfg", "[tool:pytest]\ntipbench_seed = 1\n"),
    ],
)
def test_any_key_of_ours_switches_the_bench_on(stranger: Stranger, name: str, text: str) -> None:
    (stranger.root / "pytest.ini").unlink()
    (stranger.root / name).write_text(text, encoding="utf-8")
    outcome = stranger.run("--help")
    assert outcome.code == 0, outcome.text
    assert "--judge-export" in outcome.text


@pytest.mark.parametrize("name", ["pytest_tipbench", "pytest_tipbench.plugin", "tipbench"])
def test_p_switches_the_bench_on(stranger: Stranger, name: str) -> None:
    outcome = stranger.run("-p", name, "--help")
    assert outcome.code == 0, outcome.text
    assert "--judge-export" in outcome.text


@pytest.mark.parametrize("name", ["pytest_tipbench", "pytest_tipbench.plugin"])
def test_pytest_plugins_switches_the_bench_on(stranger: Stranger, name: str) -> None:
    (stranger.root / "conftest.py").write_text(f'pytest_plugins = ["{name}"]\n', encoding="utf-8")
    outcome = stranger.run("--help")
    assert outcome.code == 0, outcome.text
    assert "--judge-export" in outcome.text


def test_p_runs_cells_once_where_a_key_switches_on_too(
    ollama_project: Project,
) -> None:
    outcome = ollama_project.run(
        *("evals", "--prompts", "v1", "--scenarios", "maya-morning-deadline"),
        *("-p", "pytest_tipbench", "-W", "error"),
    )
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert len(ollama_project.runs()) == 1


def test_a_command_of_ours_switches_the_bench_on(stranger: Stranger) -> None:
    """It is ours, so it says what it lacks rather than that it is unknown."""
    outcome = stranger.run("--leaderboard")
    assert outcome.code in (0, 4), outcome.text
    assert "unrecognized arguments" not in outcome.text
    assert "Traceback" not in outcome.text


def test_no_tipbench_leaves_it_out(ollama_project: Project) -> None:
    ollama_project.addopts += " -p no:tipbench"
    ollama_project.write_configuration()
    outcome = ollama_project.run("--help", environment={"PYTHONWARNINGS": "default"})
    assert "--judge-export" not in outcome.text


def test_a_conftest_may_implement_our_hooks_while_the_bench_is_off(stranger: Stranger) -> None:
    (stranger.root / "conftest.py").write_text(
        "def pytest_tipbench_scenarios(config):\n    return []\n", encoding="utf-8"
    )
    (stranger.root / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    outcome = stranger.run()
    assert outcome.code == 0, outcome.text


def test_the_help_groups_every_option_with_its_default(ollama_project: Project) -> None:
    text = ollama_project.run("--help").words
    for option in (
        *("--models", "--prompts", "--scenarios", "--experiment", "--n-tips", "--repeats"),
        *("--seed", "--temperature", "--num-ctx", "--num-predict", "--diversity"),
        *("--max-model-b", "--residency", "--ollama-host", "--pull", "--tracking-uri"),
        *("--resume", "--judge-export", "--judge-apply", "--judge-name", "--judge-limit"),
        *("--judge-anchors", "--judge-max-drift", "--leaderboard", "--min-composite", "--gate"),
        *("--baseline", "--max-drop", "--gate-pending", "--completion-timeout"),
        *("--lock-timeout", "--evict", "--judge-accept-drift", "--judge-schema", "--ledger"),
        *("--offline", "--tracking-sync", "--tracking-host-header", "--show-tips", "--record"),
    ):
        assert f"{option} " in text or f"{option}=" in text, option
    for default in ("20260427", "tip-bench", "4096", "1024", "0.75", ".tipbench/ledger.db"):
        assert default in text


def test_a_project_that_is_on_and_runs_other_tests_prints_nothing_of_ours(
    ollama_project: Project,
) -> None:
    ollama_project.write("tests/test_own.py", "def test_own():\n    pass\n")
    outcome = ollama_project.run("tests")
    assert outcome.code == 0, outcome.text
    assert "1 passed" in outcome.counts
    assert "matrix" not in outcome.text
    assert "tipbench: " not in outcome.text
    assert not ollama_project.ledger_path.exists()
