"""Whatever goes wrong between us and MLflow, in the end each record is there exactly once."""

from __future__ import annotations

import contextlib
import random
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_tipbench.records import Outcome
from pytest_tipbench.store.deliveries import tracking_target
from pytest_tipbench.store.ledger import Ledger, SessionEnding
from pytest_tipbench.store.mirror import Mirror
from pytest_tipbench.store.mlflow import MlflowStore
from tests.acceptance.conftest import Project, make_project
from tests.acceptance.sessions import started, until
from tests.fault_proxy import APPLIED_KINDS, FAULT_KINDS, SLOW_KINDS, FaultProxy, seeded_plan
from tests.integration.mlflow_server import mlflow_server
from tests.ollama_double import OllamaDouble
from tests.tracked_runs import artifact_names, of_kind, runs_of
from tests.unit import store_samples
from tests.unit.store_samples import RUBRIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pytest_tipbench.judgement_records import ApplyRecord, Judgement
    from pytest_tipbench.records import RunRecord, SessionRecord
    from pytest_tipbench.store.mirror import Undelivered
    from tests.fault_proxy import FaultKind
    from tests.tracked_runs import Json

CELLS_OF_V1 = 14
SEEDS = range(200)
SEEDS_IN_ONE_TEST = 20
AT_ONCE = 4
"""Schedules played side by side: most of their time is waiting."""
PLAN_LENGTH, SHARE, SLOW_SHARE = 40, 0.25, 0.05
SILENCE_SECONDS = 1.1
LONG_SILENCE_SECONDS = 10.0
"""Of a server that swaps or backs itself up; far less than what MLflow's own client waits."""
HASTY = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0.02",
}
"""MLflow's own variables; so short a timeout that a busy machine adds faults of its own."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as served:
        yield served


# --- seeded schedules against the mirror --------------------------------------------------------


class Story:
    """A small session: its cells, and one sheet that judges the first of them."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.experiment = f"faults-{seed}-{uuid.uuid4().hex[:8]}"
        self.session: SessionRecord = store_samples.session(
            uuid.uuid4().hex, experiment=self.experiment
        )
        self.records: list[RunRecord] = [
            store_samples.run(
                number,
                session_id=self.session.session_id,
                experiment=self.experiment,
                outcome=dice.choice((Outcome.OK, Outcome.OK, Outcome.MALFORMED, Outcome.TIMEOUT))
                if number > 1
                else Outcome.OK,
            ).model_copy(update={"run_id": uuid.uuid4().hex})
            for number in range(1, 2 + dice.randint(0, 1))
        ]
        self.judgements: list[Judgement] = [
            store_samples.judgement(tip, scores, nonce=self.experiment)
            for tip, scores in zip(self.records[0].tips, ((5, 4, 3), (3, 2, 3)), strict=True)
        ]
        self.apply: ApplyRecord = store_samples.applied(
            self.judgements, nonce=self.experiment, experiment=self.experiment
        )

    def keep(self, ledger: Ledger, notify: Callable[[], None] = lambda: None) -> None:
        ledger.add_session(self.session)
        notify()
        for record in self.records:
            ledger.add_run(record)
            notify()
        ledger.add_apply(self.apply, self.judgements)
        ledger.end_session(
            SessionEnding(
                session_id=self.session.session_id,
                board_text="the board\n",
                metrics={"composite": 3.0},
                failed=False,
            )
        )
        notify()


def mirror_of(
    ledger: Ledger, proxy: FaultProxy, story: Story, environ: Mapping[str, str] = HASTY
) -> Mirror:
    return Mirror(
        ledger,
        lambda: MlflowStore(proxy.url, keep_alive=True, environ=environ, user="zoe"),
        tracking_target(proxy.url),
        RUBRIC,
        session_id=story.session.session_id,
        retry_seconds=(0.02, 0.05, 0.1),
    )


def deliver(ledger: Ledger, proxy: FaultProxy, story: Story, *, in_background: bool) -> None:
    """Deliver as one session in the background, then as later ones, until nothing is left."""
    left: Undelivered | None = None
    if in_background:
        mirror = mirror_of(ledger, proxy, story)
        mirror.start()
        story.keep(ledger, mirror.notify)
        left = mirror.finish(20, stall_seconds=2)
    else:
        story.keep(ledger)
        left = mirror_of(ledger, proxy, story).deliver_all()
    for _ in range(40):
        if left is None:
            return
        proxy.come_back()
        left = mirror_of(ledger, proxy, story).deliver_all()
    raise AssertionError(left)


def assert_all_is_there_once(runs: list[Json], story: Story) -> None:
    (parent,) = of_kind(runs, "session")
    (judging,) = of_kind(runs, "judging")
    assert parent["status"] == judging["status"] == "FINISHED"
    assert parent["metrics"]["composite"] == 3.0
    assert parent["tags"]["tipbench.session_id"] == story.session.session_id
    assert judging["tags"]["tipbench.apply_id"] == story.apply.apply_id
    cells = {run["tags"]["tipbench.run_id"]: run for run in of_kind(runs, "cell")}
    assert len(runs) == 2 + len(story.records), Counter(run["name"] for run in runs)
    assert cells.keys() == {record.run_id for record in story.records}
    for record in story.records:
        run = cells[record.run_id]
        assert run["status"] == ("FINISHED" if record.is_measured else "FAILED")
        assert run["tags"]["mlflow.parentRunId"] == parent["run_id"]
        assert run["params"]["prompt_version"] == record.cell.prompt_version
        assert run["metrics"]["tip_count"] == len(record.tips)
        assert run["tags"]["tipbench.outcome"] == record.outcome.value
        is_pending = record.outcome is Outcome.OK and record is not story.records[0]
        assert run["tags"]["judge_pending"] == ("true" if is_pending else "false")
    scored = cells[story.records[0].run_id]["metrics"]
    # Of two tips: relevance (5+3)/2, actionability (4+2)/2, tone (3+3)/2, weighted 2 : 2 : 1.
    assert scored["relevance"] == 4.0
    assert scored["actionability"] == 3.0
    assert scored["tone"] == 3.0
    assert scored["composite"] == pytest.approx((2 * 4 + 2 * 3 + 3) / 5)
    for record in story.records[1:]:
        expected = None
        if record.outcome is Outcome.MALFORMED:
            expected = 1.0  # two tips missing, each worth 1 on every criterion
        elif record.outcome is Outcome.OK:
            continue  # pending: judged by nobody
        assert cells[record.run_id]["metrics"].get("composite") == expected


def play(seed: int, url: str, folder: Path) -> Counter[FaultKind]:
    """Deliver a story over a bad line, and find it whole; return what went wrong on the way."""
    story = Story(seed)
    with (
        FaultProxy(url, silence_seconds=SILENCE_SECONDS, away_seconds=0.05) as proxy,
        Ledger.open(folder / f"{seed}.db") as ledger,
    ):
        proxy.plan(seeded_plan(seed, length=PLAN_LENGTH, share=SHARE, slow_share=SLOW_SHARE))
        deliver(ledger, proxy, story, in_background=seed % 2 == 0)
        happened = Counter(proxy.happened)
        runs = runs_of(url, story.experiment)
        assert_all_is_there_once(runs, story)
        if seed % 5 == 0:
            (parent,) = of_kind(runs, "session")
            assert artifact_names(url, parent) == {"board.txt"}
            cells = {run["tags"]["tipbench.run_id"]: run for run in of_kind(runs, "cell")}
            judged = artifact_names(url, cells[story.records[0].run_id])
            assert judged == {"candidates.json", "prompt.txt", "raw.txt", "scores.json"}
            assert_another_machine_gets_it(proxy, story, ledger, folder / f"{seed}-elsewhere.db")
    return happened


def assert_another_machine_gets_it(
    proxy: FaultProxy, story: Story, ledger: Ledger, path: Path
) -> None:
    """Equal to the last character, and nothing of it is made again from there."""
    proxy.plan(())
    with Ledger.open(path) as elsewhere:
        mirror = mirror_of(elsewhere, proxy, story)
        report = mirror.pull(story.experiment, now=datetime.now(timezone.utc))
        assert report.unreadable == ()
        assert elsewhere.runs(story.experiment) == ledger.runs(story.experiment)
        assert elsewhere.judgements() == ledger.judgements()
        assert mirror_of(elsewhere, proxy, story).deliver_all() is None


@pytest.mark.parametrize("first_seed", SEEDS[::SEEDS_IN_ONE_TEST])
def test_every_schedule_of_faults_ends_well(url: str, tmp_path: Path, first_seed: int) -> None:
    seeds = range(first_seed, first_seed + SEEDS_IN_ONE_TEST)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = list(pool.map(lambda seed: play(seed, url, tmp_path), seeds))
    happened: Counter[FaultKind] = sum(played, Counter())
    assert happened.total() >= 3 * SEEDS_IN_ONE_TEST, happened


def test_the_schedules_hold_every_kind_of_fault() -> None:
    planned = Counter(
        fault
        for seed in SEEDS
        for fault in seeded_plan(seed, length=PLAN_LENGTH, share=SHARE, slow_share=SLOW_SHARE)
    )
    assert all(planned[kind] >= 10 for kind in FAULT_KINDS), planned


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_each_kind_of_fault_at_each_creation(url: str, tmp_path: Path, kind: str) -> None:
    """The same fault befalls every record's creation, one after the other."""
    story = Story(7)
    fault = next(each for each in FAULT_KINDS if each == kind)
    with (
        FaultProxy(url, silence_seconds=SILENCE_SECONDS, away_seconds=0.05) as proxy,
        Ledger.open(tmp_path / "ledger.db") as ledger,
    ):
        befallen: Counter[str] = Counter()

        def befall(method: str, path: str) -> None:
            creation = path.endswith(("/runs/create", "/experiments/create"))
            befallen[path] += creation
            # What was applied is found and not made again; anything else gets through second.
            befalls = creation and (fault in APPLIED_KINDS or befallen[path] % 2)
            proxy.plan([fault] if befalls else [])

        proxy.on_request = befall
        deliver(ledger, proxy, story, in_background=False)
        assert proxy.happened[fault] >= 4  # the experiment, the session, the cells, the judging
    assert_all_is_there_once(runs_of(url, story.experiment), story)


def test_ten_seconds_of_silence_with_the_timeouts_that_users_have(url: str, tmp_path: Path) -> None:
    """A late answer is waited for; after a reset the cell is looked up or made, once."""

    def deliver_over(kind: FaultKind) -> tuple[list[Json], Story]:
        story = Story(11)
        with (
            FaultProxy(url, silence_seconds=LONG_SILENCE_SECONDS) as proxy,
            Ledger.open(tmp_path / f"{kind}.db") as ledger,
        ):
            creations = iter([None, kind])  # the parent run's, then the first cell's

            def befall(_method: str, path: str) -> None:
                proxy.plan([next(creations, None)] if path.endswith("/runs/create") else [])

            proxy.on_request = befall
            mirror = mirror_of(ledger, proxy, story, environ={})
            mirror.start()
            started = time.monotonic()
            story.keep(ledger, mirror.notify)
            kept_seconds = time.monotonic() - started
            assert mirror.finish(60) is None
            assert proxy.happened == {kind: 1}
            assert time.monotonic() - started > LONG_SILENCE_SECONDS > kept_seconds
            return runs_of(url, story.experiment), story

    with ThreadPoolExecutor(len(SLOW_KINDS)) as pool:
        for runs, story in pool.map(deliver_over, SLOW_KINDS):
            assert_all_is_there_once(runs, story)


# --- whole sessions -----------------------------------------------------------------------------


@pytest.fixture
def slow_ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble(generate_seconds=0.1) as double:
        yield double


def tracked_project(folder: Path, ollama: OllamaDouble, tracking_url: str) -> Project:
    (folder / "home").mkdir()
    made = make_project(folder, folder / "home")
    made.environment |= {"OLLAMA_HOST": ollama.url, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    made.write_configuration(
        tipbench_models="qwen2.5:0.5b",
        tipbench_n_tips="2",
        tipbench_tracking_uri=tracking_url,
        tipbench_experiment=f"session {uuid.uuid4().hex[:8]}",
    )
    return made


def runs_over_there(url: str, project: Project) -> list[Json]:
    return runs_of(url, project.ini["tipbench_experiment"])


def kept(project: Project) -> list[RunRecord]:
    return project.runs(project.ini["tipbench_experiment"])


def assert_cells_once(url: str, project: Project, count: int) -> list[Json]:
    """Each cell of the ledger is over there once, and nothing else is."""
    cells = of_kind(runs_over_there(url, project), "cell")
    found = Counter(cell["tags"]["tipbench.run_id"] for cell in cells)
    assert found == Counter(record.run_id for record in kept(project))
    assert found.total() == count
    return cells


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_session_over_a_bad_line(
    url: str, tmp_path: Path, slow_ollama: OllamaDouble, seed: int
) -> None:
    with FaultProxy(url, away_seconds=0.2) as proxy:
        project = tracked_project(tmp_path, slow_ollama, proxy.url)
        # The first calls find out whether the server is there: they are let through.
        proxy.plan([None] * 12 + seeded_plan(seed, length=60, share=0.2, slow_share=0))
        outcome = project.run("evals", "--prompts", "v1,v2-mentor", "--scenarios", "maya-*")
        if outcome.code == 1:
            assert "pytest --tracking-sync" in outcome.words
            outcome = project.run("--tracking-sync")
        assert outcome.code == 0, outcome.text
        assert sum(proxy.happened.values()) > 3
        assert_cells_once(url, project, 6)


def kill_server(url: str) -> None:
    """Kill the MLflow server that this process has started at the URL, without any farewell."""
    port = url.rpartition(":")[2]
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if port in child.cmdline() and "guard.py" not in " ".join(child.cmdline()):
                child.kill()


def test_a_server_that_is_killed_in_mid_run_and_comes_back(
    tmp_path: Path, slow_ollama: OllamaDouble
) -> None:
    folder = tmp_path / "server"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        served = stack.enter_context(mlflow_server(folder))
        proxy = stack.enter_context(FaultProxy(served))
        project = tracked_project(tmp_path, slow_ollama, proxy.url)
        with started(project, "evals", "--prompts", "v1") as session:
            until(lambda: len(slow_ollama.completions()) >= 3)
            kill_server(served)
            proxy.upstream = stack.enter_context(mlflow_server(folder))
            outcome = session.ended(240)
        if outcome.code == 1:
            # The end had not the patience to wait for so slow a start.
            assert "pytest --tracking-sync" in outcome.words, outcome.text
            outcome = project.run("--tracking-sync")
        assert outcome.code == 0, outcome.text
        cells = assert_cells_once(proxy.upstream, project, CELLS_OF_V1)
        (parent,) = of_kind(runs_over_there(proxy.upstream, project), "session")
        assert {run["tags"]["mlflow.parentRunId"] for run in cells} == {parent["run_id"]}
        assert parent["status"] == "FINISHED"


def test_a_server_that_goes_away_for_good(
    url: str, tmp_path: Path, slow_ollama: OllamaDouble
) -> None:
    """The run goes on, the end says what mends it, and the next session delivers."""
    with FaultProxy(url) as proxy:
        project = tracked_project(tmp_path, slow_ollama, proxy.url)
        with started(project, "evals", "--prompts", "v1", "--scenarios", "maya-*,zoe-*") as session:
            until(lambda: len(slow_ollama.completions()) >= 1)
            proxy.go_away()
            outcome = session.ended(240)
        made = len(kept(project))
        assert outcome.code == 1, outcome.text
        assert f"{made} passed" in outcome.words
        assert "which the ledger keeps" in outcome.words
        assert "deliver them with: pytest --tracking-sync" in outcome.words
        assert "INTERNALERROR" not in outcome.text
        proxy.come_back()
        outcome = project.run("evals", "--prompts", "v2-mentor", "--scenarios", "maya-m*")
        assert outcome.code == 0, outcome.text
        assert "which the ledger keeps" not in outcome.words
        cells = assert_cells_once(url, project, made + 1)
        parents = {
            run["tags"]["tipbench.session_id"]: run["run_id"]
            for run in of_kind(runs_over_there(url, project), "session")
        }
        for run in cells:  # also what was delivered later hangs under the session that made it
            assert run["tags"]["mlflow.parentRunId"] == parents[run["tags"]["tipbench.session_id"]]
        assert len({run["tags"]["mlflow.parentRunId"] for run in cells}) == 2
