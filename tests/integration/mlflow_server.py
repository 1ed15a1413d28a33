"""Owns real MLflow servers on 127.0.0.1 for tests, and a proxy that loses answers on the way."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx

from pytest_tipbench.store import guard
from pytest_tipbench.store.embedded import server_environment
from tests.unit.mlflow_stub import Reply, Request, StubServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

START_SECONDS = 120.0


@contextlib.contextmanager
def mlflow_server(
    folder: Path,
    *options: str,
    workers: int | None = 1,
    variables: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Serve ``mlflow.db`` in the folder without jobs; yield the URL.

    ``workers`` None leaves their number to the server, which takes 4 by default. ``variables`` are
    added to its environment. The server ends with the test process, however that ends.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        *(sys.executable, guard.__file__, "0.5"),
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(() if workers is None else ("--workers", str(workers))),
        *("--backend-store-uri", "sqlite:///mlflow.db"),
        *options,
    ]
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            env=server_environment(os.environ) | dict(variables or {}),
            start_new_session=True,
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url, process, log)
            yield url
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False, timeout=5) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(f"{url}/health").status_code == 200:
                    return
            threading.Event().wait(0.1)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))


@contextlib.contextmanager
def proxied(
    url: str,
    *,
    prefix: str = "",
    instead: Callable[[Request], Reply | None] = lambda _: None,
    loses: Callable[[Request], bool] = lambda _: False,
) -> Iterator[StubServer]:
    """Stand between a client and the server.

    Args:
        url: the server's.
        prefix: a path that the proxy adds, as one in front of several services does.
        instead: may answer in the server's place.
        loses: says which requests the server applies without its answer ever arriving.
    """
    with httpx.Client(trust_env=False, timeout=60) as client:

        def answer(request: Request) -> Reply:
            reply = instead(request)
            if reply is not None:
                return reply
            if not request.path.startswith(prefix):
                return Reply(404, b"<html>")
            response = client.request(
                request.method,
                url + request.path.removeprefix(prefix),
                params=request.query,
                content=request.body,
                headers={"Content-Type": request.headers.get("content-type", "")},
            )
            if loses(request):
                return Reply(is_dropped=True)
            kept = ("content-type", "date")
            headers = {name: response.headers[name] for name in kept if name in response.headers}
            return Reply(response.status_code, response.content, headers)

        with serving(answer) as proxy:
            yield proxy
