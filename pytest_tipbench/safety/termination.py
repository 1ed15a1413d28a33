"""Owns that a session ends in order, however it is interrupted; imports no pytest.

pytest runs no finaliser on SIGTERM by itself, so that a model would stay in memory.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def interrupt_on_termination() -> Callable[[], None]:
    """Let SIGTERM raise ``KeyboardInterrupt`` in the main thread, once; return what undoes that.

    A second SIGTERM changes nothing: what the first one set going, unloading, has to come to its
    end. A handler that somebody else has set stays, and so does a signal that is ignored. Does
    nothing outside the main thread, where Python sets no handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return _nothing
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return _nothing

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's own shape
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) in (handle, signal.SIG_IGN):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handle)
    return undo


def end_undisturbed() -> None:
    """Ignore SIGTERM and Ctrl-C from here on: this process ends, once it has unloaded.

    For workers, which are told to end by more than one side. Does nothing outside the main thread.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _nothing() -> None:
    return None
