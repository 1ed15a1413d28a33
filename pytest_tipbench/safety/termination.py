"""Owns that a session ends in order, however it is interrupted; imports no pytest.

pytest runs no finaliser on SIGTERM by itself, so that a model would stay in memory.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_LOCKS_IN_PYTHON = ("threading.py", "_synchronization.py")
"""The modules of the standard library's conditions, and of the locks of httpx's connection pool."""
_DEFERRED_SECONDS = 0.01
_MOST_DEFERRALS = 100


def interrupt_on_termination() -> Callable[[], None]:
    """Let SIGTERM raise ``KeyboardInterrupt`` in the main thread, once; return what undoes that.

    A second SIGTERM changes nothing: what the first one set going, unloading, has to come to its
    end. Ctrl-C goes on as it did. Both wait where a lock that is written in Python is just being
    taken or given back: interrupted there it would stay taken for ever, and the unloading would
    wait for it. A handler that somebody else has set stays, and so does a signal that is ignored.
    Does nothing outside the main thread, where Python sets no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return _nothing

    deferrals = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal deferrals
        if _is_amid_a_lock(frame) and deferrals < _MOST_DEFERRALS:
            deferrals += 1
            again = threading.Timer(_DEFERRED_SECONDS, _signal_main_thread, [number])
            again.daemon = True
            again.start()
            return
        deferrals = 0
        if number == signal.SIGTERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) in (handle, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) == handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, handle)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)
    return undo


def _signal_main_thread(number: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:  # to the thread itself, so that it wakes where it waits
        signal.pthread_kill(threading.main_thread().ident or 0, number)


def _is_amid_a_lock(frame: FrameType | None) -> bool:
    return (
        frame is not None
        and frame.f_code.co_name in ("__enter__", "__exit__")
        and frame.f_code.co_filename.endswith(_LOCKS_IN_PYTHON)
    )


def end_undisturbed() -> None:
    """Ignore SIGTERM and Ctrl-C from here on: this process ends, once it has unloaded.

    For workers, which are told to end by more than one side. Does nothing outside the main thread.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _nothing() -> None:
    return None
