"""Watches sessions from outside: waits for what they do, and counts what they hold in memory."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import psutil

from tests.acceptance.conftest import Outcome

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator

    from tests.acceptance.conftest import Project
    from tests.ollama_double import Event


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.01)


class Session:
    """A pytest session under way, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        return "".join(self._lines)

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def says(self, words: str) -> None:
        """Wait until it says this."""
        until(lambda: words in self.text or not self.is_running)
        assert words in self.text, self.text

    def ended(self, seconds: float = 60.0) -> Outcome:
        """Wait for its end."""
        code = self.process.wait(seconds)
        self._reader.join()
        return Outcome(code, self.text)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self._lines.append(line)


@contextlib.contextmanager
def started(project: Project, *arguments: str) -> Iterator[Session]:
    """Start a session that is gone at the end, whatever happens meanwhile."""
    session = Session(project.start(*arguments))
    try:
        yield session
    finally:
        family = members_of(session.pid)
        session.process.kill()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        session.ended()


def members_of(pid: int) -> list[psutil.Process]:
    """Return the process with everything that it started."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def are_gone(members: Iterable[psutil.Process]) -> bool:
    """Say whether all of them have ended."""
    for member in members:
        with contextlib.suppress(psutil.NoSuchProcess):
            if member.is_running() and member.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def ours_together(events: Iterable[Event]) -> int:
    """Return the largest number of models that held memory through us at one time."""
    most = now = 0
    for event in events:
        if not event.foreign:
            now += {"load": 1, "gone": -1}.get(event.kind, 0)
            most = max(most, now)
    return most
