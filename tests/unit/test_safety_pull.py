from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import ModelMissingError, PreflightError, ProviderUnreachableError
from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.safety.cap import admit
from pytest_tipbench.safety.pull import ProgressLines, over_cap_by_name, pull_missing
from tests.ollama_double import OllamaDouble
from tests.unit.safety_samples import Clock, description, reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tipbench.records import ModelDescription, ModelReference
    from pytest_tipbench.safety.pull import OnProgress


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble(["qwen2.5:0.5b", "gemma3:4b"]) as double:
        yield double


@pytest.fixture
def ollama(double: OllamaDouble) -> Iterator[OllamaProvider]:
    provider = OllamaProvider(double.url)
    yield provider
    provider.close()


def pulled_of(double: OllamaDouble) -> list[str]:
    return [
        request["body"]["model"] for request in double.requests if request["path"] == "/api/pull"
    ]


def pull_all(
    names: list[str], ollama: OllamaProvider, cap_billions: float = 4.0
) -> tuple[list[str], list[str]]:
    """Return what was pulled, and what was said."""
    lines: list[str] = []
    pulled = pull_missing(
        [reference(name) for name in names],
        ollama.describe,
        ollama.pull,
        cap_billions,
        lines.append,
    )
    return [model.text for model in pulled], lines


# --- what a name tells ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "llama3.1:8b",
        "llama3.3:70b-instruct-q4_K_M",
        "qwen2.5:7B",  # at least 6.5
        "some:5b",  # at least 4.5
        "some:4.5b",  # at least 4.45, which rounds to 4.5 (or 4.4): over 4.0 either way
        "mixtral:8x7b",  # 7 at the very least
        "mixtral:8x22b-instruct-v0.1-q4_0",
        "qwen3:30b-a3b",  # 3 billion active, 30 in memory
        "qwen3:30b-a3b-instruct-2507-q4_K_M",
        "gemma3n:e4b",  # (4 − 0.5) × 1.7 = 5.95
        "gemma3n:e4b-it-q4_K_M",
        "kimi-k2:1t",
        "hf.co/bartowski/Llama-3.1-8B-Instruct-GGUF:Q4_K_M",
        "hf.co/unsloth/Qwen3-30B-A3B-GGUF",
        "llama3-8b:latest",
        "localhost:5000/me/my-model:13b",
    ],
)
def test_a_name_that_says_a_size_clearly_over_the_cap_is_refused(name: str) -> None:
    reason = over_cap_by_name(name, 4.0)
    assert reason is not None
    assert reason == (f"{name}: over the cap of 4B by its name (--max-model-b); it was not pulled")


@pytest.mark.parametrize(
    "name",
    [
        "qwen3:4b",  # 4.02
        "gemma3:4b",  # 4.3: only its count tells
        "qwen2.5:0.5b-instruct-q8_0",
        "llama3.2:3b-instruct-fp16",
        "smollm2:135m",
        "gemma3n:e2b",  # (2 − 0.5) × 1.7 = 2.55
        "phi4-mini",
        "phi3:mini-128k-instruct-q4_0",
        "tinyllama:latest",
        "nemotron-mini",
        "deepseek-r1:1.5b-qwen-distill-q4_K_M",
        "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q8_0",
        "hf.co/user/Qwen2.5-1M-3B",
        "70b/small:1b",  # the user's name says nothing of the model
        "command-r7b",  # no size by itself: the count will tell
        "bert:4bit",
        "draft:0.6b-for-32b",  # two sizes: not clear
    ],
)
def test_a_name_that_may_be_within_the_cap_is_not_refused(name: str) -> None:
    assert over_cap_by_name(name, 4.0) is None


def test_a_small_cap_refuses_millions() -> None:
    assert over_cap_by_name("smollm2:360m", 0.3) is not None  # 359.5 million → 0.4
    assert over_cap_by_name("smollm2:135m", 0.3) is None


# --- pulling --------------------------------------------------------------------------------------


def test_what_is_missing_is_pulled_and_what_is_there_is_not(
    ollama: OllamaProvider, double: OllamaDouble
) -> None:
    pulled, lines = pull_all(["qwen2.5:0.5b", "smollm2:135m", "llama3.2:1b"], ollama)
    assert pulled == pulled_of(double) == ["smollm2:135m", "llama3.2:1b"]
    assert lines == [
        "pulling smollm2:135m: pulling manifest",
        "pulled smollm2:135m",
        "pulling llama3.2:1b: pulling manifest",
        "pulled llama3.2:1b",
    ]
    admit([reference("smollm2:135m"), reference("llama3.2:1b")], ollama.describe, 4.0)


def test_with_nothing_missing_nothing_is_said(ollama: OllamaProvider, double: OllamaDouble) -> None:
    assert pull_all(["qwen2.5:0.5b"], ollama) == ([], [])
    assert pulled_of(double) == []


def test_not_a_byte_is_pulled_when_a_name_is_over_the_cap(
    ollama: OllamaProvider, double: OllamaDouble
) -> None:
    with pytest.raises(PreflightError) as caught:
        pull_all(["smollm2:135m", "qwen2.5:7b", "gemma3n:e4b"], ollama)
    assert caught.value.problems == (
        "qwen2.5:7b: over the cap of 4B by its name (--max-model-b); it was not pulled",
        "gemma3n:e4b: over the cap of 4B by its name (--max-model-b); it was not pulled",
    )
    assert pulled_of(double) == []


def test_not_a_byte_is_pulled_when_another_model_is_refused_anyway(
    ollama: OllamaProvider, double: OllamaDouble
) -> None:
    with pytest.raises(PreflightError) as caught:
        pull_all(["smollm2:135m", "gemma3:4b", "gpt-oss:20b-cloud"], ollama)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        "gemma3:4b",
        "gpt-oss:20b-cloud",
    ]
    assert pulled_of(double) == []


def test_a_cap_raised_in_plain_sight_lets_a_larger_one_be_pulled(ollama: OllamaProvider) -> None:
    assert pull_all(["qwen2.5:7b"], ollama, cap_billions=8.0)[0] == ["qwen2.5:7b"]


def test_a_model_found_over_the_cap_once_it_is_there_is_not_run(ollama: OllamaProvider) -> None:
    # Nothing in the name of nemotron-mini tells that it has 4.2 billion.
    models = [reference("nemotron-mini")]
    pulled = pull_missing(models, ollama.describe, ollama.pull, 4.0, lambda _: None)
    with pytest.raises(PreflightError) as caught:
        admit(models, ollama.describe, 4.0, pulled=pulled)
    (problem,) = caught.value.problems
    assert problem.startswith(
        "nemotron-mini: 4.2B (4,190,000,000 parameters) is over the cap of 4B"
    )
    assert problem.endswith("it was pulled and is on disk, remove it with: ollama rm nemotron-mini")


def test_every_pull_that_fails_is_told_and_the_others_are_tried(
    ollama: OllamaProvider, double: OllamaDouble
) -> None:
    double.fail("pull_breaks", path="/api/pull", model="smollm2:135m")
    with pytest.raises(PreflightError) as caught:
        pull_all(["smollm2:135m", "no-such-model", "llama3.2:1b"], ollama)
    assert str(caught.value).startswith("2 models could not be pulled; no item was run")
    assert "max retries exceeded: unexpected EOF" in caught.value.problems[0]
    assert caught.value.problems[1].startswith("no-such-model: ")
    assert "file does not exist" in caught.value.problems[1]
    assert pulled_of(double) == ["smollm2:135m", "no-such-model", "llama3.2:1b"]


def test_an_unreachable_server_is_told_before_any_pull() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        raise ProviderUnreachableError("no Ollama server answers at X")

    def pull(name: str, on_progress: OnProgress) -> None:
        raise AssertionError

    with pytest.raises(PreflightError) as caught:
        pull_missing([reference("a"), reference("b")], describe, pull, 4.0, print)
    assert caught.value.problems == ("no Ollama server answers at X (needed by a, b)",)


def test_a_missing_file_of_another_provider_is_not_pulled() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        raise ModelMissingError(f"{model}: no such file")

    def pull(name: str, on_progress: OnProgress) -> None:
        raise AssertionError

    with pytest.raises(PreflightError) as caught:
        pull_missing([reference("llamacpp/x.gguf", "llamacpp")], describe, pull, 4.0, print)
    assert caught.value.problems == ("llamacpp/x.gguf: no such file",)


def test_a_pull_is_not_asked_for_by_hosted_models() -> None:
    hosted = description("openai/gpt", None, provider="openai", local=False)

    def pull(name: str, on_progress: OnProgress) -> None:
        raise AssertionError

    assert pull_missing([hosted.reference], lambda _: hosted, pull, 4.0, print) == ()


# --- progress -------------------------------------------------------------------------------------


def test_progress_is_told_at_once_and_then_every_five_seconds() -> None:
    clock = Clock()
    lines: list[str] = []
    progress = ProgressLines("qwen3:4b", lines.append, clock.monotonic)
    for second in range(11):
        progress("pulling 3e4cb1417446", second * 250_000_000, 2_500_000_000)
        clock.sleep(1.0)
    assert lines == [
        "pulling qwen3:4b: 0 kB of 2.5 GB (0 %)",
        "pulling qwen3:4b: 1.2 GB of 2.5 GB (50 %)",
        "pulling qwen3:4b: 2.5 GB of 2.5 GB (100 %)",
    ]


@pytest.mark.parametrize(
    ("completed", "total", "line"),
    [
        (None, None, "pulling m: verifying sha256 digest"),
        (5, 0, "pulling m: verifying sha256 digest"),
        (None, 397_821_319, "pulling m: 0 kB of 398 MB (0 %)"),
        (-3, 11_343, "pulling m: 0 kB of 11 kB (0 %)"),
        (99_500_000, 99_999_999, "pulling m: 100 MB of 100 MB (99 %)"),
    ],
)
def test_progress_copes_with_what_ollama_leaves_out(
    completed: int | None, total: int | None, line: str
) -> None:
    lines: list[str] = []
    ProgressLines("m", lines.append)("verifying sha256 digest", completed, total)
    assert lines == [line]
