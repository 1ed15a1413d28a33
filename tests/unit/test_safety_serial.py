from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import filelock
import pytest

from pytest_tipbench.errors import LockTimeoutError, UserMistakeError
from pytest_tipbench.safety.serial import (
    MEMORY,
    MemoryLocks,
    ollama_hosts,
    session_locks,
    talk_locks,
)
from tests.unit.machine_samples import Machine, machine
from tests.unit.safety_samples import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = ["machine"]

pytestmark = pytest.mark.usefixtures("machine")  # no name here is any real machine's

_HOLDER = """
import sys
from pathlib import Path
from pytest_tipbench.safety.serial import MemoryLocks
folder, kind, *names = sys.argv[1:]
locks = MemoryLocks(names, kind, folder=Path(folder), timeout_seconds=60, on_wait=print)
locks.acquire()
print("held", flush=True)
sys.stdin.read()
locks.release()
"""


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@contextmanager
def another_process(
    folder: Path, *names: str, kind: str = "session"
) -> Iterator[subprocess.Popen[str]]:
    """Hold the locks in a process of its own, until its standard input is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder), kind, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def locks_on(
    folder: Path,
    *names: str,
    kind: Literal["session", "talk"] = "session",
    timeout_seconds: float = 0.0,
    on_wait: Callable[[str], None] = lambda _: None,
) -> MemoryLocks:
    return MemoryLocks(names, kind, folder=folder, timeout_seconds=timeout_seconds, on_wait=on_wait)


def is_free(folder: Path, name: str, kind: Literal["session", "talk"] = "session") -> bool:
    locks = locks_on(folder, name, kind=kind)
    try:
        locks.acquire()
    except LockTimeoutError:
        return False
    locks.release()
    return True


# --- which locks there are ------------------------------------------------------------------------

LOOPBACK = "Ollama at 127.0.0.1:11434"
SECOND = "Ollama at 127.0.0.1:11435"
ELSEWHERE = "Ollama at gpu.example:11434"


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "LOCALHOST:11434",
        "http://localhost:11434",
        "http://127.0.0.1:11434/",
        " 127.0.0.1:11434 ",
        ":11434",
        "",
        "localhost.",
        "127.1",
        "[::ffff:127.0.0.1]",
        "ip6-localhost",
        "desk.example",
        "desk.lan",
        "198.51.100.7",
    ],
)
def test_all_names_of_the_loopback_are_one_host(machine: Machine, address: str) -> None:
    machine.addresses |= {"ip6-localhost": ["::1"], "desk.lan": ["198.51.100.7"]}
    (host,) = ollama_hosts([address])
    assert host.is_loopback
    assert session_locks([host], uses_llamacpp=False) == (LOOPBACK, MEMORY)


def test_one_host_named_several_ways_is_one_host(machine: Machine) -> None:
    names = ["localhost", "http://127.0.0.1:11434/", "[::ffff:127.0.0.1]", "Desk.example", "[::1]"]
    hosts = ollama_hosts([*names, "desk.example:11435"])
    assert [host.key for host in hosts] == ["127.0.0.1:11434", "127.0.0.1:11435"]
    assert [host.url for host in hosts] == [
        "http://localhost:11434",
        "http://desk.example:11435",
    ]


def test_a_single_host_is_not_looked_up_before_it_is_needed(machine: Machine) -> None:
    (host,) = ollama_hosts(["gpu.example"])
    assert machine.looked_up == []
    assert not host.is_loopback
    assert machine.looked_up == ["gpu.example"]


def test_a_host_is_shown_without_its_credentials() -> None:
    (host,) = ollama_hosts(["http://user:secret@127.0.0.1:1"])
    assert host.shown == "http://127.0.0.1:1"
    assert "secret" not in host.lock_name


def test_without_an_address_the_default_host_is_meant() -> None:
    assert [host.url for host in ollama_hosts([])] == ["http://127.0.0.1:11434"]


def test_an_address_that_is_none_is_a_mistake() -> None:
    with pytest.raises(UserMistakeError, match="ftp"):
        ollama_hosts(["ftp://localhost"])


@pytest.mark.parametrize(
    ("addresses", "uses_llamacpp", "names"),
    [
        # A loopback Ollama and llama.cpp share this machine's memory.
        (["127.0.0.1"], False, (LOOPBACK, MEMORY)),
        ([], True, (MEMORY,)),
        (["127.0.0.1"], True, (LOOPBACK, MEMORY)),
        # A host elsewhere has a memory of its own.
        (["gpu.example"], False, (ELSEWHERE,)),
        (["gpu.example"], True, (ELSEWHERE, MEMORY)),
        # llama.cpp takes all loopback hosts named in its session.
        (["127.0.0.1:11435", "127.0.0.1"], True, (LOOPBACK, SECOND, MEMORY)),
        (["127.0.0.1:11435", "127.0.0.1"], False, (LOOPBACK, SECOND, MEMORY)),
        ([], False, ()),
    ],
)
def test_locks_of_a_session(
    addresses: Sequence[str], uses_llamacpp: bool, names: tuple[str, ...]
) -> None:
    hosts = ollama_hosts(addresses) if addresses else ()
    assert session_locks(hosts, uses_llamacpp=uses_llamacpp) == names


@pytest.mark.parametrize(
    ("addresses", "talks_to", "names"),
    [
        (["127.0.0.1"], "127.0.0.1:11434", (LOOPBACK, MEMORY)),
        (["127.0.0.1"], None, (LOOPBACK, MEMORY)),
        (["gpu.example"], "gpu.example:11434", (ELSEWHERE,)),
        (["gpu.example"], None, (MEMORY,)),
        # One loopback host beside one elsewhere: still this machine's one memory.
        (["127.0.0.1", "gpu.example"], "127.0.0.1:11434", (LOOPBACK, MEMORY)),
        # Several loopback hosts are separate memories...
        (["127.0.0.1", "127.0.0.1:11435"], "127.0.0.1:11434", (LOOPBACK,)),
        (["127.0.0.1", "127.0.0.1:11435"], "127.0.0.1:11435", (SECOND,)),
        # ... all of which llama.cpp keeps out.
        (["127.0.0.1", "127.0.0.1:11435"], None, (LOOPBACK, SECOND, MEMORY)),
    ],
)
def test_locks_of_a_process_that_talks(
    addresses: Sequence[str], talks_to: str | None, names: tuple[str, ...]
) -> None:
    hosts = ollama_hosts(addresses)
    host = next((host for host in hosts if host.key == talks_to), None)
    assert talk_locks(host, hosts) == names


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((["localhost"], False), (["127.0.0.1"], False)),
        ((["127.0.0.1:1"], False), (["127.0.0.1:2"], False)),  # one memory, two servers
        (([], True), (["127.0.0.1"], False)),
        (([], True), (["127.0.0.1", "127.0.0.1:2"], False)),
        (([], True), ([], True)),
        ((["gpu.example"], False), (["GPU.example:11434"], False)),
    ],
)
def test_sessions_that_share_a_memory_share_a_lock(
    one: tuple[list[str], bool], other: tuple[list[str], bool]
) -> None:
    names = [
        set(session_locks(ollama_hosts(texts) if texts else (), uses_llamacpp=uses_llamacpp))
        for texts, uses_llamacpp in (one, other)
    ]
    assert names[0] & names[1]


def test_hosts_elsewhere_share_nothing_with_this_machine() -> None:
    elsewhere = session_locks(ollama_hosts(["gpu.example"]), uses_llamacpp=False)
    here = session_locks(ollama_hosts(["127.0.0.1"]), uses_llamacpp=True)
    assert not set(elsewhere) & set(here)


# --- taking them ----------------------------------------------------------------------------------


def test_a_second_session_is_told_for_whom_it_waits_and_gives_up(tmp_path: Path) -> None:
    lines: list[str] = []
    before = datetime.now().astimezone() - timedelta(seconds=60)
    with another_process(tmp_path, MEMORY) as holder:
        locks = locks_on(tmp_path, MEMORY, timeout_seconds=0.3, on_wait=lines.append)
        with pytest.raises(LockTimeoutError) as caught:
            locks.acquire()
    (line,) = lines
    said = f"this machine's memory: another session (pid {holder.pid}, since "
    assert line.startswith(f"waiting for {said}")
    since = line.partition("since ")[2].partition(")")[0]
    if since > f"{before:%H:%M:%S}":  # not across midnight
        assert since <= f"{datetime.now().astimezone():%H:%M:%S}"
    assert str(caught.value) == (
        f"this machine's memory is in use by another session (pid {holder.pid}, since {since}); "
        f"gave up after 0.3 s: wait for it to end, or raise --lock-timeout"
    )


def test_the_lock_comes_free_when_the_other_session_ends(tmp_path: Path) -> None:
    lines: list[str] = []
    with another_process(tmp_path, MEMORY) as holder:
        locks = locks_on(tmp_path, MEMORY, timeout_seconds=30, on_wait=lines.append)
        waiter = threading.Thread(target=locks.acquire)
        waiter.start()
        until(lambda: bool(lines))
        assert waiter.is_alive()
        assert holder.stdin is not None
        holder.stdin.close()
        waiter.join(20)
        assert not waiter.is_alive()
    assert len(lines) == 1
    locks.release()


def test_the_lock_comes_free_when_its_holder_is_killed(tmp_path: Path) -> None:
    lines: list[str] = []
    with another_process(tmp_path, MEMORY) as holder:
        locks = locks_on(tmp_path, MEMORY, timeout_seconds=30, on_wait=lines.append)
        waiter = threading.Thread(target=locks.acquire)
        waiter.start()
        until(lambda: bool(lines))
        holder.kill()  # SIGKILL: nothing of it runs any more
        waiter.join(20)
        assert not waiter.is_alive()
    assert f"pid {holder.pid}" in lines[0]
    with pytest.raises(LockTimeoutError, match=f"pid {os.getpid()}"):  # the note is the new one
        locks_on(tmp_path, MEMORY).acquire()
    locks.release()


def test_a_talk_lock_and_a_session_lock_do_not_exclude_each_other(tmp_path: Path) -> None:
    with another_process(tmp_path, MEMORY, kind="session"):
        assert is_free(tmp_path, MEMORY, "talk")
        assert not is_free(tmp_path, MEMORY, "session")


def test_all_are_taken_or_none(tmp_path: Path) -> None:
    with another_process(tmp_path, "b"):
        with pytest.raises(LockTimeoutError, match=r"^b is in use"):
            locks_on(tmp_path, "a", "b", "c").acquire()
        assert is_free(tmp_path, "a")
        assert is_free(tmp_path, "c")


def test_two_sessions_that_name_them_in_other_orders_do_not_wait_in_a_ring(tmp_path: Path) -> None:
    rounds = 25
    finished = []

    def take_again_and_again(*names: str) -> None:
        for _ in range(rounds):
            with locks_on(tmp_path, *names, timeout_seconds=60).held():
                pass
        finished.append(names)

    threads = [
        threading.Thread(target=take_again_and_again, args=names)
        for names in (("a", "b", "c"), ("c", "b", "a"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(finished) == len(threads)


def test_the_timeout_is_for_all_locks_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("pytest_tipbench.safety.serial.time", clock)
    started = clock.now
    first, second = locks_on(tmp_path, "a", "b"), locks_on(tmp_path, "c")
    first.acquire()
    second.acquire()
    clock.after(6.0, first.release)
    with pytest.raises(LockTimeoutError, match=r"^c is in use"):
        locks_on(tmp_path, "a", "b", "c", timeout_seconds=10.0).acquire()
    assert clock.now - started == pytest.approx(10.0, abs=0.2)  # not 6 + 10
    second.release()


def test_without_names_nothing_is_needed(tmp_path: Path) -> None:
    folder = tmp_path / "never made"
    with locks_on(folder).held():
        assert not folder.exists()


def test_releasing_twice_or_never_taken_is_fine(tmp_path: Path) -> None:
    locks = locks_on(tmp_path, MEMORY)
    locks.release()
    locks.acquire()
    locks.release()
    locks.release()
    assert is_free(tmp_path, MEMORY)


def test_no_note_is_left_behind(tmp_path: Path) -> None:
    with locks_on(tmp_path, MEMORY).held():
        (note,) = tmp_path.glob("*.holder")
        assert json.loads(note.read_text(encoding="utf-8"))["pid"] == os.getpid()
    assert not list(tmp_path.glob("*.holder"))


@pytest.mark.parametrize(
    "note",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"[1, 2]",
        b'"text"',
        b'{"pid": "x", "since": "2026-01-01T00:00:00+00:00"}',
        b'{"pid": 5}',
        b'{"pid": 5, "since": "soon"}',
        b'{"pid": 5, "since": 7}',
        b'{"pid": null, "since": null}',
    ],
)
def test_a_holder_that_left_no_readable_note_is_another_session(
    note: bytes | None, tmp_path: Path
) -> None:
    lines: list[str] = []
    with another_process(tmp_path, MEMORY):
        (path,) = tmp_path.glob("*.holder")
        path.unlink()
        if note is not None:
            path.write_bytes(note)
        with pytest.raises(LockTimeoutError, match="in use by another session; gave up"):
            locks_on(tmp_path, MEMORY, timeout_seconds=0.2, on_wait=lines.append).acquire()
    assert lines == ["waiting for this machine's memory: another session uses it"]


def test_a_session_of_another_day_is_told_with_its_date(tmp_path: Path) -> None:
    with another_process(tmp_path, MEMORY):
        (path,) = tmp_path.glob("*.holder")
        note = {"pid": 77, "since": "2025-12-31T23:59:58+00:00"}
        path.write_text(json.dumps(note), encoding="utf-8")
        with pytest.raises(LockTimeoutError, match=r"\(pid 77, since 2025-12-31 23:59\)"):
            locks_on(tmp_path, MEMORY).acquire()


def test_a_note_that_cannot_be_written_costs_no_lock(tmp_path: Path) -> None:
    with locks_on(tmp_path, MEMORY).held():
        (path,) = tmp_path.glob("*.holder")
    path.mkdir()
    with locks_on(tmp_path, MEMORY).held():
        assert not is_free(tmp_path, MEMORY)


# --- where they are -------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    with pytest.raises(UserMistakeError, match=r"no lock can be made.*file.*set XDG_RUNTIME_DIR"):
        locks_on(in_the_way / "below", MEMORY).acquire()


def test_a_lock_file_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    with locks_on(tmp_path, MEMORY).held():
        (path,) = tmp_path.glob("*.lock")
    path.unlink(missing_ok=True)  # Windows has removed it
    path.mkdir()
    with pytest.raises(UserMistakeError, match="no lock can be made"):
        locks_on(tmp_path, MEMORY).acquire()


def test_a_disk_that_knows_no_locks_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(UserMistakeError, match=r"not appear to support flock.*XDG_RUNTIME_DIR"):
        locks_on(tmp_path, MEMORY).acquire()


@pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="no variable names the runtime folder there"
)
def test_the_folder_is_the_users_runtime_folder_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with MemoryLocks([MEMORY], "session", timeout_seconds=0, on_wait=print).held():
        folder = tmp_path / "pytest-tipbench"
        assert list(folder.glob("*.lock"))
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_system_without_a_runtime_folder_is_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with MemoryLocks(["a lock of this test"], "session", timeout_seconds=5, on_wait=print).held():
        pass
