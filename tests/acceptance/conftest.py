"""A project of a user's, an Ollama double, and the ways in which xdist may run it.

Judges' tests start from a copy of a project whose cells have run already, so that each of them
costs one session and not two.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.evaluation import load_evaluation_set
from pytest_tipbench.store.ledger import Ledger
from tests.ollama_double import OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pytest_tipbench.judgement_records import ApplyRecord, Judgement
    from pytest_tipbench.records import RunRecord

REPOSITORY = Path(__file__).parents[2]
TWO_SCENARIOS = ("--scenarios", "maya-morning-deadline,zoe-*")
ONE_CELL = ("--prompts", "v1", "--scenarios", "maya-morning-deadline")
MAYA = ("maya-morning-deadline", "maya-afternoon-slump", "maya-evening-packing")
"""The scenarios of the projects whose cells have run already; each has five anchors."""
NOBODY = "http://127.0.0.1:9"
"""An address at which nothing answers (the discard port)."""

KNOWN_SCORES = {
    ("v1", MAYA[0]): 5,
    ("v1", MAYA[1]): 4,
    ("v1", MAYA[2]): 3,
    ("v2-mentor", MAYA[0]): 3,
    ("v2-mentor", MAYA[1]): 2,
    ("v2-mentor", MAYA[2]): 1,
}
"""What the judge of ``judged_project`` gives the one tip of each cell, on every criterion.

Row v1: mean 4, row v2-mentor: mean 2. Over three scenarios the sample's standard deviation is 1 in
both, so half of the 95 % interval is t(0.975, 2) / √3 = 4.3027 / 1.7321 = 2.484.
"""


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

    @property
    def words(self) -> str:
        """The whole text on one line, so that wrapping splits no message."""
        return " ".join(self.text.split())

    def assert_mistake(self, *parts: str) -> None:
        """Exit code 4 with a clean message that says all of this, and nothing of our insides."""
        assert self.code == 4, self.text
        for part in parts:
            assert part in self.words, self.text
        assert "Traceback" not in self.text
        assert "INTERNALERROR" not in self.text


HUNG_SECONDS = 600
"""After so long a session hangs; real models on a busy machine take their time."""
SAID_ELSEWHERE = frozenset(
    {
        *("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "OLLAMA_HOST", "PYTEST_ADDOPTS"),
        # What pytest and its neighbours print depends on these: on a CI machine as on a desk.
        *("CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"),
        *("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "COLUMNS", "LINES"),
    }
)
"""What a user's session must not learn from the environment that these tests run in."""


@dataclass
class Project:
    """A folder with an ``evals/`` of its own, in which pytest is called as a user calls it."""

    root: Path
    environment: dict[str, str]
    workers: tuple[str, ...] = ()
    ini: dict[str, str] = field(default_factory=dict)
    addopts: str = "-p no:randomly -p no:random_order -p no:syrupy -p no:hypothesispytest"

    def write_configuration(self, **ini: str) -> None:
        self.ini |= ini
        lines = "".join(f"{name} = {value}\n" for name, value in self.ini.items())
        text = f"[pytest]\naddopts = {self.addopts}\n{lines}"
        (self.root / "pytest.ini").write_text(text, encoding="utf-8")

    def write(self, path: str, text: str) -> Path:
        """Write a file of the project."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        return target

    def edit(self, path: str, old: str, new: str) -> int:
        """Replace the one place where ``old`` stands; return its line."""
        target = self.root / path
        text = target.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
        target.write_text(text.replace(old, new), encoding="utf-8")
        return text[: text.index(old)].count("\n") + 1

    def write_replay(self, path: str, tips: Mapping[tuple[str, str], Sequence[str]]) -> Path:
        """Write completions that hold these tips, by prompt version and scenario."""
        lines = [
            {
                "prompt_version": prompt_version,
                "scenario": scenario,
                "completion": json.dumps({"tips": list(texts)}),
                "latency_seconds": 0.5,
            }
            for (prompt_version, scenario), texts in tips.items()
        ]
        return self.write(path, "".join(json.dumps(line) + "\n" for line in lines))

    def command(self, *arguments: str) -> list[str]:
        """What a call comes to, with the workers of this test where it names a path."""
        with_workers = self.workers if arguments and not arguments[0].startswith("-") else ()
        return [sys.executable, "-m", "pytest", *arguments, *with_workers]

    def run(
        self, *arguments: str, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> Outcome:
        """Call pytest."""
        finished = subprocess.run(
            self.command(*arguments),
            cwd=cwd or self.root,
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=HUNG_SECONDS,
            check=False,
        )
        return Outcome(finished.returncode, finished.stdout + finished.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Call pytest and do not wait for it.

        Ctrl-C reaches it also where this process was started with it ignored (in a background job).
        """
        former = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
            )
        finally:
            signal.signal(signal.SIGINT, former)

    @property
    def ledger_path(self) -> Path:
        return self.root / ".tipbench/ledger.db"

    def runs(self, experiment: str = "tip-bench", ledger: Path | None = None) -> list[RunRecord]:
        with Ledger.open(ledger or self.ledger_path, read_only=True) as opened:
            return opened.runs(experiment)

    def judgements(self) -> list[Judgement]:
        with Ledger.open(self.ledger_path, read_only=True) as ledger:
            return ledger.judgements()

    def applies(self, experiment: str = "tip-bench") -> list[ApplyRecord]:
        with Ledger.open(self.ledger_path, read_only=True) as ledger:
            return ledger.applies(experiment)

    def export(self, *arguments: str, name: str = "scores.json") -> Path:
        """Export a sheet into the project's folder."""
        outcome = self.run("--judge-export", name, *arguments)
        assert outcome.code == 0, outcome.text
        assert (self.root / name).exists(), outcome.text
        return self.root / name

    def judge(
        self,
        sheet: Path,
        score: int | Callable[[dict[str, Any]], int | None] = 4,
        judge: str = "ada",
        *,
        anchor_error: int = 0,
    ) -> Path:
        """Fill a sheet in.

        Args:
            sheet: the file.
            score: what each item gets on every criterion, or says it of the item (None: left open).
            judge: who judges.
            anchor_error: by how much anchors are scored off their known scores, towards the
                middle of the scale, so that every score stays on it.
        """
        evaluation = load_evaluation_set(self.root / "evals", self.root / "rubric.md")
        known = {(anchor.scenario, anchor.tip): anchor.scores for anchor in evaluation.anchors}
        document: dict[str, Any] = json.loads(sheet.read_text(encoding="utf-8"))
        for item in document["items"]:
            anchor = known.get((item["scenario"]["id"], item["tip"]))
            if anchor is not None:
                item["scores"] = {
                    name: value + (anchor_error if value < 3 else -anchor_error)
                    for name, value in anchor.items()
                }
            else:
                given = score(item) if callable(score) else score
                item["scores"] = dict.fromkeys(item["scores"], given)
        document["judge"] = judge
        sheet.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
        return sheet

    def copied_to(self, folder: Path) -> Project:
        """Return a copy of the project, as it is now, with locks of its own."""
        shutil.copytree(self.root, folder / "project")
        environment = self.environment | {"XDG_RUNTIME_DIR": make_runtime_folder(folder)}
        return Project(folder / "project", environment, ini=dict(self.ini), addopts=self.addopts)


def make_runtime_folder(folder: Path) -> str:
    """Make the folder of a project's locks; one that others may open, or none, does not count."""
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    return str(runtime)


def make_project(folder: Path, home: Path) -> Project:
    """Make a user's project with this repository's evals, and no server at all."""
    root = folder / "project"
    shutil.copytree(REPOSITORY / "evals", root / "evals", ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(REPOSITORY / "rubric.md", root)
    environment = {name: text for name, text in os.environ.items() if name not in SAID_ELSEWHERE}
    environment |= {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": make_runtime_folder(folder),  # sessions of other tests are no neighbours
        "PYTHONWARNINGS": "error",
        "COLUMNS": "160",
        "OLLAMA_HOST": NOBODY,  # a test that forgets the double meets no real server
    }
    made = Project(root, environment)
    made.write_configuration(tipbench_evals="evals")
    return made


def known_tip(prompt_version: str, scenario: str) -> str:
    """Return the tip that ``judged_project`` has in a cell."""
    return f"Begin with the first thing on the list, as {prompt_version} says in {scenario}."


def known_score(item: dict[str, Any]) -> int:
    """Return what ``KNOWN_SCORES`` gives an item of a sheet of ``judged_project``."""
    return next(
        score
        for (prompt_version, scenario), score in KNOWN_SCORES.items()
        if known_tip(prompt_version, scenario) == item["tip"]
    )


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def project(tmp_path: Path, shared_home: Path) -> Project:
    """A user's project with this repository's evals, and no server but the double."""
    return make_project(tmp_path, shared_home)


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


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory, shared_home: Path) -> Project:
    """One row of three cells with two tips each, as the double makes them; nothing judged."""
    made = make_project(tmp_path_factory.mktemp("generated"), shared_home)
    with OllamaDouble() as double:
        made.environment["OLLAMA_HOST"] = double.url
        made.write_configuration(tipbench_models="qwen2.5:0.5b", tipbench_n_tips="2")
        outcome = made.run("evals", "--prompts", "v1", "--scenarios", "maya-*")
    assert outcome.code == 0, outcome.text
    made.environment["OLLAMA_HOST"] = NOBODY
    return made


@pytest.fixture
def generated_project(generated: Project, tmp_path: Path) -> Project:
    """A copy of :func:`generated`: six tips are pending, and no server answers."""
    return generated.copied_to(tmp_path / "generated")


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory, shared_home: Path) -> Project:
    """Two rows of three cells with one tip each, judged as ``KNOWN_SCORES`` says."""
    made = make_project(tmp_path_factory.mktemp("judged"), shared_home)
    made.write_replay("known.jsonl", {cell: [known_tip(*cell)] for cell in KNOWN_SCORES})
    made.write_configuration(tipbench_models="replay/known.jsonl", tipbench_n_tips="1")
    outcome = made.run(
        "evals", "--prompts", "v1,v2-mentor", "--scenarios", "maya-*", "--judge-export", "s.json"
    )
    assert outcome.code == 0, outcome.text
    outcome = made.run("--judge-apply", str(made.judge(made.root / "s.json", known_score)))
    assert outcome.code == 0, outcome.text
    return made


@pytest.fixture
def judged_project(judged: Project, tmp_path: Path) -> Project:
    """A copy of :func:`judged`."""
    return judged.copied_to(tmp_path / "judged")
