"""Runs kept per second by a default MLflow server, against MLflow's own fluent client.

``python -m benchmarks.mlflow_logging [RUNS]``: one server of four workers, in turn as many
runs each with the same params, metrics, tags and artifacts.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
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


def ours(url: str, runs: int, first: int) -> float:
    with closing(MlflowStore(url)) as store:
        parent = store.put_session(session(f"s{first}", experiment="ours"), may_exist=False)
        started = time.perf_counter()
        for number in range(first, first + runs):
            store.put_run(run(number, experiment="ours"), parent, may_exist=False)
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
        pairs = [
            (runs / ours(url, runs, 1 + number * runs), runs / fluent(url, runs))
            for number in range(ROUNDS)
        ]
    ratios = sorted(one / other for one, other in pairs)
    print(
        f"runs per second: ours {median(one for one, _ in pairs):.1f}, fluent client "
        f"{median(other for _, other in pairs):.1f}, ratio {median(ratios):.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f}, {ROUNDS} rounds of {runs} runs)"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
