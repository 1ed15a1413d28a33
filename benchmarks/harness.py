"""What the harness costs a cell, against bare pytest that makes the same calls and keeps nothing.

``python -m benchmarks.harness [PAIRS]``: 1,008 cells against an OpenAI-compatible endpoint without
latency, in a process of its own; ours with the ledger alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import copy, copytree

from benchmarks.pairs import seconds, told

REPOSITORY = Path(__file__).parents[1]
REPEATS = 24  # × 3 prompts × 14 scenarios = 1,008

ENDPOINT = """
import http.server, json, sys

ANSWER = json.dumps({
    "id": "x", "object": "chat.completion", "created": 0, "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant",
        "content": json.dumps({"tips": [f"Do the first task at {n}:00" for n in range(5)]}),
    }}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400},
}).encode()
LIST = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(LIST)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(ANSWER)
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""

BARE = """
import os, httpx, pytest

CLIENT = httpx.Client(trust_env=False)

@pytest.mark.parametrize("number", range({cells}))
def test_call(number):
    answer = CLIENT.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json={{
        "model": "m", "messages": [{{"role": "user", "content": "x" * 1500}}],
    }})
    assert answer.json()["choices"]
"""


def main(pairs: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench, bare = folder / "bench", folder / "bare"
        copytree(REPOSITORY / "evals", bench / "evals")
        copy(REPOSITORY / "rubric.md", bench)
        (bench / "pytest.ini").write_text(
            "[pytest]\ntipbench_models = openai/m\naddopts = -q\n", encoding="utf-8"
        )
        bare.mkdir()
        (bare / "pytest.ini").write_text("[pytest]\naddopts = -q\n", encoding="utf-8")
        (bare / "test_bare.py").write_text(BARE.format(cells=REPEATS * 42), encoding="utf-8")
        server = subprocess.Popen(
            [sys.executable, "-c", ENDPOINT], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            environment = dict(os.environ) | {
                "OPENAI_BASE_URL": f"http://127.0.0.1:{json.loads(server.stdout.readline())}/v1",
                "OPENAI_API_KEY": "none",
            }
            pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
            ours, theirs = [], []
            for number in range(pairs):
                ledger = f"--ledger={folder / f'{number}.db'}"
                ours.append(
                    seconds([*pytest, "evals", f"--repeats={REPEATS}", ledger], bench, environment)
                )
                theirs.append(seconds(pytest, bare, environment))
        finally:
            server.terminate()
            server.wait()
    print(told("1,008 cells, ledger alone", ours, theirs, "bare pytest"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
