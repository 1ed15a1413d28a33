"""Owns the MLflow server of the project's own; imports http, errors and filelock only.

MLflow is found and started, never imported: that takes a second.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from pytest_tipbench.errors import (
    MissingExtraError,
    StoreError,
    TrackingRefusedError,
    TrackingUnreachableError,
)
from pytest_tipbench.http import TransportError, open_client, send

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOG = ".tipbench/mlflow-server.log"
LOCK = ".tipbench/mlflow-server.lock"

GRACE_SECONDS = 0.5
"""Between asking and killing: the server itself is gone in 0.2 s, its launcher lingers for 3."""
START_TIMEOUT_SECONDS = 120.0
_PORT_TRIES = 3
_LARGEST_LOG_BYTES = 1_000_000
_SHOWN_LOG_LINES = 8
_NEEDED_MODULES = ("mlflow", "flask", "uvicorn", "sqlalchemy")  # mlflow-skinny has no server
_OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (\w+)")
_PORT_TAKEN = re.compile(r"address already in use|only one usage of each socket address", re.I)


class EmbeddedServer:
    """An MLflow server over ``mlflow.db`` and ``mlartifacts/`` in the project's root.

    It listens on 127.0.0.1 alone, with one worker and no job runner, says nothing to anyone, and
    ends with this process, however that ends. Several sessions of one project may each have their
    own over the same files.

    Args:
        root: the project's root.
        environ: the child's environment; MLflow's and uvicorn's variables are left out of it, as
            they are meant for other servers.
    """

    def __init__(self, root: Path, *, environ: Mapping[str, str] = os.environ) -> None:
        self.root = root.resolve()
        self.log = self.root / LOG
        self._environ = environ
        self._port = 0
        self._name = ""
        self._log_begins = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._starting = filelock.FileLock(self.root / LOCK, thread_local=False)
        """Held from the launch until the server answers, in whichever thread that is awaited."""

    @property
    def url(self) -> str:
        """Where it listens, or will listen; ``wait_ready`` may have to move to another port."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server in the background and return at once.

        Raises:
            MissingExtraError: MLflow's server is not installed.
            TrackingRefusedError: the project's root cannot hold its files.
        """
        if any(importlib.util.find_spec(module) is None for module in _NEEDED_MODULES):
            raise MissingExtraError("mlflow", "`--tracking-uri embedded`")
        if not _is_sqlite(self.root / DATABASE):
            raise TrackingRefusedError(
                f"{self.root / DATABASE} is not an SQLite database: move it away for a new one"
            )
        self._port = _free_port()
        self._launch_if_alone()

    def wait_ready(self, timeout_seconds: float = START_TIMEOUT_SECONDS) -> str:
        """Wait until the server answers; return its URL.

        Raises:
            TrackingRefusedError: it cannot start, with the reason from its log.
            TrackingUnreachableError: it did not answer in time, or was stopped meanwhile.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            while self._process is None and time.monotonic() < deadline:
                if self._stopped.wait(0.1):
                    break
                self._launch_if_alone()
            for tries_left in reversed(range(_PORT_TRIES)):
                if self._answers_before(deadline):
                    return self.url
                is_taken = _PORT_TAKEN.search(self._log_text()) is not None
                if self._stopped.is_set() or not (tries_left and is_taken):
                    break
                # Somebody took the port between our choosing it and the server's binding it.
                self._end()
                self._port = _free_port()
                self._launch()
            raise self._failure(timeout_seconds)
        finally:
            self._starting.release()

    def _launch_if_alone(self) -> None:
        """Launch the server, unless another session is starting its own over the same files.

        MLflow makes a new database in many steps, and two that do so at once spoil it.
        """
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self._starting.acquire(blocking=False)
            self._launch()
        except filelock.Timeout:
            pass
        except OSError as error:
            self._starting.release()
            raise TrackingRefusedError(
                f"the embedded MLflow server cannot be started in {self.root}: {error}"
            ) from error

    def _launch(self) -> None:
        # Only our own server knows this name, so another one that took the port cannot pass for it.
        self._name = f"{secrets.token_hex(8)}.invalid"
        size = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("wb" if size > _LARGEST_LOG_BYTES else "ab") as log:
            self._log_begins = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [
                    sys.executable,
                    "-I",
                    str(Path(__file__).with_name("guard.py")),
                    str(GRACE_SECONDS),
                    *server_command(self._port, self._name),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,  # python -m and uvicorn import from here first
                env=server_environment(self._environ),
                start_new_session=True,  # Ctrl-C is the session's to handle
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def stop(self) -> None:
        """Stop the server with all its processes, and wait for their end; may be called twice."""
        self._stopped.set()
        self._end()
        self._starting.release()

    def _end(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(GRACE_SECONDS + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answers_before(self, deadline: float) -> bool:
        process = self._process
        if process is None:
            return False
        with contextlib.closing(open_client(self.url, headers={"Host": self._name})) as client:
            while time.monotonic() < deadline and process.poll() is None:
                with contextlib.suppress(TransportError):
                    seconds = max(min(5.0, deadline - time.monotonic()), 0.1)
                    path = "/api/3.0/mlflow/server-info"
                    if send(client, "GET", path, deadline_seconds=seconds).status_code == 200:
                        return True
                if self._stopped.wait(0.1):
                    break
        return False

    def _failure(self, timeout_seconds: float) -> StoreError:
        process = self._process
        if self._stopped.is_set():
            return TrackingUnreachableError("the embedded MLflow server was stopped")
        if process is None:
            return TrackingUnreachableError(
                "another session has been starting an MLflow server over the same files for "
                f"{timeout_seconds:g} s"
            )
        if process.poll() is None:
            return TrackingUnreachableError(
                f"the embedded MLflow server did not answer within {timeout_seconds:g} s; its log "
                f"is {self.log}"
            )
        return TrackingRefusedError(start_failure(self._log_text(), self.root))

    def _log_text(self) -> str:
        if self._process is None:
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode("utf-8", "replace")


def server_command(port: int, name: str) -> list[str]:
    """Return the command, to be run in the log's folder; ``name`` is one more ``Host`` it takes."""
    hosts = [name, "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*", "[::1]", "[[]::1]:*"]
    return [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        # Relative, because some versions of SQLAlchemy decode % in a path and others do not.
        *("--backend-store-uri", f"sqlite:///../{DATABASE}"),
        *("--artifacts-destination", f"../{ARTIFACTS}"),
        *("--allowed-hosts", ",".join(hosts)),
        *("--uvicorn-opts", "--no-access-log"),
    ]


def ui_command(root: Path) -> str:
    """Return the shell command that shows the project's runs when no session is running."""
    return _in_folder(
        root,
        f"mlflow ui --backend-store-uri sqlite:///{DATABASE} --artifacts-destination {ARTIFACTS}",
    )


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: nothing meant for others, no jobs, no telemetry."""
    meant_for_others = ("MLFLOW_", "_MLFLOW_", "UVICORN_", "WEB_CONCURRENCY", "PYTHONWARNINGS")
    kept = {name: value for name, value in environ.items() if not name.startswith(meant_for_others)}
    return kept | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",  # MLflow imports GitPython, which complains without a git
    }


def start_failure(log: str, root: Path) -> str:
    """Say why the server did not start, and what mends it, from what it logged."""
    database = root / DATABASE
    revision = _OTHER_SCHEMA.search(log)
    if revision and _knows_revision(revision[1]):
        command = _in_folder(root, f"mlflow db upgrade sqlite:///{DATABASE}")
        return f"{database} was made by an older MLflow: take a copy of it, then run `{command}`"
    if revision or "Can't locate revision" in log:
        return (
            f"{database} was made by a newer MLflow than the installed one: "
            "pip install --upgrade mlflow"
        )
    if "No such option" in log:
        return "the installed MLflow is too old to be embedded: pip install 'mlflow>=3.9'"
    lines = [line for line in log.splitlines() if line.strip()][-_SHOWN_LOG_LINES:]
    said = "\n".join(["its log ends with:", *(f"  {line}" for line in lines)])
    return f"the embedded MLflow server did not start; {said if lines else 'it logged nothing'}"


def _knows_revision(revision: str) -> bool:
    """Say whether the installed MLflow can migrate a database from there."""
    package = importlib.util.find_spec("mlflow")
    folders = package.submodule_search_locations or () if package is not None else ()
    return any(
        any(Path(folder, "store/db_migrations/versions").glob(f"{revision}_*.py"))
        for folder in folders
    )


def _in_folder(folder: Path, command: str) -> str:
    path = str(folder.resolve())
    if os.name == "nt":
        return f"cd /d {subprocess.list2cmdline([path])} && {command}"
    return f"cd {shlex.quote(path)} && {command}"


def _is_sqlite(database: Path) -> bool:
    """Say whether SQLite can open the file: it begins so, is empty, or does not exist yet."""
    if not database.exists():
        return True
    with database.open("rb") as file:
        return file.read(16) in (b"", b"SQLite format 3\x00")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
