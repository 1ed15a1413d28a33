from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import (
    PreflightError,
    ProviderError,
    ProviderUnreachableError,
    UnknownNameError,
    UnsizableModelError,
    UserMistakeError,
)
from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.providers.registry import parse_reference
from pytest_tipbench.safety.installed import InstalledModels, expand_models, needs_installed
from tests.ollama_double import CATALOGUE, OllamaDouble
from tests.unit.safety_samples import description, reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tipbench.records import ModelDescription, ModelReference

COUNTS = {
    "qwen2.5:0.5b": 494_032_768,
    "qwen3:4b": 4_022_468_096,
    "gemma3:4b": 4_299_915_632,
    "phi4-mini:latest": 3_836_021_760,
}


def expand(
    *names: str,
    counts: Mapping[str, int] = COUNTS,
    digests: Mapping[str, str] | None = None,
    problems: Mapping[str, ProviderError] | None = None,
) -> tuple[Sequence[str], Sequence[str]]:
    def describe(model: ModelReference) -> ModelDescription:
        if problems and model.name in problems:
            raise problems[model.name]
        return description(model.text, counts[model.name], digest=(digests or {}).get(model.name))

    return expand_models(names, [reference(name) for name in counts], describe, 4.0)


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("installed", True),
        ("INSTALLED", True),
        ("ollama/installed", True),
        ("qwen*", True),
        ("qwen?:0.6b", True),
        ("[qg]*", True),
        ("hf.co/user/*", True),
        ("qwen2.5:0.5b", False),
        ("installed:latest", False),
        ("hf.co/user/repo:Q4_K_M", False),
        ("replay/runs*.jsonl", False),
        ("llamacpp/models/*.gguf", False),
        ("openai/gpt-[x]", False),
    ],
)
def test_only_ollamas_names_are_patterns(name: str, needs: bool) -> None:
    assert needs_installed(["smollm2:135m", name]) is needs


def test_a_name_is_parsed_with_the_sessions_own_providers() -> None:
    def parse(text: str) -> ModelReference:
        return parse_reference(text, prefixes=["acme"])

    assert not needs_installed(["acme/*"], parse=parse)


def test_names_without_patterns_pass_unchanged() -> None:
    names = ("not-there:1b", "ollama/qwen3:4b", "replay/runs*.jsonl", "gemma3:4b")
    assert expand(*names) == (names, ())


def test_installed_is_what_the_cap_admits_and_names_the_rest() -> None:
    assert expand("installed") == (
        ("qwen2.5:0.5b", "qwen3:4b", "phi4-mini:latest"),
        ("gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B (--max-model-b)",),
    )


def test_a_pattern_stands_where_it_was_named() -> None:
    assert expand("llamacpp/gemma3-270m", "qwen*", "openai/gpt")[0] == (
        "llamacpp/gemma3-270m",
        "qwen2.5:0.5b",
        "qwen3:4b",
        "openai/gpt",
    )


@pytest.mark.parametrize("pattern", ["QWEN*", "*0.5B", "q*5*", "ollama/qwen2*"])
def test_patterns_are_globs_and_case_does_not_count(pattern: str) -> None:
    assert "qwen2.5:0.5b" in expand(pattern)[0]


def test_latest_may_be_left_out() -> None:
    assert expand("phi?-mini")[0] == ("phi4-mini:latest",)


def test_what_a_pattern_does_not_match_is_not_looked_up() -> None:
    problems = {"gemma3:4b": ProviderError("not to be asked")}
    assert expand("qwen*", problems=problems) == (("qwen2.5:0.5b", "qwen3:4b"), ())


def test_each_model_comes_once() -> None:
    assert expand("qwen3:4b", "qwen*", "*0.5b", "installed")[0] == (
        "qwen3:4b",
        "qwen2.5:0.5b",
        "phi4-mini:latest",
    )


def test_a_model_named_outright_keeps_its_place_and_its_spelling() -> None:
    assert expand("installed", "Phi4-Mini")[0] == ("qwen2.5:0.5b", "qwen3:4b", "Phi4-Mini")


def test_of_two_names_of_one_model_the_first_is_run() -> None:
    names, left_out = expand(
        "installed",
        counts={"a:latest": 1_000_000_000, "b:latest": 1_000_000_000, "c:latest": 1_000_000_000},
        digests={"a:latest": "same", "b:latest": "other", "c:latest": "same"},
    )
    assert names == ("a:latest", "b:latest")
    assert left_out == ("c:latest: another name of a:latest",)


def test_the_name_given_outright_is_the_first() -> None:
    names, left_out = expand(
        "installed",
        "c",
        counts={"a:latest": 1_000_000_000, "c:latest": 1_000_000_000},
        digests={"a:latest": "same", "c:latest": "same"},
    )
    assert names == ("c",)
    assert left_out == ("a:latest: another name of c",)


def test_an_installed_name_that_looks_like_another_providers_keeps_its_prefix() -> None:
    names, _ = expand("installed", counts={"openai/x:latest": 1_000_000_000})
    assert names == ("ollama/openai/x:latest",)
    assert parse_reference(names[0]).provider == "ollama"


def test_what_cannot_be_sized_is_left_out_with_its_reason() -> None:
    problems = {
        "qwen3:4b": UnsizableModelError("qwen3:4b: a cloud model, it runs elsewhere"),
        "gemma3:4b": ProviderError("Ollama at http://x (500): broken"),
    }
    names, left_out = expand("installed", problems=problems)
    assert names == ("qwen2.5:0.5b", "phi4-mini:latest")
    assert left_out == (
        "qwen3:4b: a cloud model, it runs elsewhere",
        "gemma3:4b: Ollama at http://x (500): broken",
    )


def test_a_pattern_that_matches_nothing_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"installed model 'qwen4\*'.*qwen3:4b"):
        expand("qwen4*")


def test_a_pattern_whose_matches_are_all_left_out_says_why() -> None:
    with pytest.raises(PreflightError) as caught:
        expand("qwen3:4b", "gemma*")
    assert str(caught.value).splitlines() == [
        "--models gemma*: no installed model that it means can be run",
        "  - gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B (--max-model-b)",
    ]


def test_a_pattern_that_adds_nothing_new_is_no_mistake() -> None:
    assert expand("qwen3:4b", "qwen3*") == (("qwen3:4b",), ())


@pytest.mark.parametrize("pattern", ["installed", "qwen*"])
def test_with_nothing_installed_a_pull_is_offered(pattern: str) -> None:
    with pytest.raises(UserMistakeError, match=r"no model is installed.*ollama pull"):
        expand(pattern, counts={})


def test_a_server_that_does_not_answer_is_one_clear_line() -> None:
    problems = {"qwen2.5:0.5b": ProviderUnreachableError("no Ollama server answers at X")}
    with pytest.raises(PreflightError) as caught:
        expand("installed", problems=problems)
    assert caught.value.problems == ("no Ollama server answers at X",)


# --- several servers ------------------------------------------------------------------------------


class Server:
    """A server with models of these sizes; an error in the place of a size is raised."""

    def __init__(self, counts: Mapping[str, int | ProviderError]) -> None:
        self.counts = counts
        self.problem: ProviderError | None = None

    def installed_models(self) -> Sequence[ModelReference]:
        if self.problem is not None:
            raise self.problem
        return [reference(name) for name in self.counts]

    def describe(self, model: ModelReference) -> ModelDescription:
        count = self.counts[model.name]
        if isinstance(count, ProviderError):
            raise count
        return description(model.text, count)


A, B = "http://a:1", "http://b:1"


def expand_on(
    here: Server, there: Server, *names: str, first_alone: bool = False
) -> tuple[Sequence[str], Sequence[str]]:
    installed = InstalledModels({A: here, B: there}, 4.0, first_alone=first_alone)
    return expand_models(names, installed.models, installed.describe, 4.0)


def test_what_any_server_has_is_installed_once() -> None:
    here = Server({"qwen2.5:0.5b": 494_032_768, "gemma3:4b": 4_299_915_632})
    there = Server({"phi4-mini:latest": 3_836_021_760, "Qwen2.5:0.5b": 494_032_768})
    assert expand_on(here, there, "installed") == (
        ("qwen2.5:0.5b", "phi4-mini:latest"),
        ("gemma3:4b: 4.3B (4,299,915,632 parameters) is over the cap of 4B (--max-model-b)",),
    )


@pytest.mark.parametrize("first", [5_000_000_000, ProviderError("Ollama at a (500): broken")])
def test_a_build_that_may_run_on_one_server_is_enough(first: int | ProviderError) -> None:
    here, there = Server({"x:latest": first}), Server({"x:latest": 1_000_000_000})
    assert expand_on(here, there, "installed") == (("x:latest",), ())


def test_a_model_that_no_server_can_describe_is_left_out_with_the_first_reason() -> None:
    here = Server({"x:latest": ProviderError("broken here"), "y:latest": 1})
    there = Server({"x:latest": ProviderError("broken there")})
    assert expand_on(here, there, "installed") == (("y:latest",), ("x:latest: broken here",))


def test_beside_a_child_what_only_the_second_server_has_is_left_out() -> None:
    here, there = Server({"x:latest": 1}), Server({"x:latest": 1, "y:latest": 1})
    assert expand_on(here, there, "installed", "llamacpp/m", first_alone=True) == (
        ("x:latest", "llamacpp/m"),
        (f"y:latest: only on {B}; beside llama.cpp everything local runs on {A}",),
    )


def test_a_server_of_several_that_does_not_answer_is_told() -> None:
    there = Server({})
    there.problem = ProviderUnreachableError("no Ollama server answers at B")
    with pytest.raises(PreflightError) as caught:
        expand_on(Server({"x:latest": 1}), there, "installed")
    assert caught.value.problems == ("no Ollama server answers at B",)


def test_a_whole_server_is_sorted_out() -> None:
    """Every model of the catalogue, and an alias."""
    with OllamaDouble(list(CATALOGUE)) as double:
        double.install({"name": "my-qwen", "alias_of": "qwen2.5:0.5b"})
        provider = OllamaProvider(double.url)
        names, left_out = expand_models(
            ["installed"], provider.installed_models(), provider.describe, 4.0
        )
        provider.close()
        assert not double.loads()
    over = {"qwen2.5:7b", "qwen3.5:4b", "gemma3:4b", "gemma3n:e2b", "gemma3n:e4b"}
    over |= {"gemma4:e2b", "gemma4:e4b", "nemotron-mini:latest", "tiny-vision:latest"}
    unsizable = {"shards:latest", "label-only:latest", "gpt-oss:20b-cloud", "pocket-writer:latest"}
    aliases = {"qwen2.5:0.5b"}  # the newest comes first
    assert set(names) == {*CATALOGUE, "my-qwen:latest"} - over - unsizable - aliases
    assert {line.partition(": ")[0] for line in left_out} == over | unsizable | aliases
    assert "qwen2.5:0.5b: another name of my-qwen:latest" in left_out
