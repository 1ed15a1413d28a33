"""The memory promise against a server that keeps a record of its memory."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ProviderError,
    ResidencyError,
    UserMistakeError,
)
from pytest_tipbench.providers.llamacpp import LlamaCppProvider
from tests import xllamacpp_double
from tests.gguf_files import GgufFile
from tests.integration.residency_driver import session_on
from tests.ollama_double import OllamaDouble
from tests.xllamacpp_double import is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_tipbench.records import Residency

NAMES = ("qwen2.5:0.5b", "llama3.2:1b", "gemma3:1b")
ROOT = Path(__file__).parents[2]
DRIVER = "tests.integration.residency_driver"


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    """A server that takes its time to load and to let go, as real ones do."""
    with OllamaDouble(load_seconds=0.02, unload_seconds=0.15) as double:
        yield double


@pytest.mark.parametrize(("residency", "loads_of_each"), [("call", 4), ("model", 1)])
def test_one_model_after_the_other(
    residency: Residency, loads_of_each: int, double: OllamaDouble
) -> None:
    with session_on(double.url) as session:
        for name in NAMES:
            model = session.describe(name)
            for _ in range(4):
                session.complete(model, residency)
            session.guard.leave(model)
    assert double.max_resident_together() == 1
    assert list(double.loads().values()) == [loads_of_each] * len(NAMES)
    assert double.resident() == []
    assert session.guard.evidence.loads == loads_of_each * len(NAMES)
    assert session.guard.evidence.together == 1
    assert session.lines == []


def test_a_server_that_blocks_and_fails_while_it_unloads() -> None:
    with OllamaDouble(unload_seconds=0.3, ps_block_seconds=0.3) as double:
        double.fail("error", path="/api/ps", nth=2)
        double.fail("error", path="/api/ps", nth=6)
        with session_on(double.url) as session:
            for name in NAMES:
                session.complete(session.describe(name))
        assert double.max_resident_together() == 1
        assert double.resident() == []


def test_another_client_that_keeps_our_model_for_ever(double: OllamaDouble) -> None:
    with session_on(double.url, speed=10.0) as session:
        session.complete(session.describe(NAMES[0]), "model")
        double.load_foreign(NAMES[0])  # a keep-alive of its own on what is there
        session.complete(session.describe(NAMES[1]))
    assert double.max_resident_together() == 1
    assert double.resident() == []


def test_another_client_that_keeps_our_model_after_its_answer(double: OllamaDouble) -> None:
    with session_on(double.url, speed=10.0) as session:
        double.generate_seconds = 0.3
        model = session.describe(NAMES[0])
        session.complete(model)
        until(lambda: double.resident() == [])
        double.load_foreign(NAMES[0])
        session.complete(session.describe(NAMES[1]))
    assert double.max_resident_together() == 1


@pytest.mark.parametrize("stage", ["loading", "generating"])
def test_a_request_that_timed_out(stage: str) -> None:
    def be_slow(double: OllamaDouble, seconds: float) -> None:
        if stage == "loading":
            double.memory.load_seconds = seconds
        else:
            double.generate_seconds = seconds

    with OllamaDouble(unload_seconds=0.1) as double:
        with session_on(double.url, speed=5.0) as session:
            be_slow(double, 30.0)
            with pytest.raises(CompletionTimeoutError):
                session.complete(session.describe(NAMES[0]), "model", timeout_seconds=0.2)
            be_slow(double, 0.0)
            session.complete(session.describe(NAMES[1]))
            be_slow(double, 30.0)
            with pytest.raises(CompletionTimeoutError):
                session.complete(session.describe(NAMES[2]), "model", timeout_seconds=0.2)
        assert double.max_resident_together() == 1
        assert double.resident() == []
        last = [event.kind for event in double.events if event.model == NAMES[2]]
        assert last[-1:] == ["gone"]


def test_a_runner_that_died(double: OllamaDouble) -> None:
    double.fail("runner_died", model=NAMES[0])
    with session_on(double.url, speed=10.0) as session:
        model = session.describe(NAMES[0])
        with pytest.raises(ProviderError, match="runner died"):
            session.complete(model, "model")
        session.complete(model, "model")
        session.complete(session.describe(NAMES[1]), "model")
    assert double.max_resident_together() == 1
    assert session.guard.evidence.loads == sum(double.loads().values()) == 3


def test_aliases_share_their_weights(double: OllamaDouble) -> None:
    double.install({"name": "my-qwen", "alias_of": "qwen2.5:0.5b"})
    with session_on(double.url) as session:
        for name in ("qwen2.5:0.5b", "my-qwen", "qwen2.5:0.5b", "my-qwen:latest"):
            completion = session.complete(session.describe(name), "model")
            assert completion.foreign_models == ()
        session.complete(session.describe(NAMES[1]), "model")
    assert sorted(double.loads().values()) == [1, 1]
    assert double.max_resident_together() == 1


# --- models of others -----------------------------------------------------------------------------


def test_a_model_of_others_that_goes_in_time_is_waited_for(double: OllamaDouble) -> None:
    double.load_foreign("qwen3:4b", 0.4)
    with session_on(double.url) as session:
        session.guard.start("ollama")
        assert double.resident() == []
        session.complete(session.describe(NAMES[0]))
    assert double.max_resident_together() == 1


def test_a_model_of_others_that_stays_is_named_and_left_alone(double: OllamaDouble) -> None:
    double.load_foreign("qwen3:4b")
    with (
        session_on(double.url, speed=30.0) as session,
        pytest.raises(UserMistakeError, match=r"qwen3:4b is still resident .* --evict"),
    ):
        session.guard.start("ollama")
    assert double.resident() == ["qwen3:4b"]
    assert sum(double.loads().values()) == 0


def test_evict_unloads_it_and_says_so(double: OllamaDouble) -> None:
    double.load_foreign("qwen3:4b")
    with session_on(double.url, evict=True) as session:
        session.guard.start("ollama")
        assert session.lines == ["unloading qwen3:4b, not loaded by this session"]
        session.complete(session.describe(NAMES[0]))
        until(lambda: double.resident() == [])
        double.load_foreign("gemma3:4b")
        session.complete(session.describe(NAMES[1]))
    assert double.max_resident_together() == 1
    assert double.resident() == []


def test_a_model_of_others_in_mid_run_is_recorded_and_waited_for(double: OllamaDouble) -> None:
    with session_on(double.url) as session:
        model = session.describe(NAMES[0])
        assert session.complete(model).foreign_models == ()
        until(lambda: double.resident() == [])
        double.load_foreign("qwen3:4b")
        assert session.complete(model).foreign_models == ("qwen3:4b",)
        double.load_foreign("qwen3:4b", 0.5)
        assert session.complete(session.describe(NAMES[1])).foreign_models == ()
    assert session.guard.evidence.foreign == ["qwen3:4b"]
    assert session.lines == ["waiting up to 30 s for qwen3:4b, not loaded by this session, to go"]


def test_a_model_of_others_that_stays_in_mid_run_ends_the_local_cells(
    double: OllamaDouble,
) -> None:
    with session_on(double.url, speed=30.0) as session:
        session.complete(session.describe(NAMES[0]))
        double.load_foreign("qwen3:4b")
        for name in (NAMES[1], NAMES[2], NAMES[0]):
            with pytest.raises(ResidencyError, match="qwen3:4b is still resident"):
                session.complete(session.describe(name))
    assert sum(double.loads().values()) == 1
    assert double.resident() == ["qwen3:4b"]


# --- llama.cpp beside Ollama ----------------------------------------------------------------------


@pytest.fixture
def llamacpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LlamaCppProvider:
    """A provider whose children run the double of the binding."""
    (tmp_path / "binding").mkdir()
    shutil.copy(xllamacpp_double.__file__, tmp_path / "binding" / "xllamacpp.py")
    monkeypatch.syspath_prepend(tmp_path / "binding")
    monkeypatch.setenv("XLLAMACPP_CLAIMS", str(tmp_path / "claims"))
    monkeypatch.delenv("XLLAMACPP_DOUBLE", raising=False)
    GgufFile().write(tmp_path / "tiny.gguf")
    return LlamaCppProvider(tmp_path, cache=tmp_path / "cache")


def test_a_child_and_an_ollama_model_are_never_in_memory_together(
    double: OllamaDouble, llamacpp: LlamaCppProvider
) -> None:
    with session_on(double.url, others={"llamacpp": llamacpp}) as session:
        session.guard.start("ollama")
        embedded = session.describe("llamacpp:::tiny.gguf")
        qwen = session.describe(NAMES[0])
        for residency in ("model", "call", "model"):
            session.complete(embedded, residency)
            pid = llamacpp.child_pid
            assert (pid is None) == (residency == "call")
            assert double.resident() == []
            loads = sum(double.loads().values())
            session.complete(qwen, residency)
            assert sum(double.loads().values()) == loads + 1
            assert pid is None or is_gone(pid)
        session.complete(embedded, "model")
    assert llamacpp.child_pid is None
    assert session.guard.evidence.loads == 7
    assert double.max_resident_together() == 1
    assert double.resident() == []


# --- several processes ----------------------------------------------------------------------------


def driver(double: OllamaDouble, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", DRIVER, double.url, str(folder), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_talk_to_one_server_take_turns(
    double: OllamaDouble, tmp_path: Path
) -> None:
    double.generate_seconds = 0.02
    orders: list[list[Any]] = [[*NAMES, *NAMES], [*reversed(NAMES), *reversed(NAMES)]]
    processes = [driver(double, tmp_path, "model", *order) for order in orders]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [output.splitlines()[-1] for output in outputs] == ["finished", "finished"]
    assert sum(double.loads().values()) == 12
    assert double.max_resident_together() == 1
    assert double.resident() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without a signal")
@pytest.mark.parametrize("stage", ["loading", "generating", "between"])
def test_a_terminated_process_unloads_before_it_ends(stage: str, tmp_path: Path) -> None:
    with OllamaDouble(unload_seconds=0.1) as double:
        with driver(
            double, tmp_path, "model", NAMES[0], *itertools.repeat(NAMES[1], 500)
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == f"completed {NAMES[0]}\n"
            if stage == "loading":
                double.memory.load_seconds = 30.0
            if stage == "generating":
                double.generate_seconds = 30.0
            until(lambda: any(event.model == NAMES[1] for event in double.events))
            process.terminate()
            output, _ = process.communicate(timeout=30)
        assert output.splitlines()[-2:] == ["interrupted", "finished"]
        assert process.returncode == 0
        assert double.resident() == []
        assert double.max_resident_together() == 1
        assert [event.kind for event in double.events][-1] == "gone"


@pytest.mark.skipif(sys.platform == "win32", reason="the double needs its client's end at once")
def test_a_killed_process_frees_its_locks_and_its_model_is_not_ours(
    double: OllamaDouble, tmp_path: Path
) -> None:
    double.generate_seconds = 30.0
    with driver(double, tmp_path, "call", NAMES[0]) as process:
        until(lambda: double.resident() == [NAMES[0]])
        process.kill()
    double.generate_seconds = 0.0
    with driver(double, tmp_path, "call", NAMES[1]) as successor:
        output, _ = successor.communicate(timeout=30)
    assert output.splitlines()[-1] == "finished"
    assert double.max_resident_together() == 1
