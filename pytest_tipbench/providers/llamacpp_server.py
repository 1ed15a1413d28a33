"""Owns the program of the llama.cpp child; run by its path, so it imports nothing of ours.

It is two processes. The *guard* watches standard input, the pipe from the session that started it:
when that ends, for whatever reason (SIGKILL too), it kills the *server* at once. The server loads
the weights and serves them; it cannot watch by itself, since llama.cpp's Python binding holds the
interpreter's lock for as long as it loads. Both write one JSON object a line to standard output:
the guard ``{"pid"}`` and ``{"ended"}``, the server ``{"address", "uses_gpu"}`` or ``{"failed"}``,
and ``{"resident_bytes"}`` for each further line it is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any


def guard() -> None:
    """Start the server, hand it what comes in, and end it when nothing can come any more."""
    # Ctrl-C in a terminal goes to every process of the group; the session unloads in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    command = [sys.executable, __file__, "serve"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, bufsize=0)  # noqa: S603 - our own
    assert server.stdin is not None  # noqa: S101 - a pipe was asked for
    _say(sys.stdout.fileno(), pid=server.pid)
    threading.Thread(target=_end_with, args=(server,), daemon=True).start()
    for line in iter(sys.stdin.buffer.readline, b""):
        with contextlib.suppress(OSError):  # it has just died; ``_end_with`` says so
            server.stdin.write(line)
    server.kill()
    server.wait()
    os._exit(0)


def _end_with(server: subprocess.Popen[bytes]) -> None:
    code = server.wait()
    _say(sys.stdout.fileno(), ended=code)
    os._exit(1)


def serve() -> None:
    """Load the weights, serve them, and end with the guard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.stdin.buffer.readline())
    channel = os.dup(1)
    os.dup2(2, 1)  # what native code prints to standard output is no message of ours
    sys.path[:] = settings["sys_path"]
    try:
        server, uses_gpu = _load(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the session has to hear of it
        _say(channel, failed=f"{type(error).__name__}: {error}")
        os._exit(1)
    _say(channel, address=server.listening_address, uses_gpu=uses_gpu)
    for _ in iter(sys.stdin.buffer.readline, b""):
        _say(channel, resident_bytes=resident_bytes())
    os._exit(0)


def _load(settings: dict[str, Any]) -> tuple[Any, bool | None]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["num_ctx"]
    params.n_parallel = 1  # slots would share the context
    params.cache_prompt = False  # no completion may depend on the one before it
    params.verbosity = 2  # warnings and errors
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = _thread_count()
    params.api_keys = [settings["api_key"]]  # any process of this machine reaches the port
    for name, value in {"cache_ram_mib": 0, "ui": False, "offline": True}.items():
        if hasattr(params, name):  # releases differ
            setattr(params, name, value)
    return xllamacpp.Server(params), _uses_gpu(xllamacpp)


def _thread_count() -> int:
    """Return one thread for each processor; of more than two, one is left to pytest and MLflow.

    llama.cpp's threads wait for each other by spinning, so one that loses its processor holds up
    all of them.
    """
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux tells what this process may use
        processors = os.cpu_count() or 1
    return processors - 1 if processors > 2 else processors


def _uses_gpu(xllamacpp: Any) -> bool | None:
    """Say whether weights may be in a graphics card's memory; None where it cannot be known."""
    try:
        return any("GPU" in str(device["type"]) for device in xllamacpp.get_device_info())
    except (AttributeError, KeyError, TypeError):
        return None


def resident_bytes() -> int | None:
    """Return this process's resident set size; its peak where the system tells no more."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import psutil

        return int(psutil.Process().memory_info().rss)
    except ImportError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def _say(descriptor: int, **message: object) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: the end of the pipe follows
        os.write(descriptor, json.dumps(message).encode("ascii") + b"\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        guard()
