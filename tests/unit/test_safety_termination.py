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
    undisturbed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows ends a process at once, without a signal"
)


DEFAULTS: dict[str, Any] = {
    "SIGINT": signal.default_int_handler,
    "SIGTERM": signal.SIG_DFL,
    "SIGHUP": signal.SIG_DFL,
}
"""What Python makes of the signals, by their names, of which Windows lacks one."""
ENDS = pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
"""The signals that end a process."""


def number_of(name: str) -> signal.Signals:
    return signal.Signals[name]


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    before = {
        number_of(name): signal.signal(number_of(name), default)
        for name, default in DEFAULTS.items()
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def assert_defaults() -> None:
    for name, default in DEFAULTS.items():
        assert signal.getsignal(number_of(name)) == default


@ENDS
def test_the_first_signal_interrupts_and_further_ones_do_not(name: str) -> None:
    undo = interrupt_on_termination()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number_of(name))
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(number_of("SIGHUP"))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    undo()
    assert_defaults()


def test_undoing_brings_the_defaults_back() -> None:
    undo = interrupt_on_termination()
    for name, default in DEFAULTS.items():
        assert signal.getsignal(number_of(name)) != default
    undo()
    undo()
    assert_defaults()


@ENDS
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "another"])
def test_a_handler_of_somebody_else_stays(
    name: str, handler: Callable[..., None] | signal.Handlers
) -> None:
    """As that of `nohup`; the other signals are heeded all the same."""
    signal.signal(number_of(name), handler)
    undo = interrupt_on_termination()
    assert signal.getsignal(number_of(name)) == handler
    with undisturbed():
        assert signal.getsignal(number_of(name)) == handler
    other = "SIGHUP" if name == "SIGTERM" else "SIGTERM"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number_of(other))
    undo()
    assert signal.getsignal(number_of(name)) == handler


@ENDS
def test_a_handler_set_later_by_somebody_else_is_not_undone(name: str) -> None:
    undo = interrupt_on_termination()
    signal.signal(number_of(name), signal.default_int_handler)
    undo()
    assert signal.getsignal(number_of(name)) == signal.default_int_handler


@pytest.mark.parametrize("is_heeded", [False, True])
def test_what_comes_while_it_unloads_is_held_back_and_told(is_heeded: bool) -> None:
    undo = interrupt_on_termination() if is_heeded else int
    before = [signal.getsignal(number_of(name)) for name in DEFAULTS]
    with undisturbed() as came:
        for name in DEFAULTS:
            signal.raise_signal(number_of(name))
    assert came == [number_of(name) for name in DEFAULTS]
    assert [signal.getsignal(number_of(name)) for name in DEFAULTS] == before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    undo()
    assert_defaults()


def test_after_the_first_signal_the_further_ones_stay_ignored_while_it_unloads() -> None:
    undo = interrupt_on_termination()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    with undisturbed() as came:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert came == [signal.SIGINT]
    undo()
    assert_defaults()


def test_what_fails_while_undisturbed_gives_the_signals_back() -> None:
    with pytest.raises(OSError, match="disk"), undisturbed():
        raise OSError("disk")
    assert_defaults()


def test_outside_the_main_thread_nothing_is_set() -> None:
    def set_and_undo() -> None:
        with undisturbed() as came:
            interrupt_on_termination()()
        assert came == []

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
    os.kill(os.getpid(), number_of("SIGHUP"))


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
