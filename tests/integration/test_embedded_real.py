from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_tipbench.errors import TrackingRefusedError, TrackingUnreachableError
from pytest_tipbench.store import guard
from pytest_tipbench.store.embedded import EmbeddedServer, ui_command
from pytest_tipbench.store.mlflow import MlflowStore
from tests.unit import store_samples
from tests.unit.test_store_embedded import gone_within

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs the extra `mlflow`"
)


@contextlib.contextmanager
def opened(url: str) -> Iterator[MlflowStore]:
    with contextlib.closing(MlflowStore(url, keep_alive=True, environ={})) as store:
        yield store


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose name a careless URI would misread, with one run in its new database."""
    root = tmp_path_factory.mktemp("project") / "müsli & 100%20 #1?"
    root.mkdir()
    servers = [EmbeddedServer(root), EmbeddedServer(root)]
    try:
        for server in servers:
            server.start()
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(EmbeddedServer.wait_ready, servers)
        record = store_samples.run(1)
        with opened(first) as store, opened(second) as other:
            store.put_run(record, None, may_exist=False)
            assert other.pull(record.experiment, None).runs == (record,)
    finally:
        for server in servers:
            server.stop()
    return root


def test_two_sessions_of_one_project_share_its_files(project: Path) -> None:
    assert {path.name for path in project.iterdir()} == {"mlflow.db", "mlartifacts", ".tipbench"}
    kept = {path.name for path in (project / "mlartifacts").rglob("*") if path.is_file()}
    assert kept == {"candidates.json", "prompt.txt", "raw.txt"}
    ours = {path.name for path in (project / ".tipbench").iterdir()}
    assert ours == {"mlflow-server.log", "mlflow-server.lock"}


def test_a_killed_session_leaves_no_process(project: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path;"
        "from pytest_tipbench.store.embedded import EmbeddedServer;"
        "server = EmbeddedServer(Path(sys.argv[1])); server.start(); server.wait_ready();"
        "print('ready', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(project)], stdout=subprocess.PIPE
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"ready\n"
        children = psutil.Process(session.pid).children(recursive=True)
        assert len(children) >= 3  # the guard, MLflow's launcher, uvicorn
        session.kill()
    assert gone_within(10, *(child.pid for child in children))


@pytest.mark.skipif(os.name == "nt", reason="the command is for another shell")
def test_the_ui_command_shows_the_runs_from_anywhere(project: Path, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = f"{ui_command(project)} --port {port} --workers 1"
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    guarded = [sys.executable, guard.__file__, "0.5", "sh", "-c", command]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            guarded, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=tmp_path, env=environ
        ) as process,
        opened(f"http://127.0.0.1:{port}") as store,
    ):
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            with contextlib.suppress(TrackingUnreachableError):
                pulled = store.pull(store_samples.EXPERIMENT, None)
                break
            threading.Event().wait(0.2)
        assert pulled.runs == (store_samples.run(1),)
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ("451aebb31d03", r"older MLflow: take a copy .* mlflow db upgrade sqlite:///mlflow\.db"),
        ("ffffffffffff", r"newer MLflow than the installed one: pip install --upgrade mlflow"),
    ],
)
def test_a_database_of_another_mlflow_is_explained(
    revision: str, said: str, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "mlflow.db").write_bytes((project / "mlflow.db").read_bytes())
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    server = EmbeddedServer(tmp_path)
    try:
        server.start()
        with pytest.raises(TrackingRefusedError, match=said):
            server.wait_ready()
    finally:
        server.stop()
