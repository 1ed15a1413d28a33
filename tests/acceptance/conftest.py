"""A project of a user's, an Ollama double, and the ways in which xdist may run it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.store.ledger import Ledger
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tipbench.judgement_records import Judgement
    from pytest_tipbench.records import RunRecord

REPOSITORY = Path(__file__).parents[2]
TWO_SCENARIOS = ("--scenarios", "maya-morning-deadline,zoe-*")


@dataclass
class Outcome:
    """How a pytest session of the project's ended."""

    code: int
    text: str
    """Standard output and error, the error last."""

    @property
    def counts(self) -> str:
        """pytest's own last line."""
        return next(line for line in reversed(self.text.splitlines()) if " in " in line)


@dataclass
class Project:
    """A folder with an ``evals/`` of its own, in which pytest is called as a user calls it."""

    root: Path
    environment: dict[str, str]
    workers: tuple[str, ...] = ()
    ini: dict[str, str] = field(default_factory=dict)

    def write_configuration(self, **ini: str) -> None:
        self.ini |= ini
        lines = "".join(f"{name} = {value}\n" for name, value in self.ini.items())
        text = f"[pytest]\naddopts = -p no:randomly -p no:random_order -p no:syrupy\n{lines}"
        (self.root / "pytest.ini").write_text(text, encoding="utf-8")

    def run(
        self, *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Outcome:
        """Call pytest, with the workers of this test where the call names a path."""
        with_workers = self.workers if arguments and not arguments[0].startswith("-") else ()
        finished = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, *with_workers],
            cwd=cwd or self.root,
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout + finished.stderr)

    def runs(self, experiment: str = "tip-bench") -> list[RunRecord]:
        with Ledger.open(self.root / ".tipbench/ledger.db", read_only=True) as ledger:
            return ledger.runs(experiment)

    def judgements(self) -> list[Judgement]:
        with Ledger.open(self.root / ".tipbench/ledger.db", read_only=True) as ledger:
            return ledger.judgements()

    def judge(self, sheet: Path, score: int = 4, judge: str = "ada") -> Path:
        """Fill a sheet in: every item gets the same score; anchors get their known ones."""
        from pytest_tipbench.evaluation import load_evaluation_set

        evaluation = load_evaluation_set(self.root / "evals", self.root / "rubric.md")
        known = {(anchor.scenario, anchor.tip): anchor.scores for anchor in evaluation.anchors}
        document: dict[str, Any] = json.loads(sheet.read_text(encoding="utf-8"))
        for item in document["items"]:
            anchor = known.get((item["scenario"]["id"], item["tip"]))
            item["scores"] = anchor or dict.fromkeys(item["scores"], score)
        document["judge"] = judge
        sheet.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
        return sheet


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(tmp_path: Path, shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A user's project with this repository's evals, and no server but the double."""
    root = tmp_path / "project"
    shutil.copytree(REPOSITORY / "evals", root / "evals", ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(REPOSITORY / "rubric.md", root)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "OLLAMA_HOST", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    import os

    environment = dict(os.environ) | {
        "HOME": str(shared_home),
        "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),  # sessions of other tests are no neighbours
        "PYTHONWARNINGS": "error",
        "COLUMNS": "160",
    }
    made = Project(root, environment)
    made.write_configuration(tipbench_evals="evals")
    return made


@pytest.fixture
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture
def ollama_project(project: Project, ollama: OllamaDouble) -> Project:
    """The project with the double as its Ollama server, and one small model."""
    project.environment["OLLAMA_HOST"] = ollama.url
    project.write_configuration(tipbench_models="qwen2.5:0.5b")
    return project


@pytest.fixture(params=["alone", "n2"])
def either_way(request: pytest.FixtureRequest, ollama_project: Project) -> Project:
    """The same project, run by one process and by two workers of xdist."""
    if request.param == "n2":
        ollama_project.workers = ("-n", "2")
    return ollama_project
