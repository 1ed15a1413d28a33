"""The embedded model's real weights, through the real binding."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pytest_tipbench.errors import CompletionTimeoutError, ProviderError
from pytest_tipbench.providers.content_hash import file_sha256
from pytest_tipbench.providers.gguf import read_gguf
from pytest_tipbench.providers.llamacpp import LlamaCppProvider
from pytest_tipbench.providers.llamacpp_weights import EMBEDDED_SHA256, find_weights
from pytest_tipbench.records import (
    CompletionRequest,
    ModelReference,
    RenderedPrompt,
    SamplingOptions,
)
from tests.xllamacpp_double import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs the extra llamacpp"
)

EMBEDDED = ModelReference(text="llamacpp/gemma3-270m", provider="llamacpp", name="gemma3-270m")
PARAMETERS = 268_098_176
"""Google's count for Gemma 3 270M; also the sum that ``gguf.GGUFReader`` (PyPI) comes to."""
PROMPT = RenderedPrompt(
    system="You give short, practical advice.",
    user="Give three tips for a calm morning as JSON.",
)
LONG_PROMPT = RenderedPrompt(system="", user="Go on. " * 200 + "Write a very long story.")


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LlamaCppProvider]:
    provider = LlamaCppProvider(tmp_path)
    yield provider
    provider.close()


def request(provider: LlamaCppProvider, **changes: Any) -> CompletionRequest:
    return CompletionRequest(
        **{
            "model": provider.describe(EMBEDDED),
            "prompt": PROMPT,
            "prompt_version": "v1",
            "scenario": "s1",
            "repeat": 1,
            "n_tips": 3,
            "seed": 20260427,
            "sampling": SamplingOptions(num_ctx=2048, num_predict=1000),
            "residency": "model",
            "timeout_seconds": 300.0,
            **changes,
        }
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.01)


def child_pid(provider: LlamaCppProvider) -> int:
    assert provider.child_pid is not None
    return provider.child_pid


def test_describes_the_embedded_model_exactly(provider: LlamaCppProvider) -> None:
    described = provider.describe(EMBEDDED)
    assert described.parameter_count == PARAMETERS
    assert described.digest == EMBEDDED_SHA256
    assert described.quantization == "Q4_K_M"
    assert described.family == "gemma3"
    assert described.local


def test_reads_the_header_of_real_weights_in_milliseconds(provider: LlamaCppProvider) -> None:
    provider.describe(EMBEDDED)
    path = find_weights(EMBEDDED.name, root=Path(), cache=provider._cache)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        assert read_gguf(path).parameter_count == PARAMETERS
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5  # 20 ms on an idle machine


def test_two_processes_that_need_the_weights_at_once_both_get_them(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from pytest_tipbench.providers.llamacpp_weights import embedded_weights
print(embedded_weights(Path(sys.argv[1])))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    paths = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    path = Path(paths.pop())
    assert not paths
    assert file_sha256(path, tmp_path / "another cache") == EMBEDDED_SHA256
    assert not list(tmp_path.glob("*.part"))
    path.unlink()  # a quarter of a gigabyte


def test_answers_by_the_schema_and_the_same_for_the_same_seed(provider: LlamaCppProvider) -> None:
    first = provider.complete(request(provider))
    tips = json.loads(first.text)["tips"]
    assert len(tips) == 3
    assert all(isinstance(tip, str) and len(tip) <= 280 for tip in tips)
    assert first.stop_reason == "stop"
    assert first.load_seconds is not None
    assert first.load_seconds > 0
    assert first.tokens_per_second is not None
    assert first.tokens_per_second > 1
    assert first.prompt_tokens is not None
    assert first.prompt_tokens > 10
    assert first.completion_tokens is not None
    assert first.completion_tokens > 10
    assert first.resident_bytes is not None
    assert 250e6 < first.resident_bytes < 2e9

    # Between two equal requests another one: nothing of it may be left in a prompt cache.
    provider.complete(request(provider, seed=1, prompt=RenderedPrompt(system="", user="Hello")))
    again = provider.complete(request(provider))
    assert again.text == first.text
    assert again.load_seconds == 0

    provider.close()
    assert provider.complete(request(provider)).text == first.text  # and in a new process


def test_releasing_frees_the_memory(provider: LlamaCppProvider) -> None:
    asked = request(provider)
    provider.complete(asked)
    pid = child_pid(provider)
    assert not is_gone(pid)
    provider.release(asked.model)
    assert is_gone(pid)


def test_a_prompt_past_the_context_is_an_error_and_the_next_one_works(
    provider: LlamaCppProvider,
) -> None:
    too_long = RenderedPrompt(system="", user="word " * 3_000)
    with pytest.raises(ProviderError, match="exceeds the available context size"):
        provider.complete(request(provider, prompt=too_long))
    assert provider.complete(request(provider)).load_seconds == 0


def test_past_the_deadline_the_model_is_unloaded(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    pid = child_pid(provider)
    with pytest.raises(CompletionTimeoutError):
        provider.complete(request(provider, prompt=LONG_PROMPT, timeout_seconds=0.2))
    assert is_gone(pid)


def test_a_kill_in_mid_completion_costs_one_cell(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    server = psutil.Process(child_pid(provider))
    idle = sum(server.cpu_times()[:2])

    def kill_when_busy() -> None:
        wait_until(lambda: sum(server.cpu_times()[:2]) > idle + 0.1)
        server.kill()

    killer = threading.Thread(target=kill_when_busy)
    killer.start()
    with pytest.raises(ProviderError, match=r"llama\.cpp died while it answered"):
        provider.complete(request(provider, prompt=LONG_PROMPT))
    killer.join()
    assert provider.complete(request(provider)).load_seconds


SESSION = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.integration.test_llamacpp_real import LlamaCppProvider, request
provider = LlamaCppProvider(Path())
provider.complete(request(provider))
print(provider.child_pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("moment", ["loading", "loaded"])
def test_the_model_of_a_killed_session_is_gone(provider: LlamaCppProvider, moment: str) -> None:
    provider.describe(EMBEDDED)  # the weights are on disk, so that loading comes at once
    script = SESSION.format(root=str(Path(__file__).parents[2]))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        try:
            server = find_server(session)
            if moment == "loading":
                # The weights are being mapped: well past the interpreter's own start.
                wait_until(lambda: is_gone(server.pid) or server.memory_info().rss > 60e6)
            else:
                assert session.stdout is not None
                assert int(session.stdout.readline()) == server.pid
            assert not is_gone(server.pid)
        finally:
            session.kill()
        wait_until(lambda: is_gone(server.pid))


def find_server(session: subprocess.Popen[str]) -> psutil.Process:
    """Wait for the process that holds the weights: the grandchild of the session."""

    def grandchildren() -> list[psutil.Process]:
        children = psutil.Process(session.pid).children()
        return [each for child in children for each in child.children()]

    wait_until(lambda: bool(grandchildren()))
    return grandchildren()[0]


def test_ctrl_c_reaches_the_session_and_not_the_model(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    server = psutil.Process(child_pid(provider))
    server.send_signal(signal.SIGINT)
    assert provider.complete(request(provider)).load_seconds == 0
    assert provider.child_pid == server.pid
