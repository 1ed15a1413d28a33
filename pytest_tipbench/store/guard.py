"""Owns running a command that ends with its parent: a script of the standard library alone.

``python guard.py GRACE_SECONDS COMMAND…`` with a pipe as standard input. When the pipe reaches its
end, as it does however the parent ends, the command is asked to stop, and after the grace period it
is killed with all its children.
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
    child = subprocess.Popen(  # noqa: S603 - what we are for
        command, stdin=subprocess.DEVNULL, start_new_session=True
    )
    threading.Thread(target=_watch_pipe, args=(pipe_has_ended,), daemon=True).start()
    while child.poll() is None:
        # A child that the parent forked may hold the pipe open after the parent's end.
        if pipe_has_ended.wait(POLL_SECONDS) or os.getppid() != parent:
            _ask_to_stop(child, float(grace_seconds))
            break
    _kill_all(child)
    return child.wait()


def _watch_pipe(has_ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    has_ended.set()


def _ask_to_stop(child: subprocess.Popen[bytes], grace_seconds: float) -> None:
    if os.name == "nt":
        return  # there is only killing
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_seconds)


def _kill_all(child: subprocess.Popen[bytes]) -> None:
    """Kill the command, where it is still there, and the children that it has left."""
    if os.name == "nt":
        command = ["taskkill", "/F", "/T", "/PID", str(child.pid)]
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - a fixed command
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
