"""Runs kept per second by a default MLflow server, against MLflow's own fluent client.

``python -m benchmarks.mlflow_logging [RUNS]``: one server of four workers, in turn as many
runs each with the same params, metrics, tags and artifacts; ours also with a connection that is
kept for certain, and with one for each call, to show what measuring the two first is worth.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import httpx

from pytest_tipbench.store import mlflow_runs
from pytest_tipbench.store.embedded import server_environment
from pytest_tipbench.store.mlflow import MlflowStore
from tests.unit.store_samples import run, session

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 3
CONNECTIONS = {"measured first": None, "kept": True, "one for each call": False}

FLUENT = """
import json, sys, time
import mlflow

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("fluent")
payload = json.loads(sys.argv[3])
started = time.perf_counter()
for _ in range(int(sys.argv[2])):
    with mlflow.start_run():
        mlflow.log_params(payload["params"])
        mlflow.log_metrics(payload["metrics"])
        mlflow.set_tags(payload["tags"])
        for name, text in payload["artifacts"].items():
            mlflow.log_text(text, name)
print(time.perf_counter() - started)
"""


@contextmanager
def default_server(folder: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    environment = server_environment(os.environ) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = (folder / "log").open("wb")
    with (
        closing(log),
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                try:
                    if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield url
        finally:
            os.killpg(process.pid, 15)


def ours(url: str, runs: int, keep_alive: bool | None) -> float:
    made_by = session(uuid.uuid4().hex, experiment="ours")
    records = [
        run(number, experiment="ours", session_id=made_by.session_id).model_copy(
            update={"run_id": uuid.uuid4().hex}
        )
        for number in range(runs)
    ]
    with closing(MlflowStore(url, keep_alive=keep_alive)) as store:
        parent = store.put_session(made_by, may_exist=False)
        started = time.perf_counter()
        for record in records:
            store.put_run(record, parent, session=made_by, may_exist=False)
        return time.perf_counter() - started


def fluent(url: str, runs: int) -> float:
    payload = mlflow_runs.cell_payload(run(1), None, {})
    same = {name: getattr(payload, name) for name in ("params", "metrics", "tags", "artifacts")}
    answer = subprocess.run(
        [sys.executable, "-c", FLUENT, url, str(runs), json.dumps(same)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(answer.stdout.splitlines()[-1])


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory() as name, default_server(Path(name)) as url:
        rounds = [
            {
                **{name: runs / ours(url, runs, kept) for name, kept in CONNECTIONS.items()},
                "fluent": runs / fluent(url, runs),
            }
            for _ in range(ROUNDS)
        ]
    rate = {name: median(each[name] for each in rounds) for name in rounds[0]}
    ratios = sorted(each["measured first"] / each["fluent"] for each in rounds)
    print(
        f"runs per second: ours {rate['measured first']:.1f}, fluent client {rate['fluent']:.1f}, "
        f"ratio {median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}, {ROUNDS} rounds of "
        f"{runs} runs); ours with a connection that is kept {rate['kept']:.1f}, with one for each "
        f"call {rate['one for each call']:.1f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
