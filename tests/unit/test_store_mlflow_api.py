from __future__ import annotations

import contextlib
import dataclasses
import getpass
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import TrackingRefusedError, TrackingUnreachableError
from pytest_tipbench.store.base import RunScores
from pytest_tipbench.store.mlflow import MlflowStore
from pytest_tipbench.store.mlflow_api import ArtifactTroubleError, MlflowApi, TrackedRun
from pytest_tipbench.store.mlflow_client import MlflowClient
from pytest_tipbench.store.mlflow_settings import read_client_settings
from tests.unit import store_samples
from tests.unit.mlflow_stub import Reply, Request, StubServer, refused, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXPERIMENT = "tip-bench"
MISSING = refused("RESOURCE_DOES_NOT_EXIST", "no such thing", 404)
RUN = TrackedRun(
    run_id="r1",
    name="a run",
    artifact_uri="mlflow-artifacts:/1/r1/artifacts",
    is_running=True,
    is_deleted=False,
    tags={},
    delivered_at=None,
    newest_metric_ms=0,
)


@contextlib.contextmanager
def api_over(
    answer: Callable[[Request], Reply], **environ: str
) -> Iterator[tuple[MlflowApi, StubServer]]:
    with serving(answer) as server:
        settings = read_client_settings(
            server.url, environ={"MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0", **environ}
        )
        with contextlib.closing(MlflowClient(settings, keep_alive=True)) as client:
            yield MlflowApi(client), server


def experiment(stage: str) -> Reply:
    return Reply(body={"experiment": {"experiment_id": "7", "lifecycle_stage": stage}})


def replies(**by_ending: list[Reply]) -> Callable[[Request], Reply]:
    """Answer each path's last word with its replies in turn."""
    return lambda request: by_ending[request.path.rpartition("/")[2].replace("-", "_")].pop(0)


# --- experiments ------------------------------------------------------------------------------


def test_an_experiment_is_made_once_and_then_known() -> None:
    answers = replies(get_by_name=[MISSING], create=[Reply(body={"experiment_id": "7"})])
    with api_over(answers) as (api, server):
        assert [api.experiment_to_write(EXPERIMENT) for _ in range(3)] == ["7"] * 3
    assert server.requests[0].query == {"experiment_name": EXPERIMENT}
    assert server.requests[1].json == {"name": EXPERIMENT}
    assert len(server.requests) == 2


def test_the_session_that_comes_second_takes_what_the_first_has_made() -> None:
    answers = replies(
        get_by_name=[MISSING, experiment("active")], create=[refused("RESOURCE_ALREADY_EXISTS")]
    )
    with api_over(answers) as (api, _):
        assert api.experiment_to_write(EXPERIMENT) == "7"


def test_an_experiment_whose_creation_lost_its_answer_is_found() -> None:
    answers = replies(
        get_by_name=[MISSING, experiment("active")],
        create=[Reply(is_dropped=True), refused("RESOURCE_ALREADY_EXISTS")],
    )
    with api_over(answers) as (api, _):
        assert api.experiment_to_write(EXPERIMENT) == "7"


def test_an_experiment_that_another_session_restores_meanwhile_is_restored() -> None:
    answers = replies(
        get_by_name=[experiment("deleted"), experiment("active")],
        restore=[refused("INVALID_PARAMETER_VALUE")],
    )
    with api_over(answers) as (api, _):
        assert api.experiment_to_write(EXPERIMENT) == "7"


@pytest.mark.parametrize("afterwards", [experiment("deleted"), MISSING])
def test_an_experiment_that_cannot_be_restored_is_refused(afterwards: Reply) -> None:
    answers = replies(
        get_by_name=[experiment("deleted"), afterwards],
        restore=[refused("PERMISSION_DENIED", "not yours", 403)],
    )
    with (
        api_over(answers) as (api, _),
        pytest.raises(TrackingRefusedError, match="PERMISSION_DENIED: not yours"),
    ):
        api.experiment_to_write(EXPERIMENT)


@pytest.mark.parametrize(
    "answers",
    [
        {"get_by_name": [refused("PERMISSION_DENIED", status=403)]},
        {"get_by_name": [MISSING], "create": [refused("PERMISSION_DENIED", status=403)]},
        {
            "get_by_name": [MISSING, MISSING],
            "create": [refused("RESOURCE_ALREADY_EXISTS")],
        },
    ],
)
def test_what_else_the_server_refuses_is_passed_on(answers: dict[str, list[Reply]]) -> None:
    with api_over(replies(**answers)) as (api, _), pytest.raises(TrackingRefusedError):
        api.experiment_to_write(EXPERIMENT)


# --- runs -------------------------------------------------------------------------------------


def test_a_run_is_not_made_where_the_server_refuses() -> None:
    answers = replies(get_by_name=[experiment("active")], create=[refused("BAD_REQUEST")])
    with api_over(answers) as (api, server), pytest.raises(TrackingRefusedError):
        api.create_run(EXPERIMENT, "a run", 1, {}, lambda: None)
    assert len(server.asked("/create")) == 1


def test_a_run_that_cannot_be_looked_up_is_not_taken_for_gone() -> None:
    refusal = refused("PERMISSION_DENIED", status=403)
    with api_over(lambda _: refusal) as (api, _), pytest.raises(TrackingRefusedError):
        api.run("r1")


def test_of_runs_with_one_id_the_finished_one_counts() -> None:
    def run(run_id: str, status: str, stage: str) -> dict[str, object]:
        info = {"run_id": run_id, "status": status, "lifecycle_stage": stage}
        return {"info": info}

    runs = [
        run("gone", "FINISHED", "deleted"),
        run("half", "RUNNING", "active"),
        run("whole", "FINISHED", "active"),
    ]
    answers = replies(get_by_name=[experiment("active")], search=[Reply(body={"runs": runs})])
    with api_over(answers) as (api, server):
        found = api.find_run(EXPERIMENT, {"tipbench.kind": "cell", "tipbench.run_id": "1"})
    assert found is not None
    assert found.run_id == "whole"
    assert server.requests[1].json["filter"] == (
        "tags.`tipbench.kind` = 'cell' and tags.`tipbench.run_id` = '1'"
    )


def test_much_is_logged_in_batches_that_mlflow_takes_the_mark_in_the_last() -> None:
    with api_over(lambda _: Reply()) as (api, server):
        api.log(
            "r1",
            5,
            metrics={f"m{number}": float(number) for number in range(1700)},
            tags={f"t{number}": "v" for number in range(250)},
            params={f"p{number}": "v" for number in range(120)},
            delivered=True,
        )
    batches = [request.json for request in server.requests]
    for batch in batches:
        assert len(batch["metrics"]) <= 1000
        assert len(batch["params"]) <= 100
        assert len(batch["tags"]) <= 100
        assert sum(len(batch[kind]) for kind in ("metrics", "params", "tags")) <= 1000
    assert sum(len(batch["tags"]) for batch in batches) == 250
    assert sum(len(batch["params"]) for batch in batches) == 120
    metrics = [metric for batch in batches for metric in batch["metrics"]]
    assert len(metrics) == 1701
    assert metrics[-1]["key"] == "tipbench.delivered_at"
    assert {(metric["timestamp"], metric["step"]) for metric in metrics[:-1]} == {(5, 0)}


def test_little_is_logged_at_once() -> None:
    with api_over(lambda _: Reply()) as (api, server):
        api.log("r1", 5, metrics={"m": 1.0}, tags={"t": "v"}, params={"p": "v"})
    (request,) = server.requests
    assert request.json == {
        "run_id": "r1",
        "metrics": [{"key": "m", "value": 1.0, "timestamp": 5, "step": 0}],
        "params": [{"key": "p", "value": "v"}],
        "tags": [{"key": "t", "value": "v"}],
    }


# --- artifacts --------------------------------------------------------------------------------


def test_an_artifact_goes_where_the_run_keeps_them() -> None:
    with api_over(lambda _: Reply()) as (api, server):
        run = dataclasses.replace(RUN, artifact_uri="mlflow-artifacts:/a b/r1/artifacts")
        assert api.write_artifacts(run, {"raw.txt": "ü\x00\ud800"}) == {}
    (request,) = server.requests
    assert request.path == "/api/2.0/mlflow-artifacts/artifacts/a%20b/r1/artifacts/raw.txt"
    assert request.body == "ü\x00\\ud800".encode()


@pytest.mark.parametrize(
    "uri",
    ["file:///mlruns/1/r1", "s3://bucket/1/r1", "/mlruns", "", "mlflow-artifacts://other:5000/1"],
)
def test_artifacts_out_of_reach_become_tags(uri: str) -> None:
    with api_over(lambda _: Reply()) as (api, server):
        run = dataclasses.replace(RUN, artifact_uri=uri, tags={"artifact:raw.txt.part3": "old"})
        tags = api.write_artifacts(run, {"raw.txt": "x" * 8001 + "\x00"})
        written = dataclasses.replace(run, tags={**run.tags, **tags})
        assert api.read_artifact(written, "raw.txt") == "x" * 8001 + "\\x00"
        with pytest.raises(ValueError, match=r"it has no artifact prompt\.txt"):
            api.read_artifact(written, "prompt.txt")
    assert tags == {
        "artifact:raw.txt": "x" * 8000,
        "artifact:raw.txt.part2": "x\\x00",
        "artifact:raw.txt.part3": "",
    }
    assert server.requests == []


def test_a_server_that_names_itself_in_its_artifacts_is_in_reach() -> None:
    with api_over(lambda _: Reply(body=b"kept")) as (api, server):
        host = server.url.removeprefix("http://")
        run = dataclasses.replace(RUN, artifact_uri=f"mlflow-artifacts://{host}/1/r1/artifacts")
        assert api.read_artifact(run, "raw.txt") == "kept"


def test_a_server_that_stopped_serving_artifacts_is_asked_once() -> None:
    reply = Reply(503, {"detail": "Artifact serving is disabled: use `--serve-artifacts`"})
    with api_over(lambda _: reply) as (api, server):
        for _ in range(2):
            assert api.write_artifacts(RUN, {"raw.txt": "a"}) == {"artifact:raw.txt": "a"}
        assert len(server.requests) == 1
        with pytest.raises(ValueError, match=r"cannot be had: .* serves no artifacts"):
            api.read_artifact(RUN, "raw.txt")


def test_an_upload_that_is_refused_is_passed_on() -> None:
    reply = refused("PERMISSION_DENIED", status=403)
    with api_over(lambda _: reply) as (api, _):
        with pytest.raises(TrackingRefusedError):
            api.write_artifacts(RUN, {"raw.txt": "a"})
        with pytest.raises(TrackingRefusedError):
            api.read_artifact(RUN, "raw.txt")


def test_a_server_that_is_away_is_not_taken_for_a_missing_artifact() -> None:
    once = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    with (
        api_over(lambda _: Reply(503), **once) as (api, _),
        pytest.raises(TrackingUnreachableError),
    ):
        api.read_artifact(RUN, "raw.txt")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (MISSING, ValueError),
        (Reply(404, b"Not Found"), ValueError),
        (Reply(body=b"\xff"), UnicodeDecodeError),
        (Reply(500, b"<html>"), ArtifactTroubleError),
    ],
)
def test_an_artifact_that_cannot_be_read_is_a_value_error(
    reply: Reply, error: type[ValueError]
) -> None:
    with api_over(lambda _: reply, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1") as (api, _):
        with pytest.raises(error) as caught:
            api.read_artifact(RUN, "raw.txt")
        assert type(caught.value) is error


# --- the store over it ------------------------------------------------------------------------


def test_scores_that_are_refused_are_told() -> None:
    run = {"info": {"run_id": "r1", "artifact_uri": "s3://bucket"}}
    answers = replies(
        get=[Reply(body={"run": run})], log_batch=[refused("PERMISSION_DENIED", status=403)]
    )
    scores = RunScores(
        run_id="1" * 32,
        metrics={"tone": 3.0},
        judge_pending=False,
        judges=(),
        rubric_version="tip-v1",
        rubric_sha256="a" * 64,
        judgements=(),
    )
    with serving(answers) as server:
        store = MlflowStore(server.url, keep_alive=True, environ={}, user="zoe")
        with contextlib.closing(store), pytest.raises(TrackingRefusedError):
            store.put_scores("r1", scores)


def test_a_user_without_a_name_has_no_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no such user id")

    monkeypatch.setattr(getpass, "getuser", nobody)
    run = {"info": {"run_id": "r1", "artifact_uri": "s3://bucket", "status": "RUNNING"}}
    answers = replies(
        get_by_name=[experiment("active")],
        create=[Reply(body={"run": run})],
        log_batch=[Reply()],
        update=[Reply()],
    )
    with serving(answers) as server:
        with contextlib.closing(MlflowStore(server.url, keep_alive=True, environ={})) as store:
            store.put_run(store_samples.run(1), None, may_exist=False)
        tags = {tag["key"] for tag in server.asked("/runs/create")[0].json["tags"]}
    assert "mlflow.source.name" in tags
    assert "mlflow.user" not in tags


def test_a_run_bears_its_sessions_commit_whoever_made_the_parent_run() -> None:
    run = {"info": {"run_id": "r1", "artifact_uri": "s3://bucket", "status": "RUNNING"}}
    bodies = {"get-by-name": experiment("active"), "create": Reply(body={"run": run})}
    made_by = store_samples.session().model_copy(update={"environment": {"git_commit": "c0ffee"}})
    with (
        serving(lambda r: bodies.get(r.path.rpartition("/")[2], Reply())) as server,
        contextlib.closing(MlflowStore(server.url, keep_alive=True, environ={})) as store,
    ):
        for session in (made_by, store_samples.session(), None):
            store.put_run(store_samples.run(1), "p1", session=session, may_exist=False)
    created = [
        {tag["key"]: tag["value"] for tag in request.json["tags"]}
        for request in server.asked("/runs/create")
    ]
    assert [tags.get("mlflow.source.git.commit") for tags in created] == ["c0ffee", None, None]


def test_a_run_takes_three_calls_and_one_for_each_real_artifact() -> None:
    run = {"info": {"run_id": "r1", "artifact_uri": "mlflow-artifacts:/1/r1", "status": "RUNNING"}}
    bodies = {"get-by-name": experiment("active"), "create": Reply(body={"run": run})}
    with (
        serving(lambda r: bodies.get(r.path.rpartition("/")[2], Reply())) as server,
        contextlib.closing(MlflowStore(server.url, keep_alive=True, environ={})) as store,
    ):
        for number in (1, 2):
            store.put_run(store_samples.run(number), None, may_exist=False)
    assert [(r.method, r.path.rpartition("/")[2]) for r in server.requests] == [
        ("GET", "get-by-name"),
        *2
        * [
            ("POST", "create"),
            ("PUT", "candidates.json"),
            ("PUT", "prompt.txt"),
            ("PUT", "raw.txt"),
            ("POST", "log-batch"),
            ("POST", "update"),
        ],
    ]
