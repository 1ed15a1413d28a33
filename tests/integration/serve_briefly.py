"""Starts the server that a page names, waits until it answers, and ends it: URL COMMAND…"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx

from pytest_tipbench.store import guard
from pytest_tipbench.store.embedded import server_environment


def answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def main(url: str, *command: str) -> int:
    # The guard ends the server's processes together, also when this one is killed.
    guarded = [sys.executable, guard.__file__, "0.5", *command]
    with (
        subprocess.Popen(
            guarded,
            stdin=subprocess.PIPE,
            env=server_environment(os.environ),
            start_new_session=True,
        ) as server,
        httpx.Client(trust_env=False, timeout=5) as client,
    ):
        assert server.stdin is not None
        deadline = time.monotonic() + 120
        is_up = False
        while not is_up and server.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            is_up = answers(client, f"{url}/health")
        server.stdin.close()
        server.wait(30)
    return 0 if is_up else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
