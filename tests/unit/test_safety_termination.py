from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.safety.termination import (
    end_undisturbed,
    interrupt_on_termination,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows ends a process at once, without a signal"
)


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before_interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, before_interrupt)


def test_the_first_signal_interrupts_and_further_ones_do_not() -> None:
    undo = interrupt_on_termination()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_undoing_brings_the_default_back() -> None:
    undo = interrupt_on_termination()
    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    undo()
    undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None])
def test_a_handler_of_somebody_else_stays(handler: Callable[..., None] | signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, handler)
    interrupt_on_termination()()
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_handler_set_later_by_somebody_else_is_not_undone() -> None:
    undo = interrupt_on_termination()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    undo()
    assert signal.getsignal(signal.SIGTERM) == signal.default_int_handler


def test_outside_the_main_thread_nothing_is_set() -> None:
    def set_and_undo() -> None:
        interrupt_on_termination()()

    thread = threading.Thread(target=set_and_undo)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


SIGNALLED_LOCK = """
class Lock:
    def __init__(self, lock, arrive):
        self.lock, self.arrive = lock, arrive
    def __enter__(self):
        self.lock.acquire()
        self.arrive()
    def __exit__(self, *error):
        self.lock.release()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("module", ["threading.py", "httpcore/_synchronization.py"])
def test_a_lock_that_is_just_being_taken_is_given_back(number: signal.Signals, module: str) -> None:
    undo = interrupt_on_termination()
    known: dict[str, Any] = {}
    exec(compile(SIGNALLED_LOCK, module, "exec"), known)
    lock = threading.Lock()
    with (
        pytest.raises(KeyboardInterrupt),
        known["Lock"](lock, partial(signal.raise_signal, number)),
    ):
        threading.Event().wait(20)
    assert not lock.locked()
    undo()
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_a_lock_that_is_never_had_does_not_hold_the_signal_up_for_ever() -> None:
    undo = interrupt_on_termination()
    known: dict[str, Any] = {}
    exec(compile(SIGNALLED_LOCK, "threading.py", "exec"), known)
    held = threading.Lock()
    held.acquire()
    threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGTERM]).start()
    with pytest.raises(KeyboardInterrupt), known["Lock"](held, int):
        pytest.fail("nobody gave it back")
    undo()


def test_a_process_that_ends_is_not_disturbed() -> None:
    end_undisturbed()
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_nothing_is_ignored() -> None:
    thread = threading.Thread(target=end_undisturbed)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_a_process_unloads_on_sigterm_although_a_second_one_comes() -> None:
    program = """
import os, signal, sys
from pytest_tipbench.safety.termination import interrupt_on_termination
interrupt_on_termination()
try:
    print("ready", flush=True)
    sys.stdin.read()
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    print("unloaded", flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.readline() == "unloaded\n"
