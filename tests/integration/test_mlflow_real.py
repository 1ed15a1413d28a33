from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import importlib.util
import json
import math
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from pytest_tipbench.errors import TrackingRefusedError, TrackingUnreachableError
from pytest_tipbench.judgement_records import CriterionDrift
from pytest_tipbench.records import Outcome, jsonable
from pytest_tipbench.store import mlflow_api, mlflow_values
from pytest_tipbench.store.base import RunScores
from pytest_tipbench.store.mlflow import MlflowStore
from pytest_tipbench.store.mlflow_client import MlflowClient
from pytest_tipbench.store.mlflow_settings import read_client_settings
from tests.integration.mlflow_server import mlflow_server, proxied
from tests.unit import store_samples
from tests.unit.mlflow_samples import RUN_RECORDS, with_texts
from tests.unit.mlflow_stub import Reply, Request
from tests.unit.test_store_mlflow_runs import scattered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_tipbench.judgement_records import Judgement
    from pytest_tipbench.records import RunRecord

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs the extra `mlflow`"
)

Json = dict[str, Any]

HOST = "mlflow.example.org"
ONCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that proxies artifacts."""
    with mlflow_server(tmp_path_factory.mktemp("proxying")) as served:
        yield served


@pytest.fixture(scope="module")
def bare_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that proxies no artifacts, and takes one name for its own."""
    folder = tmp_path_factory.mktemp("bare")
    options = ["--no-serve-artifacts", "--default-artifact-root", (folder / "a").as_uri()]
    with mlflow_server(folder, *options, "--allowed-hosts", HOST) as served:
        yield served


@pytest.fixture
def experiment() -> str:
    return f"tips – {uuid.uuid4().hex}"


@pytest.fixture
def opened() -> Iterator[Callable[..., MlflowStore]]:
    """Open stores that are closed in the end."""
    with contextlib.ExitStack() as stack:

        def open_store(address: str, environ: Mapping[str, str] | None = None) -> MlflowStore:
            store = MlflowStore(address, keep_alive=True, environ=environ or {}, user="zoe")
            stack.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(url: str, opened: Callable[..., MlflowStore]) -> MlflowStore:
    return opened(url)


@pytest.fixture
def bare_store(bare_url: str) -> Iterator[MlflowStore]:
    with contextlib.closing(MlflowStore(bare_url, host_header=HOST, environ={})) as made:
        yield made


@pytest.fixture
def rest(url: str) -> Iterator[MlflowClient]:
    """The bare API, to look behind the store's back."""
    made = MlflowClient(read_client_settings(url, environ={}), keep_alive=True)
    with contextlib.closing(made):
        yield made


def runs_of(rest: MlflowClient, experiment: str) -> list[Json]:
    found = rest.call("GET", "/experiments/get-by-name", params={"experiment_name": experiment})
    query = {"experiment_ids": [found["experiment"]["experiment_id"]], "max_results": 1000}
    runs: list[Json] = rest.call("POST", "/runs/search", query).get("runs", [])
    return runs


def sample(experiment: str, number: int = 1, **given: Any) -> RunRecord:
    """Return a run with an id of its own."""
    record = store_samples.run(number, experiment=experiment, **given)
    return record.model_copy(update={"run_id": uuid.uuid4().hex})


# --- whole and equal --------------------------------------------------------------------------


def arbitrary_records(count: int) -> list[RunRecord]:
    records: list[RunRecord] = []

    @settings(max_examples=count, deadline=None, derandomize=True, database=None)
    @given(RUN_RECORDS)
    def collect(record: RunRecord) -> None:
        records.append(record.model_copy(update={"run_id": uuid.uuid4().hex}))

    collect()
    return records


def odd_records(experiment: str) -> list[RunRecord]:
    """Return records that a careless store would cut, drop or change."""
    texts = [
        {"raw": "", "system": "", "user": ""},
        {"raw": "a\x00b", "system": "\x00", "user": "\r\n\t "},
        {"raw": "😀" * 3000, "system": "Zoë", "user": "日本語"},
        {"raw": "\ud800 lone", "user": "\udfff"},
        {"raw": "<script>\x1b[31m", "user": scattered(50_000)},
        {"raw": scattered(1_000_000, 2)},
        {"raw": scattered(60_000, 3) + "\x00\ud800", "user": scattered(9_000)},
    ]
    records = [with_texts(sample(experiment), experiment=experiment, **each) for each in texts]
    records.append(sample(experiment, outcome=Outcome.PROVIDER_ERROR, error="out of memory"))
    records.append(sample(experiment, outcome=Outcome.MISSING).model_copy(update={"model": None}))
    records.append(sample(experiment, model="llamacpp//models/" + "x" * 9000 + ".gguf"))
    return [
        *records,
        *(r.model_copy(update={"experiment": experiment}) for r in arbitrary_records(10)),
    ]


@pytest.mark.parametrize("kind", ["store", "bare_store"])
def test_another_machine_gets_every_record_whole_and_equal(
    kind: str, request: pytest.FixtureRequest, experiment: str
) -> None:
    tracking: MlflowStore = request.getfixturevalue(kind)
    records = odd_records(experiment)
    made = {record.run_id: tracking.put_run(record, None, may_exist=False) for record in records}
    pulled = tracking.pull(experiment, None)
    assert pulled.unreadable == ()
    got = {record.run_id: record for record in pulled.runs}
    for record in records:
        assert got[record.run_id] == record
    assert len(got) == len(records)
    assert pulled.tracking_run_ids == made


@pytest.mark.parametrize("kind", ["store", "bare_store"])
def test_ten_megabytes_of_output_come_back_whole(
    kind: str, request: pytest.FixtureRequest, experiment: str
) -> None:
    """As an artifact, and without artifacts as tags, hundreds of them."""
    tracking: MlflowStore = request.getfixturevalue(kind)
    # Four bytes a character, then what packs badly, then what tags must not lose.
    raw = "😀" * 1_000_000 + scattered(6_000_000, 5) + "\x00\ud800 ü\r\n"
    assert len(raw.encode("utf-8", "surrogatepass")) > 10_000_000
    record = with_texts(sample(experiment), experiment=experiment, raw=raw)
    tracking.put_run(record, None, may_exist=False)
    (pulled,) = tracking.pull(experiment, None).runs
    assert pulled == record


def test_mlflows_own_client_sees_everything_in_its_place(
    store: MlflowStore, url: str, experiment: str
) -> None:
    session = store_samples.session(experiment=experiment).model_copy(
        update={"session_id": uuid.uuid4().hex, "environment": {"git_commit": "c0ffee", "os": "x"}}
    )
    record = with_texts(
        sample(experiment),
        experiment=experiment,
        system="Be kind.",
        user="Zwölf",
        raw='["Tee 🍵"]\r\n',
    ).model_copy(update={"session_id": session.session_id, "diversity": {"distinct_2": 0.75}})
    parent = store.put_session(session, may_exist=False)
    child = store.put_run(record, parent, session=session, may_exist=False)
    store.put_scores(child, scores_of(record, 4.0, 3.0))
    store.finish_session(parent, "rank 1 ★", {"rows": 1, "best": math.nan}, failed=False)

    script = Path(__file__).with_name("mlflow_reader.py")
    read = subprocess.run(
        [sys.executable, script, url, experiment], check=True, capture_output=True, timeout=120
    )
    seen = {run["run_id"]: run for run in json.loads(read.stdout)}
    assert set(seen) == {parent, child}

    cell = seen[child]
    assert cell["name"] == record.cell.id == "qwen2.5:0.5b-v1-monday"
    assert cell["status"] == "FINISHED"
    assert cell["start_time"] == int(record.started_at.timestamp() * 1000)
    assert cell["end_time"] == int(record.finished_at.timestamp() * 1000)
    assert cell["params"]["model"] == "qwen2.5:0.5b"
    assert cell["params"]["parameter_count"] == "494032768"
    assert len(cell["params"]) == 15  # all of the documented ones but the unknown quantization
    expected = {
        "latency_seconds": 1.5,
        "load_seconds": 0.25,
        "tip_count": 2.0,
        "tips_missing": 0.0,
        "distinct_2": 0.75,
        "relevance": 4.0,
        "composite": 3.0,
    }
    assert {name: cell["metrics"][name] for name in expected} == expected
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.user": "zoe",
        "mlflow.source.name": "pytest-tipbench",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "c0ffee",
        "tipbench.kind": "cell",
        "tipbench.outcome": "ok",
        "judge_pending": "false",
        "judge": "ann, bob",
    }
    assert {name: cell["tags"][name] for name in tags} == tags
    assert json.loads(cell["artifacts"]["candidates.json"])["tips"] == list(record.tips)
    assert cell["artifacts"]["prompt.txt"] == (
        "system (8 characters):\nBe kind.\nuser (5 characters):\nZwölf\n"
    )
    assert cell["artifacts"]["raw.txt"] == '["Tee 🍵"]\r\n'
    assert len(json.loads(cell["artifacts"]["scores.json"])["judgements"]) == 2

    assert seen[parent]["status"] == "FINISHED"
    assert seen[parent]["artifacts"] == {"board.txt": "rank 1 ★"}
    assert seen[parent]["params"] == {"git_commit": "c0ffee", "os": "x"}
    assert seen[parent]["metrics"]["rows"] == 1.0
    assert seen[parent]["tags"]["tipbench.skipped_metrics"] == "best"
    assert store.pull(experiment, None).sessions == (session,)


def test_without_proxied_artifacts_they_are_tags_joined_byte_for_byte(
    bare_store: MlflowStore, bare_url: str, experiment: str
) -> None:
    record = with_texts(
        sample(experiment), experiment=experiment, user=scattered(50_000), raw="kurz\r\n"
    )
    run_id = bare_store.put_run(record, None, may_exist=False)
    settings = read_client_settings(bare_url, host_header=HOST, environ={})
    with contextlib.closing(MlflowClient(settings, keep_alive=True)) as rest:
        answer = rest.call("GET", "/runs/get", params={"run_id": run_id})
    tags = {tag["key"]: tag["value"] for tag in answer["run"]["data"]["tags"]}
    assert tags["artifact:raw.txt"] == "kurz\r\n"
    # The header, 50,000 characters and two line ends do not fit into six tags of 8,000.
    assert "artifact:prompt.txt.part7" in tags
    prompt = mlflow_values.join("artifact:prompt.txt", tags)
    assert prompt is not None
    assert prompt.endswith(record.prompt.user + "\n")
    candidates = mlflow_values.join("artifact:candidates.json", tags)
    assert candidates is not None
    assert json.loads(candidates)["tips"] == list(record.tips)


# --- once -------------------------------------------------------------------------------------


def test_what_may_exist_is_looked_up_first(
    store: MlflowStore, rest: MlflowClient, experiment: str
) -> None:
    record = sample(experiment)
    session = store_samples.session(record.session_id, experiment=experiment)
    sheet = store_samples.applied((), experiment=experiment)
    for _ in range(2):
        parent = store.put_session(session, may_exist=True)
        store.put_run(record, parent, may_exist=True)
        store.put_apply(sheet, (), may_exist=True)
    kinds = [
        tag["value"]
        for run in runs_of(rest, experiment)
        for tag in run["data"]["tags"]
        if tag["key"] == "tipbench.kind"
    ]
    assert sorted(kinds) == ["cell", "judging", "session"]


@pytest.mark.parametrize("lost", ["raw.txt", "/runs/log-batch", "/runs/update"])
@pytest.mark.parametrize("applied", [True, False])
def test_a_run_left_half_made_is_completed_not_made_again(
    *,
    lost: str,
    applied: bool,
    url: str,
    store: MlflowStore,
    rest: MlflowClient,
    experiment: str,
    opened: Callable[..., MlflowStore],
) -> None:
    record = sample(experiment)

    def fails(request: Request) -> bool:
        return request.path.endswith(lost)

    def instead(request: Request) -> Reply | None:
        return Reply(is_dropped=True) if fails(request) and not applied else None

    with proxied(url, loses=fails, instead=instead) as proxy:
        unlucky = opened(proxy.url, ONCE)
        with pytest.raises(TrackingUnreachableError):
            unlucky.put_run(record, None, may_exist=False)
    if not (lost == "/runs/update" and applied):
        assert store.pull(experiment, None).runs == ()
    completed = store.put_run(record, None, may_exist=True)
    (run,) = runs_of(rest, experiment)
    assert run["info"]["run_id"] == completed
    assert run["info"]["status"] == "FINISHED"
    assert store.pull(experiment, None).runs == (record,)
    path = run["info"]["artifact_uri"].partition(":/")[2]
    assert rest.get_artifact(f"{path}/raw.txt") == b"[]"


def test_a_create_whose_answer_is_lost_makes_one_run(
    url: str, rest: MlflowClient, experiment: str, opened: Callable[..., MlflowStore]
) -> None:
    losses = iter([True])
    with proxied(
        url, loses=lambda r: r.path.endswith("/runs/create") and next(losses, False)
    ) as proxy:
        opened(proxy.url).put_run(sample(experiment), None, may_exist=False)
    assert len(runs_of(rest, experiment)) == 1


def test_of_a_record_that_is_there_twice_the_first_counts(
    store: MlflowStore, experiment: str
) -> None:
    record = sample(experiment)
    made = [store.put_run(record, None, may_exist=False) for _ in range(4)]
    pulled = store.pull(experiment, None)
    assert pulled.runs == (record,)
    assert pulled.tracking_run_ids == {record.run_id: made[0]}


# --- pulling what is new ----------------------------------------------------------------------


def test_a_pull_brings_what_was_delivered_since_whenever_it_was_made(
    store: MlflowStore, experiment: str
) -> None:
    store.put_run(sample(experiment), None, may_exist=False)
    cursor = store.pull(experiment, None).cursor
    long_ago = datetime(2001, 1, 1, tzinfo=timezone.utc)
    late = sample(experiment).model_copy(update={"started_at": long_ago, "finished_at": long_ago})
    store.put_run(late, None, may_exist=False)
    assert late in store.pull(experiment, cursor).runs
    experiment_id, since, version = json.loads(cursor)
    after = json.dumps([experiment_id, since + 3600, version])
    nothing = store.pull(experiment, after)
    assert nothing.runs == ()
    assert json.loads(nothing.cursor)[1] == pytest.approx(since + 3600)


@pytest.mark.parametrize("position", [0, 2])
def test_a_cursor_of_another_experiment_or_version_begins_anew(
    position: int, store: MlflowStore, experiment: str
) -> None:
    record = sample(experiment)
    store.put_run(record, None, may_exist=False)
    cursor = json.loads(store.pull(experiment, None).cursor)
    cursor[1] += 3600
    cursor[position] = "other"
    assert store.pull(experiment, json.dumps(cursor)).runs == (record,)
    assert store.pull(experiment, "{").runs == (record,)


def test_pages_are_followed_to_the_end(
    store: MlflowStore, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_api, "PAGE_SIZE", 3)
    records = [sample(experiment, number) for number in range(7)]
    for record in records:
        store.put_run(record, None, may_exist=False)
    pulled = store.pull(experiment, None).runs
    assert sorted(r.run_id for r in pulled) == sorted(r.run_id for r in records)


def test_a_run_that_cannot_be_read_is_named_and_holds_nothing_up(
    store: MlflowStore, rest: MlflowClient, experiment: str
) -> None:
    record = sample(experiment)
    store.put_run(record, None, may_exist=False)
    api = mlflow_api.MlflowApi(rest)
    for name, tags in {
        "broken": {"tipbench.kind": "cell", "tipbench.record": "?"},
        "empty": {"tipbench.kind": "cell"},
        "newer": {"tipbench.kind": "dream"},
    }.items():
        run = api.create_run(experiment, name, 0, tags, lambda: None)
        api.log(run.run_id, 1, metrics={}, tags={}, delivered=True)
        api.end_run(run.run_id, "FINISHED", 1)
    stranger = api.create_run(experiment, "a stranger's", 0, {}, lambda: None)
    pulled = store.pull(experiment, None)
    assert pulled.runs == (record,)
    assert len(pulled.unreadable) == 3
    assert any("(empty): its artifact candidates.json" in line for line in pulled.unreadable)
    assert any("(newer): of the unknown kind 'dream'" in line for line in pulled.unreadable)
    assert stranger.run_id not in "".join(pulled.unreadable)


def test_what_the_server_fails_to_give_is_asked_for_again(
    url: str, store: MlflowStore, experiment: str, opened: Callable[..., MlflowStore]
) -> None:
    long_ = with_texts(sample(experiment), experiment=experiment, raw=scattered(60_000))
    short = sample(experiment)
    for record in (long_, short):
        store.put_run(record, None, may_exist=False)

    def fails(request: Request) -> Reply | None:
        return Reply(500) if request.path.endswith("candidates.json") else None

    with proxied(url, instead=fails) as proxy:
        pulled = opened(proxy.url, ONCE).pull(experiment, None)
    assert pulled.runs == (short,)
    assert len(pulled.unreadable) == 1
    again = {run.run_id: run for run in store.pull(experiment, pulled.cursor).runs}
    assert again == {long_.run_id: long_, short.run_id: short}


def test_an_experiment_that_nobody_has_made_holds_nothing(
    store: MlflowStore, experiment: str
) -> None:
    pulled = store.pull(experiment, None)
    assert pulled.runs == ()
    store.put_run(sample(experiment), None, may_exist=False)
    assert len(store.pull(experiment, pulled.cursor).runs) == 1


# --- scores and sheets ------------------------------------------------------------------------


def scores_of(record: RunRecord, relevance: float, composite: float, notes: str = "") -> RunScores:
    judgements: list[Judgement] = [
        store_samples.judgement(record.tips[0], judge=judge, note=notes) for judge in ("ann", "bob")
    ]
    return RunScores(
        run_id=record.run_id,
        metrics={"relevance": relevance, "composite": composite},
        judge_pending=False,
        judges=("ann", "bob"),
        rubric_version="tip-v1",
        rubric_sha256="a" * 64,
        judgements=tuple(judgements),
    )


@pytest.mark.parametrize("kind", ["store", "bare_store"])
def test_of_scores_given_again_the_newest_count(
    kind: str, request: pytest.FixtureRequest, experiment: str
) -> None:
    tracking: MlflowStore = request.getfixturevalue(kind)
    record = sample(experiment)
    run_id = tracking.put_run(record, None, may_exist=False)
    for relevance, notes in ((5.0, "x" * 30_000), (2.0, ""), (2.0, ""), (3.0, "ü\x00\ud800")):
        scores = scores_of(record, relevance, relevance, notes)
        tracking.put_scores(run_id, scores)
        run = tracking._api.run(run_id)
        assert run is not None
        assert run.tags["judge_pending"] == "false"
        kept = json.loads(tracking._api.read_artifact(run, "scores.json"))
        assert kept == jsonable(scores)
        answer = tracking._client.call("GET", "/runs/get", params={"run_id": run_id})
        metrics = {m["key"]: m["value"] for m in answer["run"]["data"]["metrics"]}
        assert metrics["relevance"] == relevance
    assert tracking.pull(experiment, None).runs == (record,)


@pytest.mark.parametrize("kind", ["store", "bare_store"])
def test_another_machine_gets_sheets_with_judgements_and_notes(
    kind: str, request: pytest.FixtureRequest, experiment: str
) -> None:
    tracking: MlflowStore = request.getfixturevalue(kind)
    judgements = tuple(
        store_samples.judgement(f"Tip {number} 🍵", note="\x00 kurz\ud800 " + "n" * 200)
        for number in range(60)
    )
    sheet = store_samples.applied(judgements, experiment=experiment).model_copy(
        update={
            "drift": {"tone": CriterionDrift(mean_absolute_error=0.5, bias=-0.25)},
            "drift_mean_absolute_error": 0.5,
            "anchors_scored": 3,
        }
    )
    tracking.put_apply(sheet, judgements, may_exist=False)
    pulled = tracking.pull(experiment, None)
    assert pulled.applies == (sheet,)
    assert pulled.judgements == judgements
    assert pulled.unreadable == ()


# --- what people delete -----------------------------------------------------------------------


def test_a_deleted_experiment_is_said_when_read_and_restored_when_written(
    store: MlflowStore,
    rest: MlflowClient,
    experiment: str,
    url: str,
    opened: Callable[..., MlflowStore],
) -> None:
    first, second, third = (sample(experiment, number) for number in range(3))
    store.put_run(first, None, may_exist=False)
    experiment_id = store.runs_page(experiment).split("/")[-2]
    rest.call("POST", "/experiments/delete", {"experiment_id": experiment_id})

    pulled = store.pull(experiment, None)
    assert pulled.runs == ()
    assert f"mlflow experiments restore --experiment-id {experiment_id}" in pulled.unreadable[0]

    store.put_run(second, None, may_exist=False)  # by an id that it knew
    rest.call("POST", "/experiments/delete", {"experiment_id": experiment_id})
    opened(url).put_run(third, None, may_exist=False)  # by name
    assert len(store.pull(experiment, pulled.cursor).runs) == 3


def test_a_deleted_run_is_delivered_and_takes_no_scores(
    store: MlflowStore, rest: MlflowClient, experiment: str
) -> None:
    record = sample(experiment)
    run_id = store.put_run(record, None, may_exist=False)
    rest.call("POST", "/runs/delete", {"run_id": run_id})
    store.put_scores(run_id, scores_of(record, 4.0, 4.0))  # known from making it
    store.put_scores(run_id, scores_of(record, 4.0, 4.0))  # looked up
    store.put_scores("0" * 32, scores_of(record, 4.0, 4.0))
    store.finish_session(run_id, "board", {}, failed=True)
    assert store.put_run(record, None, may_exist=True) == run_id
    assert store.pull(experiment, None).runs == ()


def test_two_sessions_make_one_experiment_at_once(
    url: str, experiment: str, opened: Callable[..., MlflowStore]
) -> None:
    stores = [opened(url) for _ in range(4)]
    start = threading.Barrier(len(stores))

    def make(each: MlflowStore) -> str:
        each.check()
        start.wait(30)
        return each.runs_page(experiment)

    with ThreadPoolExecutor(len(stores)) as pool:
        assert len(set(pool.map(make, stores))) == 1


# --- doors ------------------------------------------------------------------------------------


def test_the_version_is_the_servers(store: MlflowStore) -> None:
    assert store.check() == importlib.metadata.version("mlflow")


def test_a_host_that_is_not_allowed_is_explained_and_mended(
    bare_url: str, bare_store: MlflowStore, opened: Callable[..., MlflowStore]
) -> None:
    with pytest.raises(TrackingRefusedError, match=r"--allowed-hosts 127.*--tracking-host-header"):
        opened(bare_url).check()
    assert bare_store.check() == importlib.metadata.version("mlflow")


def guarded(expected: str) -> Callable[[Request], Reply | None]:
    """Return what a proxy says to whoever does not bring these credentials."""

    def answer(request: Request) -> Reply | None:
        if request.headers.get("authorization") == expected:
            return None
        return Reply(401, b"<html>", {"Content-Type": "text/html"})

    return answer


BASIC = "Basic " + base64.b64encode(b"zoe:p@ss").decode("ascii")


@pytest.mark.parametrize(
    ("expected", "right", "wrong", "named"),
    [
        (
            BASIC,
            {"MLFLOW_TRACKING_USERNAME": "zoe", "MLFLOW_TRACKING_PASSWORD": "p@ss"},
            {"MLFLOW_TRACKING_USERNAME": "zoe", "MLFLOW_TRACKING_PASSWORD": "pass"},
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            "Bearer t0k3n",
            {"MLFLOW_TRACKING_TOKEN": "t0k3n"},
            {"MLFLOW_TRACKING_TOKEN": "token"},
            "MLFLOW_TRACKING_TOKEN",
        ),
    ],
    ids=["basic", "bearer"],
)
def test_credentials_right_wrong_and_none(
    *,
    url: str,
    experiment: str,
    opened: Callable[..., MlflowStore],
    expected: str,
    right: Mapping[str, str],
    wrong: Mapping[str, str],
    named: str,
) -> None:
    record = sample(experiment)
    with proxied(url, instead=guarded(expected)) as proxy:
        with pytest.raises(TrackingRefusedError, match=r"wants credentials \(401\): set MLFLOW_"):
            opened(proxy.url).check()
        refused = rf"refused the credentials of {named} \(401\): set MLFLOW_"
        refusing = opened(proxy.url, wrong)
        with pytest.raises(TrackingRefusedError, match=refused):
            refusing.check()
        with pytest.raises(TrackingRefusedError, match=refused):
            refusing.put_run(record, None, may_exist=False)
        with pytest.raises(TrackingRefusedError, match=refused):
            refusing.pull(experiment, None)
        assert opened(url).pull(experiment, None).runs == ()
        allowed = opened(proxy.url, right)
        allowed.put_run(record, None, may_exist=False)
        assert allowed.pull(experiment, None).runs == (record,)


def test_a_server_behind_a_path_and_a_password(
    url: str, experiment: str, opened: Callable[..., MlflowStore]
) -> None:
    with proxied(url, prefix="/team/mlflow", instead=guarded(BASIC)) as proxy:
        address = f"{proxy.url}/team/mlflow/"
        with pytest.raises(TrackingRefusedError, match=r"wants credentials \(401\): set MLFLOW_"):
            opened(address).check()
        credentials = {"MLFLOW_TRACKING_USERNAME": "zoe", "MLFLOW_TRACKING_PASSWORD": "p@ss"}
        tracking = opened(address, credentials)
        record = sample(experiment)
        tracking.put_run(record, None, may_exist=False)
        assert tracking.pull(experiment, None).runs == (record,)
        with pytest.raises(TrackingRefusedError, match=r"path prefix included"):
            opened(proxy.url, credentials).check()


@pytest.mark.parametrize("name", ["", "x" * 501, "a\x00", "\ud800"])
def test_an_impossible_experiment_is_refused_before_it_is_sent(
    name: str, store: MlflowStore
) -> None:
    with pytest.raises(TrackingRefusedError, match=r"cannot be an MLflow experiment's name"):
        store.pull(name, None)
