from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import (
    MissingExtraError,
    ModelMissingError,
    PreflightError,
    ProviderError,
    ProviderUnreachableError,
    UnsizableModelError,
)
from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.safety.cap import admit, admit_on_hosts, over_cap, rounded_billions
from tests.ollama_double import CATALOGUE, OllamaDouble
from tests.unit.safety_samples import description, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_tipbench.records import ModelDescription, ModelReference

# What is published of each model's size, in billions, as the label that Ollama would print of it
# ("%.1fB"; millions below a tenth of that).
PUBLISHED = {
    "qwen2.5:0.5b": 0.5,
    "qwen2.5:1.5b": 1.5,
    "qwen2.5:3b": 3.1,
    "qwen2.5:7b": 7.6,
    "qwen3:0.6b": 0.8,
    "qwen3:1.7b": 2.0,
    "qwen3:4b": 4.0,
    "qwen3.5:4b": 4.7,
    "gemma3:270m": 0.3,
    "gemma3:1b": 1.0,
    "gemma3:4b": 4.3,
    "gemma3n:e2b": 4.5,
    "gemma3n:e4b": 6.9,
    "gemma4:e2b": 5.1,
    "gemma4:e4b": 8.0,
    "llama3.2:1b": 1.2,
    "llama3.2:3b": 3.2,
    "phi3:mini": 3.8,
    "phi4-mini:latest": 3.8,
    "smollm2:135m": 0.1,
    "smollm2:360m": 0.4,
    "smollm2:1.7b": 1.7,
    "tinyllama:latest": 1.1,
    "deepseek-r1:1.5b": 1.8,
    "nemotron-mini:latest": 4.2,
}


@pytest.fixture(scope="module")
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble(list(CATALOGUE)) as double:
        yield double


@pytest.fixture
def ollama(double: OllamaDouble) -> Iterator[OllamaProvider]:
    provider = OllamaProvider(double.url)
    yield provider
    provider.close()


def problems_of(
    names: list[str], ollama: OllamaProvider, cap_billions: float = 4.0
) -> tuple[str, ...]:
    with pytest.raises(PreflightError) as caught:
        admit([reference(name) for name in names], ollama.describe, cap_billions)
    return caught.value.problems


@pytest.mark.parametrize(
    ("parameter_count", "billions"),
    [
        (4_022_468_096, 4.0),  # 4.022 → 4.0
        (4_299_915_632, 4.3),  # 4.2999 → 4.3
        (3_949_999_999, 3.9),
        (4_050_000_001, 4.1),
        (999_885_952, 1.0),
        (268_098_176, 0.3),
        (0, 0.0),
    ],
)
def test_counts_are_rounded_as_ollama_prints_them(parameter_count: int, billions: float) -> None:
    assert rounded_billions(parameter_count) == billions


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_every_known_model_is_decided_by_its_published_size(
    name: str, billions: float, ollama: OllamaProvider
) -> None:
    if billions <= 4.0:
        (admitted,) = admit([reference(name)], ollama.describe, 4.0)
        assert admitted.parameter_count == CATALOGUE[name].parameter_count
    else:
        (problem,) = problems_of([name], ollama)
        assert problem.startswith(f"{name}: {billions:.1f}B (")
        assert "is over the cap of 4B (--max-model-b)" in problem


def test_the_table_covers_the_doubles_catalogue() -> None:
    odd = {"tiny-vision:latest", "shards:latest", "label-only:latest"}
    odd |= {"gpt-oss:20b-cloud", "pocket-writer:latest"}
    assert set(PUBLISHED) | odd == set(CATALOGUE)


@pytest.mark.parametrize(("cap_billions", "is_admitted"), [(4.2, False), (4.3, True)])
def test_a_higher_number_admits_larger_models(
    cap_billions: float, is_admitted: bool, ollama: OllamaProvider
) -> None:
    if is_admitted:
        admit([reference("gemma3:4b")], ollama.describe, cap_billions)
    else:
        assert problems_of(["gemma3:4b"], ollama, cap_billions)


def test_a_projector_counts(ollama: OllamaProvider) -> None:
    # 3.9 and 0.3 billion: 4.2 together.
    (problem,) = problems_of(["tiny-vision"], ollama)
    assert problem.startswith("tiny-vision: 4.2B (4,200,000,000 parameters) is over the cap")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shards", "safetensors"),
        ("label-only", "does not say its exact parameter count"),
        ("gpt-oss:20b-cloud", "a cloud model"),
        ("gpt-oss:120B-Cloud", "a cloud model"),
        ("kimi-k2:cloud", "a cloud model"),
        ("pocket-writer", "a cloud model, it runs elsewhere (https://ollama.com:443)"),
    ],
)
def test_what_cannot_be_sized_is_refused_by_name_whatever_the_cap(
    name: str, reason: str, ollama: OllamaProvider
) -> None:
    (problem,) = problems_of([name], ollama, cap_billions=1_000.0)
    assert problem.startswith(f"{name}: ")
    assert problem.count(name) == 1
    assert reason in problem


def test_a_local_model_without_a_count_is_refused() -> None:
    assert over_cap(description("x", None), 1_000.0) == (
        "x: its exact number of parameters is not known"
    )


def test_a_hosted_model_has_no_cap() -> None:
    hosted = description("openai/gpt", None, provider="openai", local=False)
    assert admit([hosted.reference], lambda _: hosted, 0.1) == (hosted,)


def test_every_problem_is_in_one_message(ollama: OllamaProvider, double: OllamaDouble) -> None:
    names = ["qwen2.5:0.5b", "gemma3:4b", "qwen9:1b", "shards", "gemma3n:e4b"]
    with pytest.raises(PreflightError) as caught:
        admit([reference(name) for name in names], ollama.describe, 4.0)
    headline, *lines = str(caught.value).splitlines()
    assert headline == "4 models cannot be run; no item was run"
    assert [line.split(":")[0] for line in lines] == [
        "  - gemma3",
        f"  - qwen9:1b is not installed on Ollama at {double.url}".split(":")[0],
        "  - shards",
        "  - gemma3n",
    ]
    assert lines[1].endswith("mend it with: ollama pull qwen9:1b")


def test_looking_models_up_loads_none(ollama: OllamaProvider, double: OllamaDouble) -> None:
    admit([reference("qwen2.5:0.5b"), reference("qwen3:4b")], ollama.describe, 4.0)
    assert not double.loads()


def test_one_server_that_does_not_answer_is_asked_and_told_of_once() -> None:
    asked = []

    def describe(model: ModelReference) -> ModelDescription:
        asked.append(model.text)
        if model.provider == "ollama":
            raise ProviderUnreachableError("no Ollama server answers at http://127.0.0.1:1")
        raise MissingExtraError("llamacpp", model.text)

    models = [reference("a"), reference("llamacpp/m", "llamacpp"), reference("b")]
    with pytest.raises(PreflightError) as caught:
        admit(models, describe, 4.0)
    assert asked == ["a", "llamacpp/m"]
    assert str(caught.value).splitlines()[0] == "3 models cannot be run; no item was run"
    assert caught.value.problems == (
        "llamacpp/m needs an extra that is not installed: pip install 'pytest-tipbench[llamacpp]'",
        "no Ollama server answers at http://127.0.0.1:1 (needed by a, b)",
    )


def test_a_provider_from_elsewhere_that_breaks_is_a_problem_of_its_model() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        raise ZeroDivisionError("oops")

    with pytest.raises(PreflightError) as caught:
        admit([reference("acme/m", "acme")], describe, 4.0)
    assert caught.value.problems == ("acme/m: ZeroDivisionError: oops",)


def test_two_names_of_one_model_are_refused() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        return description(model.text, digest="0123456789abcdef")

    with pytest.raises(PreflightError) as caught:
        admit([reference("tinyllama"), reference("my-llama")], describe, 4.0)
    assert caught.value.problems == (
        "my-llama: the same model as tinyllama (digest 0123456789ab): name it once",
    )


def test_hosted_models_may_share_a_digest() -> None:
    models = [reference(f"replay/{name}.jsonl", "replay") for name in "ab"]
    admitted = admit(
        models,
        lambda model: description(
            model.text, None, provider="replay", digest="same", local=False
        ).model_copy(update={"reference": model}),
        4.0,
    )
    assert [model.reference for model in admitted] == models


def test_a_model_refused_after_it_was_pulled_is_said_to_be_on_disk() -> None:
    large = description("big:latest", 5_000_000_000)
    with pytest.raises(PreflightError) as caught:
        admit([large.reference], lambda _: large, 4.0, pulled=[large.reference])
    (problem,) = caught.value.problems
    assert problem == (
        "big:latest: 5.0B (5,000,000,000 parameters) is over the cap of 4B (--max-model-b); "
        "it was pulled and is on disk, remove it with: ollama rm big:latest"
    )


# --- counts that are known before the rest --------------------------------------------------------


LLAMACPP_COUNTS = {"llamacpp/small": 300_000_000, "llamacpp/large": 5_000_000_000}


def count_of(model: ModelReference) -> int | None:
    if model.text == "llamacpp/fake":
        raise UnsizableModelError("fake: is not a GGUF file")
    return LLAMACPP_COUNTS.get(model.text)


def describing(described: list[str]) -> Callable[[ModelReference], ModelDescription]:
    """Return a provider's ``describe`` that says what it was asked for."""

    def describe(model: ModelReference) -> ModelDescription:
        described.append(model.text)
        count = 1_000 if model.text in LLAMACPP_COUNTS else 6_000_000_000
        return description(model.text, count, provider=model.provider)

    return describe


def test_what_its_count_alone_refuses_is_never_described() -> None:
    """Nor is anything else whose description may take long, once the session cannot begin."""
    described: list[str] = []
    models = [
        reference("llamacpp/small", "llamacpp"),
        reference("llamacpp/fake", "llamacpp"),
        reference("six"),
        reference("llamacpp/large", "llamacpp"),
    ]
    with pytest.raises(PreflightError) as caught:
        admit(models, describing(described), 4.0, count=count_of)
    assert described == ["six"]
    assert str(caught.value).startswith("3 models cannot be run")
    assert caught.value.problems == (
        "fake: is not a GGUF file",
        "six: 6.0B (6,000,000,000 parameters) is over the cap of 4B (--max-model-b)",
        "llamacpp/large: 5.0B (5,000,000,000 parameters) is over the cap of 4B (--max-model-b)",
    )


def test_what_was_counted_is_described_last_and_returned_in_its_place() -> None:
    described: list[str] = []
    models = [reference("llamacpp/small", "llamacpp"), reference("six")]
    admitted = admit(models, describing(described), 6.0, count=count_of)
    assert described == ["six", "llamacpp/small"]
    assert [model.reference for model in admitted] == models


def test_the_count_of_the_description_is_held_against_the_cap_all_the_same() -> None:
    """A file may be replaced between the two."""
    model = description("llamacpp/small", 5_000_000_000, provider="llamacpp")
    with pytest.raises(PreflightError, match="over the cap"):
        admit([model.reference], lambda _: model, 4.0, count=count_of)


# --- several hosts --------------------------------------------------------------------------------


def describe_on(*names: str, count: int = 1_000_000_000) -> dict[str, ModelDescription]:
    return {name: description(name, count) for name in names}


def look_up(
    host: dict[str, ModelDescription], address: str, model: ModelReference
) -> ModelDescription:
    if model.text not in host:
        raise ModelMissingError(
            f"{model} is not installed on Ollama at {address}", f"ollama pull {model}"
        )
    return host[model.text]


def test_each_model_is_admitted_on_the_hosts_that_have_it() -> None:
    first, second = describe_on("a", "b"), describe_on("b", "c")
    admitted = admit_on_hosts(
        [reference("a"), reference("b"), reference("c")],
        {
            0: lambda model: look_up(first, "one", model),
            1: lambda model: look_up(second, "two", model),
        },
        4.0,
    )
    assert {name: sorted(by_host) for name, by_host in admitted.items()} == {
        "a": [0],
        "b": [0, 1],
        "c": [1],
    }


def test_a_model_that_no_host_may_run_is_refused_with_the_reason_of_each() -> None:
    small, large = describe_on("a"), describe_on("b", count=5_000_000_000)
    with pytest.raises(PreflightError) as caught:
        admit_on_hosts(
            [reference("a"), reference("b")],
            {
                0: lambda model: look_up(small, "one", model),
                1: lambda model: look_up(large, "two", model),
            },
            4.0,
        )
    assert str(caught.value).startswith("1 model cannot be run")
    assert caught.value.problems == (
        "b is not installed on Ollama at one; mend it with: ollama pull b",
        "b: 5.0B (5,000,000,000 parameters) is over the cap of 4B (--max-model-b)",
    )


def test_a_host_that_does_not_answer_ends_it_though_another_has_the_model() -> None:
    def unreachable(model: ModelReference) -> ModelDescription:
        raise ProviderUnreachableError("no Ollama server answers at two")

    with pytest.raises(PreflightError) as caught:
        admit_on_hosts(
            [reference("a")],
            {0: lambda model: look_up(describe_on("a"), "one", model), 1: unreachable},
            4.0,
        )
    assert caught.value.problems == ("no Ollama server answers at two (needed by a)",)


def test_models_of_other_providers_are_asked_for_once() -> None:
    hosted = description("openai/gpt", None, provider="openai", local=False)

    def not_again(model: ModelReference) -> ModelDescription:
        raise AssertionError

    admitted = admit_on_hosts([hosted.reference], {0: lambda _: hosted, 1: not_again}, 4.0)
    assert admitted == {"openai/gpt": {0: hosted}}


def test_a_reason_without_the_name_gets_it() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        raise ProviderError("a server said 500")

    with pytest.raises(PreflightError) as caught:
        admit([reference("a-b")], describe, 4.0)
    assert caught.value.problems == ("a-b: a server said 500",)


def test_a_reason_that_names_the_model_is_left_alone() -> None:
    def describe(model: ModelReference) -> ModelDescription:
        raise UnsizableModelError("tiny: no count")

    with pytest.raises(PreflightError) as caught:
        admit([reference("tiny")], describe, 4.0)
    assert caught.value.problems == ("tiny: no count",)
