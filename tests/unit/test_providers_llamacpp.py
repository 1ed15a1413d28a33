from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    MissingExtraError,
    ModelMissingError,
    ProviderError,
    ResidencyError,
    UnsizableModelError,
)
from pytest_tipbench.providers import content_hash, llamacpp, llamacpp_child, llamacpp_server
from pytest_tipbench.providers.llamacpp import LlamaCppProvider
from pytest_tipbench.providers.llamacpp_child import LlamaCppChild
from pytest_tipbench.providers.openai_wire import read_completion
from pytest_tipbench.records import (
    CompletionRequest,
    ModelReference,
    RenderedPrompt,
    SamplingOptions,
)
from tests import xllamacpp_double
from tests.gguf_files import F32, Q1_0, STRING, U32, GgufFile, Tensor
from tests.openai_double import chat_answer
from tests.xllamacpp_double import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
ROOT = Path(__file__).parents[2]


def reference(name: str) -> ModelReference:
    return ModelReference(text=f"llamacpp/{name}", provider="llamacpp", name=name)


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root with two models, where the binding is the double."""
    (tmp_path / "binding").mkdir()
    shutil.copy(xllamacpp_double.__file__, tmp_path / "binding" / "xllamacpp.py")
    monkeypatch.syspath_prepend(tmp_path / "binding")
    monkeypatch.setenv("XLLAMACPP_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.delenv("XLLAMACPP_DOUBLE", raising=False)
    metadata: list[tuple[str, int, object]] = [
        ("general.architecture", STRING, "llama"),
        ("general.file_type", U32, 7),
    ]
    GgufFile(metadata=metadata).write(tmp_path / "tiny.gguf")
    GgufFile(tensors=[Tensor("w", (64,), F32, 256)]).write(tmp_path / "other.gguf")
    return tmp_path


@pytest.fixture
def provider(folder: Path) -> Iterator[LlamaCppProvider]:
    provider = LlamaCppProvider(folder, cache=folder / "cache")
    yield provider
    provider.close()
    assert provider.child_pid is None


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    return lambda how: monkeypatch.setenv("XLLAMACPP_DOUBLE", how)


def request(provider: LlamaCppProvider, name: str = "tiny.gguf", **changes: Any) -> Any:
    return CompletionRequest(
        **{
            "model": provider.describe(reference(name)),
            "prompt": RenderedPrompt(system="You are terse.", user="Tips, please."),
            "prompt_version": "v1",
            "scenario": "s1",
            "repeat": 1,
            "n_tips": 3,
            "seed": 7,
            "sampling": SamplingOptions(temperature=0.5, num_ctx=512, num_predict=64),
            "residency": "model",
            "timeout_seconds": 60.0,
            **changes,
        }
    )


def child_pid(provider: LlamaCppProvider) -> int:
    assert provider.child_pid is not None
    return provider.child_pid


# --- describing -------------------------------------------------------------------------------


def test_describes_a_file_without_loading_it(provider: LlamaCppProvider) -> None:
    described = provider.describe(reference("tiny.gguf"))
    assert described.parameter_count == 4 * 8
    assert described.quantization == "Q8_0"
    assert described.family == "llama"
    assert described.local
    assert described.reference == reference("tiny.gguf")
    assert described.server_version is not None
    assert described.server_version.startswith("xllamacpp")
    assert provider.child_pid is None
    assert "xllamacpp" not in sys.modules


def test_other_weights_have_another_digest(provider: LlamaCppProvider) -> None:
    names = ("tiny.gguf", "./tiny.gguf", "other.gguf")
    digests = [provider.describe(reference(name)).digest for name in names]
    assert digests[0] == digests[1] != digests[2]


def test_counts_parameters_without_reading_the_weights(
    folder: Path, provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_nothing(*_: object, **__: object) -> str:
        raise AssertionError("the whole file was read")

    monkeypatch.setattr(llamacpp, "content_sha256", hash_nothing)
    assert provider.count_parameters(reference("tiny.gguf")) == 4 * 8
    large = GgufFile(tensors=[Tensor("w", (5_000_000_000,), Q1_0, 0)]).write(folder / "large.gguf")
    os.truncate(large, large.stat().st_size + 5_000_000_000 // 128 * 18)  # sparse
    assert provider.count_parameters(reference("large.gguf")) == 5_000_000_000


def test_a_long_read_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hash, "LONG_READ_BYTES", 100)
    said: list[str] = []
    provider = LlamaCppProvider(folder, cache=folder / "cache", say=said.append)
    for _ in range(2):
        provider.describe(reference("tiny.gguf"))
    assert said == [
        "reading llamacpp/tiny.gguf whole, 0.0 GB, to know it by its content; this is done once"
    ]


@pytest.mark.parametrize("method", ["describe", "count_parameters"])
def test_without_the_binding_the_extra_is_named(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(llamacpp, "_BINDING", "no_such_binding")
    with pytest.raises(MissingExtraError, match=r"pip install 'pytest-tipbench\[llamacpp\]'"):
        getattr(provider, method)(reference("tiny.gguf"))


def test_a_binding_that_no_package_brought_has_no_version(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp, "_BINDING", "tests")
    assert provider.describe(reference("tiny.gguf")).server_version == "tests"


def test_an_unknown_model_is_missing(provider: LlamaCppProvider) -> None:
    with pytest.raises(ModelMissingError, match=r"did you mean llamacpp/tiny.gguf"):
        provider.describe(reference("tiny.ggf"))


def test_a_file_that_is_no_model_is_unsizable(provider: LlamaCppProvider, folder: Path) -> None:
    (folder / "fake.gguf").write_text("I am a text file, whatever my name says", "ascii")
    with pytest.raises(UnsizableModelError, match="is not a GGUF file"):
        provider.describe(reference("fake.gguf"))


def test_a_file_that_cannot_be_read_is_an_error(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(llamacpp, "read_gguf", deny)
    with pytest.raises(ProviderError, match=r"cannot read .*tiny.gguf: Permission denied"):
        provider.describe(reference("tiny.gguf"))


# --- completing -------------------------------------------------------------------------------


def test_sends_prompt_options_and_schema(provider: LlamaCppProvider) -> None:
    asked = json.loads(provider.complete(request(provider)).text)["asked"]
    schema = asked["response_format"]["json_schema"]["schema"]["properties"]["tips"]
    assert (schema["minItems"], schema["maxItems"]) == (3, 3)
    assert schema["items"] == {"type": "string", "maxLength": 280}
    assert asked["messages"] == [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Tips, please."},
    ]
    assert (asked["seed"], asked["temperature"], asked["max_tokens"]) == (7, 0.5, 64)
    assert asked["cache_prompt"] is False
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}


def test_sets_the_server_up_for_one_independent_completion_at_a_time(
    provider: LlamaCppProvider, folder: Path
) -> None:
    settings = json.loads(provider.complete(request(provider)).text)["settings"]
    (api_key,) = settings.pop("api_keys")
    assert len(api_key) > 20
    affinity = getattr(os, "sched_getaffinity", None)  # taskset and containers narrow it
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    threads = {"n_threads": processors - 1 if processors > 2 else processors}
    assert settings == {
        "model": {"path": str(folder / "tiny.gguf")},
        "cpuparams": threads,
        "cpuparams_batch": threads,
        "n_ctx": 512,
        "n_parallel": 1,
        "cache_prompt": False,
        "cache_ram_mib": 0,
        "verbosity": 2,
    }


def test_measures(provider: LlamaCppProvider) -> None:
    started = time.monotonic()
    completion = provider.complete(request(provider))
    elapsed = time.monotonic() - started
    assert completion.load_seconds is not None
    assert 0 < completion.load_seconds < completion.latency_seconds <= elapsed
    assert (completion.prompt_tokens, completion.completion_tokens) == (11, 30)
    assert completion.tokens_per_second == 30 / 0.6
    assert completion.stop_reason == "stop"
    rss = psutil.Process(child_pid(provider)).memory_info().rss
    assert completion.resident_bytes == pytest.approx(rss, rel=0.2)
    assert completion.resident_vram_bytes == 0


@pytest.mark.parametrize("how", ["has a GPU", "knows no devices"])
def test_memory_of_a_graphics_card_is_unknown(
    provider: LlamaCppProvider, misbehave: Callable[[str], None], how: str
) -> None:
    misbehave(how)
    assert provider.complete(request(provider)).resident_vram_bytes is None


@pytest.mark.parametrize(
    "timings", [None, {}, {"predicted_n": 0, "predicted_ms": 0.0}, {"predicted_n": 9}]
)
def test_a_speed_that_was_not_measured_is_unknown(timings: object) -> None:
    body = chat_answer("x", timings=timings).body
    response = httpx.Response(200, json=body)
    completion = read_completion(response, "here", latency_seconds=1.0)
    assert completion.tokens_per_second is None


def test_one_child_serves_consecutive_cells(provider: LlamaCppProvider) -> None:
    first = provider.complete(request(provider))
    second = provider.complete(request(provider, seed=8))
    assert json.loads(first.text)["pid"] == json.loads(second.text)["pid"] == child_pid(provider)
    assert second.load_seconds == 0


@pytest.mark.parametrize(
    "change",
    [{"name": "other.gguf"}, {"sampling": SamplingOptions(num_ctx=1024)}],
    ids=["model", "num_ctx"],
)
def test_the_former_child_is_gone_before_the_next_loads(
    provider: LlamaCppProvider, change: dict[str, Any]
) -> None:
    provider.complete(request(provider))
    former = child_pid(provider)
    # The double refuses to load beside another one that is alive.
    completion = provider.complete(request(provider, **change))
    assert is_gone(former)
    assert completion.load_seconds
    expected = 1024 if "sampling" in change else 512
    assert json.loads(completion.text)["settings"]["n_ctx"] == expected


def test_residency_call_ends_the_child_after_each_completion(provider: LlamaCppProvider) -> None:
    pids = [
        json.loads(provider.complete(request(provider, residency="call")).text)["pid"]
        for _ in range(2)
    ]
    assert provider.child_pid is None
    assert pids[0] != pids[1]
    assert all(is_gone(pid) for pid in pids)


def test_residency_call_ends_the_child_after_an_error_too(
    provider: LlamaCppProvider, misbehave: Callable[[str], None]
) -> None:
    misbehave("overflows")
    with pytest.raises(ProviderError):
        provider.complete(request(provider, residency="call"))
    assert provider.child_pid is None


def test_releasing_ends_the_child(provider: LlamaCppProvider) -> None:
    held = request(provider)
    provider.complete(held)
    pid = child_pid(provider)
    provider.release(provider.describe(reference("other.gguf")))
    assert child_pid(provider) == pid
    provider.release(held.model)
    assert is_gone(pid)
    provider.release(held.model)


def test_closing_ends_the_child_and_may_be_repeated(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    pid = child_pid(provider)
    provider.close()
    provider.close()
    assert is_gone(pid)


def test_noise_is_no_message_and_fills_no_pipe(
    provider: LlamaCppProvider, misbehave: Callable[[str], None]
) -> None:
    misbehave("chatters")
    assert json.loads(provider.complete(request(provider)).text)["pid"] == child_pid(provider)


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "error", "reason"),
    [
        ("refuses", ProviderError, r"could not load.*Failed to init server.*file is nonsense"),
        ("dies loading", ProviderError, r"could not load.*ended (by signal 6|with exit code)"),
        ("dies answering", ProviderError, r"died while it answered.*a bad thing happened"),
        ("never answers", CompletionTimeoutError, "no answer within 2 s; the model was unloaded"),
        ("never loads", CompletionTimeoutError, "not loaded within 2 s"),
    ],
)
def test_a_fault_ends_the_child_and_the_next_cell_starts_another(
    provider: LlamaCppProvider,
    misbehave: Callable[[str], None],
    how: str,
    error: type[Exception],
    reason: str,
) -> None:
    misbehave(how)
    with pytest.raises(error, match=f"(?s){reason}"):
        provider.complete(request(provider, timeout_seconds=2.0 if "never" in how else 60.0))
    assert provider.child_pid is None
    misbehave("")
    # The double refuses to load beside another one that is alive.
    assert provider.complete(request(provider)).load_seconds


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("overflows", r"request \(5024 tokens\) exceeds the available context size"),
        ("fails once", "Failed to parse grammar"),
    ],
)
def test_a_refused_request_leaves_the_model_loaded(
    provider: LlamaCppProvider, misbehave: Callable[[str], None], how: str, reason: str
) -> None:
    misbehave(how)
    with pytest.raises(ProviderError, match=reason):
        provider.complete(request(provider))
    assert provider.child_pid is not None


def test_loads_by_the_name_given_which_tells_the_parts_of_a_split_model(
    provider: LlamaCppProvider, folder: Path
) -> None:
    (folder / "link.gguf").symlink_to(folder / "tiny.gguf")
    said = json.loads(provider.complete(request(provider, "link.gguf")).text)
    assert said["settings"]["model"]["path"] == str(folder / "link.gguf")


def test_a_child_that_died_between_two_cells_is_replaced(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    first = child_pid(provider)
    guard = psutil.Process(first).parent()
    assert guard is not None
    psutil.Process(first).kill()
    wait_until(lambda: is_gone(guard.pid))
    provider.complete(request(provider))
    assert child_pid(provider) != first


def test_weights_that_changed_since_they_were_sized_are_not_loaded(
    provider: LlamaCppProvider, folder: Path
) -> None:
    asked = request(provider)
    shutil.copy(folder / "other.gguf", folder / "tiny.gguf")
    with pytest.raises(ProviderError, match="is not what it was when its size was looked up"):
        provider.complete(asked)
    assert provider.child_pid is None


def test_ctrl_c_while_loading_ends_the_child(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def interrupt(child: LlamaCppChild, deadline: float) -> None:
        processes.append(child._process)
        raise KeyboardInterrupt

    monkeypatch.setattr(LlamaCppChild, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        provider.complete(request(provider))
    assert processes[0].returncode is not None
    assert provider.child_pid is None


def test_a_process_that_cannot_be_started_is_an_error(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(ProviderError, match=r"cannot start the llama\.cpp process"):
        provider.complete(request(provider))


# --- the end of processes ---------------------------------------------------------------------


@posix_only
def test_ctrl_c_of_the_terminal_leaves_the_child_to_its_session(
    provider: LlamaCppProvider,
) -> None:
    provider.complete(request(provider))
    server = psutil.Process(child_pid(provider))
    guard = server.parent()
    assert guard is not None
    for process in (guard, server):
        process.send_signal(signal.SIGINT)
    assert json.loads(provider.complete(request(provider)).text)["pid"] == server.pid


def test_the_server_ends_with_its_guard(provider: LlamaCppProvider) -> None:
    provider.complete(request(provider))
    server = psutil.Process(child_pid(provider))
    guard = server.parent()
    assert guard is not None
    guard.kill()
    wait_until(lambda: is_gone(server.pid) and is_gone(guard.pid))
    assert provider.complete(request(provider)).load_seconds


@posix_only
def test_a_guard_that_hangs_is_killed(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_child, "_END_SECONDS", 0.1)
    provider.complete(request(provider))
    server = psutil.Process(child_pid(provider))
    guard = server.parent()
    assert guard is not None
    guard.suspend()
    provider.close()
    assert is_gone(guard.pid)
    assert is_gone(server.pid)


@posix_only
def test_nothing_is_loaded_beside_a_child_that_does_not_end(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_child, "_END_SECONDS", 0.1)
    monkeypatch.setattr(llamacpp_child, "_LONGEST_LOAD_SECONDS", 0.1)
    asked = request(provider)
    provider.complete(asked)
    server = psutil.Process(child_pid(provider))
    guard = server.parent()
    assert guard is not None
    guard.suspend()
    server.suspend()
    try:
        with pytest.raises(ResidencyError, match=f"process {server.pid} does not end"):
            provider.release(asked.model)
        with pytest.raises(ResidencyError):
            provider.complete(asked)
    finally:
        server.resume()
    wait_until(lambda: is_gone(server.pid))
    assert provider.complete(asked).load_seconds


@posix_only
def test_a_server_that_does_not_tell_its_size_holds_nobody_up(
    provider: LlamaCppProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llamacpp_child, "_ANSWER_SECONDS", 0.1)
    provider.complete(request(provider))
    child = provider._child
    assert child is not None
    server = psutil.Process(child_pid(provider))
    server.suspend()
    assert child.resident_bytes() is None
    server.kill()
    wait_until(lambda: not child.is_alive)
    assert child.resident_bytes() is None


def test_a_model_that_is_not_loaded_answers_nothing(folder: Path) -> None:
    child = LlamaCppChild(folder / "tiny.gguf", 512)
    with pytest.raises(ProviderError, match="has not been loaded"):
        child.post_chat({}, time.monotonic() + 1)
    child.end()
    child.end()


PARENT = """
    import os, sys, time
    from pathlib import Path
    sys.path[:0] = [{root!r}, {binding!r}]
    from tests.unit.test_providers_llamacpp import LlamaCppProvider, request
    provider = LlamaCppProvider(Path({folder!r}), cache=Path({folder!r}) / "cache")
    asked = request(provider)
"""


@contextlib.contextmanager
def session(folder: Path, story: str) -> Iterator[subprocess.Popen[str]]:
    """Run a session in a process of its own, told to end it by any means."""
    head = PARENT.format(root=str(ROOT), binding=str(folder / "binding"), folder=str(folder))
    script = textwrap.dedent(head) + textwrap.dedent(story)
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_child_of_a_killed_session_ends(folder: Path) -> None:
    story = """
        provider.complete(asked)
        print(provider.child_pid, flush=True)
        time.sleep(600)
    """
    with session(folder, story) as process:
        server = psutil.Process(int(line_of(process)))
        guard = server.parent()
        assert guard is not None
        process.kill()
        wait_until(lambda: is_gone(server.pid) and is_gone(guard.pid))


def test_the_child_of_a_killed_session_ends_while_it_loads(
    folder: Path, misbehave: Callable[[str], None]
) -> None:
    misbehave("never loads")
    with session(folder, "provider.complete(asked)") as process:
        claims = folder / "claims"  # written when loading begins
        wait_until(lambda: claims.exists() and claims.read_text("ascii").endswith("\n"))
        server = int(claims.read_text("ascii"))
        process.kill()
        wait_until(lambda: is_gone(server))


@posix_only
def test_a_forked_process_leaves_the_child_alone(folder: Path) -> None:
    story = """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads
        def say(text):  # in one piece: two processes share the pipe
            os.write(1, f"{text}\\n".encode())
        provider.complete(asked)
        say(provider.child_pid)
        if os.fork() == 0:
            assert provider.child_pid is None
            provider.close()
            say("closed")
            sys.stdin.read()  # outlives its parent, and ends with the test
            os._exit(0)
        provider.complete(asked)
        say(provider.child_pid)
        time.sleep(600)
    """
    with session(folder, story) as process:
        server = int(line_of(process))
        assert {line_of(process), line_of(process)} == {"closed", str(server)}
        process.kill()
        wait_until(lambda: is_gone(server))


# --- resident memory --------------------------------------------------------------------------


def test_resident_bytes_agree_with_the_systems_own() -> None:
    expected = psutil.Process().memory_info().rss
    assert llamacpp_server.resident_bytes() == pytest.approx(expected, rel=0.2)


def test_resident_bytes_without_proc_come_from_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_proc(monkeypatch)
    expected = psutil.Process().memory_info().rss
    assert llamacpp_server.resident_bytes() == pytest.approx(expected, rel=0.2)


@posix_only
def test_resident_bytes_without_psutil_are_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    rss = psutil.Process().memory_info().rss
    hide_proc(monkeypatch)
    monkeypatch.setitem(sys.modules, "psutil", None)
    measured = llamacpp_server.resident_bytes()
    assert measured is not None
    assert measured >= rss * 0.8


def test_resident_bytes_may_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_proc(monkeypatch)
    monkeypatch.setitem(sys.modules, "psutil", None)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert llamacpp_server.resident_bytes() is None


def hide_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_there(path: Path, encoding: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", nothing_there)
