"""Owns the locks that keep local cells from overlapping; imports no pytest and no provider.

Two kinds of file locks, in the user's runtime folder and freed by the system when their holder
dies. A *session* lock is held by the controller from before its first local item to its end. A
*talk* lock is held by the process that talks to a model: a worker can outlive its killed
controller by many seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout
from platformdirs import user_runtime_dir

from pytest_tipbench.addresses import without_credentials
from pytest_tipbench.errors import LockTimeoutError, UserMistakeError
from pytest_tipbench.providers.ollama_names import (
    DEFAULT_HOST,
    host_key,
    normalise_host,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MEMORY = "this machine's memory"
"""The lock that llama.cpp and every loopback Ollama share."""

_POLL_SECONDS = 0.1
_NOTE_SECONDS = 0.5
"""How long a holder may take from taking a lock to saying who it is."""


@dataclass(frozen=True)
class OllamaHost:
    """An Ollama server by its normalised address."""

    url: str

    @property
    def shown(self) -> str:
        """The address as it may be printed: without the credentials that it may carry."""
        return without_credentials(self.url)

    @property
    def key(self) -> str:
        """Identity of the host: all names of this machine are one. A name may be looked up."""
        return host_key(self.url)

    @property
    def is_loopback(self) -> bool:
        """True when its memory is this machine's."""
        return self.key.startswith("127.0.0.1:")

    @property
    def lock_name(self) -> str:
        """Name of the host's own lock."""
        return f"Ollama at {self.key}"


def ollama_hosts(texts: Iterable[str]) -> tuple[OllamaHost, ...]:
    """Return the hosts that some addresses name, each once; the default host for none.

    Raises:
        UserMistakeError: an address that is none.
    """
    hosts = [OllamaHost(normalise_host(text)) for text in texts] or [OllamaHost(DEFAULT_HOST)]
    if len(hosts) == 1:  # nothing to compare it with, so no name is looked up
        return tuple(hosts)
    by_key: dict[str, OllamaHost] = {}
    for host in hosts:
        by_key.setdefault(host.key, host)
    return tuple(by_key.values())


def session_locks(hosts: Iterable[OllamaHost], *, uses_llamacpp: bool) -> tuple[str, ...]:
    """Return the names of the locks that a session takes, in the order in which all take them.

    Args:
        hosts: the Ollama hosts that the session's cells need, and the loopback hosts that it names
            beside llama.cpp.
        uses_llamacpp: cells run in a child process of this machine.
    """
    named = list(hosts)
    names = {host.lock_name for host in named}
    if uses_llamacpp or any(host.is_loopback for host in named):
        names.add(MEMORY)
    return tuple(sorted(names))


def talk_locks(host: OllamaHost | None, all_hosts: Iterable[OllamaHost]) -> tuple[str, ...]:
    """Return the names of the locks that a process takes while it talks to one model.

    Several loopback hosts are taken for separate memories, so that their processes do not exclude
    each other; llama.cpp excludes them all.

    Args:
        host: the Ollama host that the process talks to, None for llama.cpp.
        all_hosts: every Ollama host of the session.
    """
    loopback = [other for other in all_hosts if other.is_loopback]
    if host is None:
        return tuple(sorted({MEMORY, *(other.lock_name for other in loopback)}))
    if not host.is_loopback or len(loopback) > 1:
        return (host.lock_name,)
    return tuple(sorted({MEMORY, host.lock_name}))


class MemoryLocks:
    """Takes a set of named locks together, and says who holds one that it waits for."""

    def __init__(
        self,
        names: Iterable[str],
        kind: Literal["session", "talk"],
        *,
        folder: Path | None = None,
        timeout_seconds: float,
        on_wait: Callable[[str], None],
    ) -> None:
        """Name the locks; nothing is taken yet.

        Args:
            names: as :func:`session_locks` or :func:`talk_locks` return them.
            kind: the two never exclude each other.
            folder: where the lock files are; the user's runtime folder by default.
            timeout_seconds: how long to wait for all of them together.
            on_wait: told, once for each lock that is held by another, by whom and since when.
        """
        self._names = tuple(sorted(set(names)))  # one order for all, so that no two wait in a ring
        self._kind = kind
        self._folder = folder
        self._timeout_seconds = timeout_seconds
        self._on_wait = on_wait
        self._held = ExitStack()

    def acquire(self) -> None:
        """Take all locks, or none.

        Raises:
            LockTimeoutError: another process held one of them for longer than the timeout.
            UserMistakeError: there is no folder in which locks can be made.
        """
        if not self._names:
            return
        folder = self._folder
        try:
            if folder is None:
                folder = _runtime_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            deadline = time.monotonic() + self._timeout_seconds
            with ExitStack() as taking:
                for name in self._names:
                    taking.enter_context(self._hold(folder, name, deadline))
                self._held = taking.pop_all()
        except (OSError, NotImplementedError) as error:  # filelock's word for a disk without locks
            raise UserMistakeError(
                f"no lock can be made in the runtime folder{f' {folder}' if folder else ''} "
                f"({error}): set XDG_RUNTIME_DIR (on Windows TEMP) to a folder of your own, the "
                f"same for every session"
            ) from error

    def release(self) -> None:
        """Give all locks back; does nothing when none is held."""
        self._held.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the locks for a while; raises as :meth:`acquire`."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    @contextmanager
    def _hold(self, folder: Path, name: str, deadline: float) -> Iterator[None]:
        stem = f"{self._kind}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        lock = FileLock(folder / f"{stem}.lock", thread_local=False)
        note = folder / f"{stem}.holder"
        self._acquire(lock, name, note, deadline)
        try:
            _write_note(note)
            yield
        finally:
            # Gone before the lock is: a stale note would name the wrong process.
            with contextlib.suppress(OSError):
                note.unlink()
            lock.release()

    def _acquire(self, lock: FileLock, name: str, note: Path, deadline: float) -> None:
        noted_by = min(time.monotonic() + _NOTE_SECONDS, deadline)
        is_said = False
        while True:
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                return
            holder = _read_note(note)
            if not is_said and (holder is not None or time.monotonic() >= noted_by):
                is_said = True
                self._on_wait(f"waiting for {name}: {holder or 'another session'} uses it")
            if time.monotonic() >= deadline:
                raise LockTimeoutError(
                    f"{name} is in use by {holder or 'another session'}; gave up after "
                    f"{self._timeout_seconds:g} s: wait for it to end, or raise --lock-timeout"
                )
            time.sleep(min(_POLL_SECONDS, max(deadline - time.monotonic(), 0.001)))


def _runtime_folder() -> Path:
    """Return the folder of the user's lock files.

    Raises:
        OSError: the system has none that is the user's own.
    """
    with warnings.catch_warnings():
        # Where XDG_RUNTIME_DIR is not set, a folder in the temporary one serves as well.
        warnings.simplefilter("ignore")
        return Path(user_runtime_dir("pytest-tipbench", appauthor=False))


def _write_note(path: Path) -> None:
    """Note who holds the lock; without a note only a waiter's line is vaguer."""
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "since": since}), encoding="utf-8")


def _read_note(path: Path) -> str | None:
    """Return who holds the lock; None where there is no note, or one that cannot be read."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        pid, since = int(note["pid"]), datetime.fromisoformat(note["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_today = since.date() == datetime.now(since.tzinfo).date()
    said_since = since.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")
    return f"another session (pid {pid}, since {said_since})"
