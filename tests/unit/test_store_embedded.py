from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from pytest_tipbench.errors import (
    MissingExtraError,
    TrackingRefusedError,
    TrackingUnreachableError,
)
from pytest_tipbench.store import embedded, guard
from pytest_tipbench.store.embedded import (
    EmbeddedServer,
    server_command,
    server_environment,
    start_failure,
    ui_command,
)
from tests.unit.mlflow_stub import Reply, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# A server that takes its own name for `Host` alone, starts a child that would outlive it, and does
# not stop when it is asked to.
STUBBORN = """
import http.server, signal, subprocess, sys, pathlib
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path("pids").write_text(f"{child.pid}")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers["Host"] == sys.argv[2] else 403)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone_within(seconds: float, *pids: int) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    return not any(map(alive, pids))


@pytest.fixture
def run_instead(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a script stand in for MLflow; it gets the port and the name."""
    monkeypatch.setattr(embedded, "_NEEDED_MODULES", ())

    def run(script: str) -> None:
        monkeypatch.setattr(
            embedded,
            "server_command",
            lambda port, name: [sys.executable, "-c", script, str(port), name],
        )

    return run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    made = EmbeddedServer(tmp_path)
    yield made
    made.stop()


def test_it_answers_after_a_while_and_stops_with_all_its_children(
    server: EmbeddedServer, run_instead: Callable[[str], None]
) -> None:
    run_instead(STUBBORN)
    server.start()
    assert server.wait_ready(30) == server.url
    child = int((server.log.parent / "pids").read_text(encoding="ascii"))
    assert alive(child)
    server.stop()
    assert gone_within(5, child)
    with pytest.raises(OSError, match=r".+"):
        socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 1)
    server.stop()


def test_stopping_what_was_never_started_does_nothing(server: EmbeddedServer) -> None:
    server.stop()


def test_another_server_on_its_port_is_not_taken_for_it(
    server: EmbeddedServer, run_instead: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead("import time; time.sleep(600)")
    names: list[str] = []

    def other(request: object) -> Reply:
        names.append(getattr(request, "headers")["host"])  # noqa: B009 - the stub's request
        return Reply(403, b"Invalid Host header")

    with serving(other) as stranger:
        monkeypatch.setattr(embedded, "_free_port", lambda: stranger.port)
        server.start()
        with pytest.raises(
            TrackingUnreachableError, match=r"did not answer within 0\.5 s; its log"
        ):
            server.wait_ready(0.5)
    assert names[0].endswith(".invalid")


def test_a_port_that_was_taken_meanwhile_is_given_up_for_another(
    server: EmbeddedServer, run_instead: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(STUBBORN)  # Python's own words are "Address already in use"
    free_port = embedded._free_port
    with serving(lambda _: Reply(403)) as stranger:
        ports = iter([stranger.port, free_port()])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        server.start()
        assert server.wait_ready(30) == server.url
        assert server.url != stranger.url


def test_a_port_that_is_always_taken_is_given_up(
    server: EmbeddedServer, run_instead: Callable[[str], None]
) -> None:
    run_instead("import sys; sys.exit('[Errno 98] error while binding: address already in use')")
    server.start()
    with pytest.raises(TrackingRefusedError, match=r"did not start; its log ends with:\n.*in use"):
        server.wait_ready(30)
    assert server.log.read_text(encoding="utf-8").count("address already in use") == 3


def test_a_server_that_ends_is_told_with_its_own_last_lines(
    server: EmbeddedServer, run_instead: Callable[[str], None]
) -> None:
    server.log.parent.mkdir()
    server.log.write_text("an older session's last line\n", encoding="utf-8")
    run_instead("print('\\n'.join(map(str, range(20)))); raise SystemExit(1)")
    server.start()
    with pytest.raises(TrackingRefusedError) as caught:
        server.wait_ready(30)
    assert str(caught.value).splitlines()[1:] == [f"  {number}" for number in range(12, 20)]


def test_a_log_that_grew_large_begins_anew(
    server: EmbeddedServer, run_instead: Callable[[str], None]
) -> None:
    server.log.parent.mkdir()
    server.log.write_text("x" * 1_000_001, encoding="utf-8")
    run_instead("raise SystemExit('short')")
    server.start()
    with pytest.raises(TrackingRefusedError, match="  short"):
        server.wait_ready(30)
    assert server.log.read_text(encoding="utf-8") == "short\n"


def test_two_servers_over_the_same_files_start_one_after_the_other(
    server: EmbeddedServer, run_instead: Callable[[str], None], tmp_path: Path
) -> None:
    run_instead(STUBBORN)
    later = EmbeddedServer(tmp_path)
    try:
        server.start()
        later.start()
        with pytest.raises(TrackingUnreachableError, match=r"another session has been starting"):
            later.wait_ready(0.3)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(later.wait_ready, 30)
            assert server.wait_ready(30) == server.url
            assert waiting.result() == later.url != server.url
    finally:
        later.stop()


def test_stopping_before_its_turn_has_come_ends_a_wait(
    server: EmbeddedServer, run_instead: Callable[[str], None], tmp_path: Path
) -> None:
    run_instead("import time; time.sleep(600)")
    later = EmbeddedServer(tmp_path)
    server.start()
    later.start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(later.wait_ready, 60)
        later.stop()
        with pytest.raises(TrackingUnreachableError, match="was stopped"):
            waiting.result(10)


def test_stopping_ends_a_wait(server: EmbeddedServer, run_instead: Callable[[str], None]) -> None:
    run_instead("import time; time.sleep(600)")
    server.start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait_ready, 60)
        server.stop()
        with pytest.raises(TrackingUnreachableError, match="was stopped"):
            waiting.result(10)


@pytest.mark.parametrize("missing", ["mlflow", "flask"])
def test_a_missing_extra_is_named_with_its_command(
    server: EmbeddedServer, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-tipbench\[mlflow\]'"):
        server.start()


def test_mlflow_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pytest_tipbench.store.embedded import *;"
        "server = EmbeddedServer(Path(sys.argv[1])); server._launch = lambda: None;"
        "server.start(); server.stop();"
        "assert 'mlflow' not in sys.modules and 'flask' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_a_file_that_is_no_database_is_left_alone(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_NEEDED_MODULES", ())
    database = server.root / "mlflow.db"
    database.write_text("dear diary, today", encoding="utf-8")
    with pytest.raises(TrackingRefusedError, match=r"mlflow\.db is not an SQLite database: move"):
        server.start()
    assert database.read_text(encoding="utf-8") == "dear diary, today"


def test_a_root_that_takes_no_files_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_NEEDED_MODULES", ())
    (tmp_path / ".tipbench").write_text("a file where the folder should be", encoding="utf-8")
    with pytest.raises(TrackingRefusedError, match=r"cannot be started in .*: .*\.tipbench"):
        EmbeddedServer(tmp_path).start()


def test_a_launch_that_fails_holds_nobody_else_up(
    server: EmbeddedServer, run_instead: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(STUBBORN)
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(OSError("full"))
    )
    with pytest.raises(TrackingRefusedError, match=r"cannot be started in .*: full"):
        server.start()
    monkeypatch.setattr(subprocess, "Popen", real)
    later = EmbeddedServer(server.root)
    try:
        later.start()
        assert later.wait_ready(30) == later.url
    finally:
        later.stop()


# --- commands and messages --------------------------------------------------------------------


def test_the_server_listens_here_alone_with_one_worker() -> None:
    command = server_command(4711, "name.invalid")
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--host"] == "127.0.0.1"
    assert options["--port"] == "4711"
    assert options["--workers"] == "1"
    assert options["--backend-store-uri"] == "sqlite:///../mlflow.db"
    assert options["--artifacts-destination"] == "../mlartifacts"
    assert {"name.invalid", "localhost:*", "127.0.0.1:*"} <= set(
        options["--allowed-hosts"].split(",")
    )


def test_the_server_gets_no_variables_of_other_servers_and_phones_nobody() -> None:
    environment = server_environment(
        {
            "PATH": "/bin",
            "MLFLOW_TRACKING_URI": "http://other",
            "_MLFLOW_SERVER_FILE_STORE": "sqlite:///other.db",
            "UVICORN_WORKERS": "8",
            "WEB_CONCURRENCY": "8",
            "PYTHONWARNINGS": "error",
        }
    )
    assert environment == {
        "PATH": "/bin",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }


@pytest.mark.skipif(os.name == "nt", reason="another shell quotes in another way")
def test_the_ui_command_can_be_pasted(tmp_path: Path) -> None:
    root = tmp_path / "a b"
    root.mkdir()
    assert ui_command(root) == (
        f"cd '{root}' && "
        "mlflow ui --backend-store-uri sqlite:///mlflow.db --artifacts-destination mlartifacts"
    )


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("disk I/O error", "did not start; its log ends with:\n  disk I/O error"),
        (
            # MLflow's first revision, of 2019
            "Detected out-of-date database schema (found version 451aebb31d03, but expected 1ff)",
            "mlflow db upgrade sqlite:///mlflow.db",
        ),
        (
            "Detected out-of-date database schema (found version ffffffffffff, but expected 1ff)",
            "pip install --upgrade mlflow",
        ),
        ("alembic: Can't locate revision identified by 'f00'", "pip install --upgrade mlflow"),
        ("Error: No such option: --allowed-hosts", "pip install 'mlflow>=3.9'"),
        ("Traceback\n\nValueError: boo\n", "log ends with:\n  Traceback\n  ValueError: boo"),
        ("", "did not start; it logged nothing"),
    ],
)
def test_what_the_log_says_is_explained(
    log: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_knows_revision", lambda revision: revision == "451aebb31d03")
    assert said in start_failure(log, tmp_path)


# --- the guard --------------------------------------------------------------------------------

PARENT = """
import os, subprocess, sys
guarded = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)
print(guarded.pid, flush=True)
sys.stdin.readline()
"""


def guarded(*command: str) -> subprocess.Popen[str]:
    """Start a parent that has the command guarded; it says the guard's pid and awaits a line."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, sys.executable, guard.__file__, "0.5", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("end", ["killed", "on its own"])
def test_what_is_guarded_ends_with_its_parent_however_that_ends(end: str, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, pathlib, signal, subprocess, sys, time;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        "pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} {child.pid} ');"
        "time.sleep(600)"
    )
    with guarded(sys.executable, "-c", script, str(pids)) as parent:
        assert parent.stdout is not None
        guard_pid = int(parent.stdout.readline())
        deadline = time.monotonic() + 30
        while not (pids.exists() and pids.read_text(encoding="ascii").endswith(" ")):
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        if end == "killed":
            parent.kill()
        else:
            parent.communicate("\n", timeout=10)
    members = [guard_pid, *map(int, pids.read_text(encoding="ascii").split())]
    assert gone_within(10, *members)


def test_a_command_that_asks_for_its_end_gets_time_for_it(tmp_path: Path) -> None:
    note = tmp_path / "note"
    script = (
        "import pathlib, signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit()));"
        "print('ready', flush=True); time.sleep(600)"
    )
    with guarded(sys.executable, "-c", script, str(note)) as parent:
        assert parent.stdout is not None
        lines = {parent.stdout.readline(), parent.stdout.readline()}
        assert "ready\n" in lines
        parent.kill()
    guard_pid = next(int(line) for line in lines if line != "ready\n")
    assert gone_within(10, guard_pid)
    assert note.exists()


def test_the_guard_ends_with_its_command_and_its_exit_code() -> None:
    command = [sys.executable, guard.__file__, "1", sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as process:
        assert process.wait(30) == 7


def test_without_mlflow_no_revision_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not embedded._knows_revision("451aebb31d03")


def test_a_revision_is_known_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = tmp_path / "store" / "db_migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "451aebb31d03_add_metric_step.py").touch()
    package = importlib.machinery.ModuleSpec("mlflow", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: package)
    assert embedded._knows_revision("451aebb31d03")
    assert not embedded._knows_revision("ffffffffffff")
