"""Owns that a session ends in order, however it is interrupted; imports no pytest.

pytest runs no finaliser on SIGTERM or SIGHUP by itself, so that a model would stay in memory.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""The signals by which a session is ended, and what Python makes of them by itself."""
if sys.platform != "win32":
    _DEFAULTS[signal.SIGHUP] = signal.SIG_DFL  # the terminal was closed

_LOCKS_IN_PYTHON = ("threading.py", "_synchronization.py")
"""The modules of the standard library's conditions, and of the locks of httpx's connection pool."""
_DEFERRED_SECONDS = 0.01
_MOST_DEFERRALS = 100


def interrupt_on_termination() -> Callable[[], None]:
    """Let SIGTERM and SIGHUP raise ``KeyboardInterrupt`` in the main thread; return what undoes it.

    They do so once: what the first one set going, unloading, has to come to its end. Ctrl-C goes on
    as it did. All of them wait where a lock that is written in Python is just being taken or given
    back: interrupted there it would stay taken for ever, and the unloading would wait for it. A
    handler that somebody else has set stays, and so does a signal that is ignored (as SIGHUP is by
    ``nohup``). Does nothing outside the main thread, where Python sets no handler.
    """
    if not _is_main_thread():
        return _nothing
    handler = _Handler()
    handler.take()
    return handler.undo


class _Handler:
    """Interrupts, once it can be done without harm."""

    def __init__(self) -> None:
        self._taken: list[int] = []
        self._deferrals = 0

    def take(self) -> None:
        """Handle what nobody else does."""
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) == default:
                signal.signal(number, self)
                self._taken.append(number)

    def undo(self) -> None:
        """Bring back what was before, but where somebody else has taken over since."""
        for number in self._taken:
            is_spent = number != signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN
            if is_spent or signal.getsignal(number) is self:
                signal.signal(number, _DEFAULTS[number])

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _is_amid_a_lock(frame) and self._deferrals < _MOST_DEFERRALS:
            self._deferrals += 1
            again = threading.Timer(_DEFERRED_SECONDS, _signal_main_thread, [number])
            again.daemon = True
            again.start()
            return
        self._deferrals = 0
        if number != signal.SIGINT:
            for other in self._taken:
                if other != signal.SIGINT:
                    signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt


@contextmanager
def undisturbed() -> Iterator[list[int]]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back, and yield the list of those that come meanwhile.

    For unloading, which must come to its end and is bounded. A handler that somebody else has set
    stays. Does nothing outside the main thread.
    """
    came: list[int] = []
    former: dict[int, Any] = {}

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    if _is_main_thread():
        for number, default in _DEFAULTS.items():
            handler = signal.getsignal(number)
            if handler == default or isinstance(handler, _Handler):
                former[number] = handler
                signal.signal(number, note)
    try:
        yield came
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def end_undisturbed() -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP from here on: this process ends, once it has unloaded.

    For workers, which are told to end by more than one side. Does nothing outside the main thread.
    """
    if _is_main_thread():
        for number in _DEFAULTS:
            signal.signal(number, signal.SIG_IGN)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


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


def _nothing() -> None:
    return None
