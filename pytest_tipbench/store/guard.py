"""Runs a command that ends with its parent: a script of the standard library alone.

``python guard.py GRACE_SECONDS COMMAND…`` with a pipe as standard input. When the pipe reaches its
end, as it does however the parent ends, the command is asked to stop, and after the grace period it
is killed with all its children. Start it in a process group of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.2


def main(arguments: Sequence[str]) -> int:
    """Run the command until it ends or the parent does; return the command's exit code."""
    grace_seconds, *command = arguments
    parent = os.getppid()
    pipe_has_ended = threading.Event()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - what we are for
    threading.Thread(target=_watch_pipe, args=(pipe_has_ended,), daemon=True).start()
    while child.poll() is None:
        # A child that the parent forked may hold the pipe open after the parent's end.
        if pipe_has_ended.wait(POLL_SECONDS) or os.getppid() != parent:
            _end(child, float(grace_seconds))
            break
    _kill_left_overs(child)
    return child.wait()


def _watch_pipe(has_ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    has_ended.set()


def _end(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    if os.name != "nt":  # there, terminate() would orphan the child's own children
        child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_seconds if os.name != "nt" else 0)


def _kill_left_overs(child: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the command's tree; on POSIX the group, which we are part of."""
    if os.name == "nt":
        command = ["taskkill", "/F", "/T", "/PID", str(child.pid)]
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - a fixed command
        return
    child_code = child.poll()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    if child_code is None:
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
