from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ModelMissingError,
    ProviderError,
    ProviderUnreachableError,
    UnsizableModelError,
    UserMistakeError,
)
from pytest_tipbench.providers import ollama
from pytest_tipbench.providers.base import ListsInstalledModels, ListsResidentModels
from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.records import (
    CompletionRequest,
    ModelDescription,
    RenderedPrompt,
    ResidentModel,
    SamplingOptions,
)
from tests.ollama_double import CATALOGUE, DoubleModel, OllamaDouble
from tests.unit.ollama_requests import QWEN, make_request, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import Completion
    from tests.ollama_double import FaultKind

THINKER = "qwen3:0.6b"


class Bench:
    """A double and the provider under test on it."""

    def __init__(self, double: OllamaDouble) -> None:
        self.double = double
        self.provider = OllamaProvider(double.url)

    def describe(self, name: str) -> ModelDescription:
        return self.provider.describe(reference(name))

    def request(self, name: str = QWEN, **changes: Any) -> CompletionRequest:
        return make_request(self.describe(name), **changes)

    def complete(self, name: str = QWEN, **changes: Any) -> Completion:
        return self.provider.complete(self.request(name, **changes))


@pytest.fixture
def start() -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def begin(*models: Any, **options: Any) -> Bench:
        double = OllamaDouble(models, **options) if models else OllamaDouble(**options)
        double.start()
        benches.append(Bench(double))
        return benches[-1]

    yield begin
    for bench in benches:
        bench.provider.close()
        bench.double.close()


@pytest.fixture
def bench(start: Callable[..., Bench]) -> Bench:
    return start()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_it_satisfies_the_protocols(bench: Bench) -> None:
    provider: Provider = bench.provider
    assert provider.name == "ollama"
    assert isinstance(provider, ListsResidentModels)
    assert isinstance(provider, ListsInstalledModels)


def test_the_host_is_normalised() -> None:
    provider = OllamaProvider("0.0.0.0:1234")
    assert provider.host_url == "http://127.0.0.1:1234"
    provider.close()
    provider.close()  # twice does no harm
    with pytest.raises(UserMistakeError):
        OllamaProvider("ftp://example.com")


# --- describe -------------------------------------------------------------------------------------


def test_a_description_is_exact(bench: Bench) -> None:
    model = bench.describe(THINKER)
    assert model.reference == reference(THINKER)
    assert model.digest == CATALOGUE[THINKER].digest
    assert model.parameter_count == 751_632_384
    assert model.quantization == "Q4_K_M"
    assert model.family == "qwen3"
    assert model.capabilities == ("completion", "tools", "thinking")
    assert model.server_version == "0.33.0"
    assert model.local
    assert bench.double.loads() == {}  # nothing was loaded for it


def test_a_projector_counts(start: Callable[..., Bench]) -> None:
    model = start("tiny-vision").describe("tiny-vision")
    assert model.parameter_count == 3_900_000_000 + 300_000_000


@pytest.mark.parametrize("name", ["tinyllama", "TinyLlama", "tinyllama:latest", "TINYLLAMA:Latest"])
def test_case_and_latest_do_not_matter(start: Callable[..., Bench], name: str) -> None:
    assert start("tinyllama").describe(name).parameter_count == 1_100_048_384


def test_an_alias_is_the_same_weights(start: Callable[..., Bench]) -> None:
    bench = start(QWEN, {"name": "mine", "alias_of": QWEN})
    assert bench.describe("mine").digest == bench.describe(QWEN).digest


@pytest.mark.parametrize("name", ["gpt-oss:20b-cloud", "kimi-k2:CLOUD", "My-Cloud"])
def test_a_cloud_name_is_refused_without_asking(start: Callable[..., Bench], name: str) -> None:
    bench = start("gpt-oss:20b-cloud")
    with pytest.raises(UnsizableModelError, match=f"{name}: a cloud model"):
        bench.describe(name)
    assert bench.double.requests == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pocket-writer", "a cloud model, it runs elsewhere"),
        ("shards", "safetensors"),
        ("label-only", "does not say its exact parameter count"),
    ],
)
def test_what_cannot_be_sized_is_refused(
    start: Callable[..., Bench], name: str, reason: str
) -> None:
    bench = start("pocket-writer", "shards", "label-only")
    with pytest.raises(UnsizableModelError, match=reason) as caught:
        bench.describe(name)
    assert name in str(caught.value)
    assert not [event for event in bench.double.events if event.kind == "cloud"]


def test_a_missing_model_comes_with_its_remedy(bench: Bench) -> None:
    with pytest.raises(ModelMissingError) as caught:
        bench.describe("qwen2.5:0.5")
    assert caught.value.remedy == "ollama pull qwen2.5:0.5"
    assert f"qwen2.5:0.5 is not installed on Ollama at {bench.double.url}" in str(caught.value)
    assert QWEN in str(caught.value)
    with pytest.raises(ModelMissingError) as caught:
        bench.describe("zzz")
    assert "near" not in str(caught.value)


def test_a_model_removed_in_between_is_missing(bench: Bench) -> None:
    bench.double.fail("not_found", path="/api/show")
    with pytest.raises(ModelMissingError) as caught:
        bench.describe(QWEN)
    assert caught.value.remedy == f"ollama pull {QWEN}"


def test_an_unknown_version_is_no_reason_to_stop(bench: Bench) -> None:
    bench.double.fail("error", path="/api/version")
    assert bench.describe(QWEN).server_version is None
    assert bench.describe(QWEN).server_version == "0.33.0"


def test_nothing_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = OllamaProvider(f":{port}")
    with pytest.raises(ProviderUnreachableError) as caught:
        provider.describe(reference(QWEN))
    provider.close()
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    assert "ollama serve" in str(caught.value)


def test_installed_models_come_in_the_servers_order(start: Callable[..., Bench]) -> None:
    bench = start("gemma3:1b", QWEN, "gpt-oss:20b-cloud")
    names = ["gpt-oss:20b-cloud", QWEN, "gemma3:1b"]
    assert bench.provider.installed_models() == tuple(map(reference, names))


# --- complete: what is sent -----------------------------------------------------------------------


def test_the_whole_request(bench: Bench) -> None:
    sampling = SamplingOptions(temperature=0.3, num_ctx=2048, num_predict=512)
    bench.complete(sampling=sampling, seed=7, n_tips=2)
    assert bench.double.completions() == [
        {
            "model": QWEN,
            "messages": [
                {"role": "system", "content": "You give tips."},
                {"role": "user", "content": "- Call the bank\nFive tips?"},
            ],
            "stream": False,
            "format": {
                "type": "object",
                "properties": {
                    "tips": {
                        "type": "array",
                        "items": {"type": "string", "maxLength": 280},
                        "minItems": 2,
                        "maxItems": 2,
                    }
                },
                "required": ["tips"],
                "additionalProperties": False,
            },
            "keep_alive": 0,
            "truncate": False,
            "shift": False,
            "options": {"temperature": 0.3, "num_ctx": 2048, "num_predict": 512, "seed": 7},
        }
    ]


def test_an_empty_system_text_is_not_sent(bench: Bench) -> None:
    bench.complete(prompt=RenderedPrompt(system="", user="Tips?"))
    (body,) = bench.double.completions()
    assert body["messages"] == [{"role": "user", "content": "Tips?"}]


def test_thinking_is_turned_off_where_a_model_can(bench: Bench) -> None:
    completion = bench.complete(THINKER)
    bench.complete(QWEN)
    first, second = bench.double.completions()
    assert first["think"] is False
    assert "think" not in second
    assert completion.thinking is None


def test_residency_decides_how_long_a_model_is_kept(bench: Bench) -> None:
    bench.complete(residency="call")
    assert eventually(lambda: bench.double.resident() == [])
    bench.complete(residency="model")
    bench.complete(residency="model")
    assert [body["keep_alive"] for body in bench.double.completions()] == [0, "30s", "30s"]
    assert bench.double.resident() == [QWEN]
    assert sum(bench.double.loads().values()) == 2


# --- complete: what comes back --------------------------------------------------------------------


def test_an_answer_over_the_wire(bench: Bench) -> None:
    completion = bench.complete()
    assert completion.text.startswith('{"tips": ["')
    assert completion.stop_reason == "stop"
    assert completion.prompt_tokens is not None
    assert completion.completion_tokens is not None
    assert completion.tokens_per_second is not None
    assert completion.latency_seconds > 0
    bench.double.fail("no_metrics")
    assert bench.complete().completion_tokens is None


def test_load_and_latency_are_measured(start: Callable[..., Bench]) -> None:
    completion = start(load_seconds=0.2, generate_seconds=0.2).complete()
    assert completion.load_seconds is not None
    assert 0.2 <= completion.load_seconds < completion.latency_seconds
    assert completion.latency_seconds >= 0.4


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "\x00\x1b[31mred\x1b[0m<script>alert(1)</script>",
        "lone \ud800 surrogate",
        "é" * 1_000_000,
        "<think>hm</think>{}",
    ],
    ids=["empty", "blank", "control characters", "surrogate", "2 MB", "thinking"],
)
def test_the_model_may_say_anything(bench: Bench, text: str) -> None:
    bench.double.fail("say", text=text)
    sampling = SamplingOptions(num_predict=1_000_000)
    assert bench.complete(sampling=sampling).text == text


def test_thinking_that_took_every_token(bench: Bench) -> None:
    bench.double.fail("thinking_only")
    completion = bench.complete(THINKER)
    assert completion.text == ""
    assert completion.thinking
    assert completion.stop_reason == "length"


def test_endless_whitespace_ends_at_num_predict(bench: Bench) -> None:
    bench.double.fail("endless_whitespace")
    completion = bench.complete(sampling=SamplingOptions(num_predict=64))
    assert completion.stop_reason == "length"
    assert completion.completion_tokens == 64


# --- complete: what is seen in memory -------------------------------------------------------------


@pytest.mark.parametrize("residency", ["call", "model"])
def test_resident_size_is_seen_in_mid_generation(
    start: Callable[..., Bench], residency: str
) -> None:
    bench = start(load_seconds=0.1, generate_seconds=0.2)
    completion = bench.complete(residency=residency)
    model = CATALOGUE[QWEN]
    assert completion.resident_bytes == model.resident_bytes
    assert completion.resident_vram_bytes == model.resident_bytes // 2
    assert completion.foreign_models == ()
    assert completion.seen_together == 1


def test_a_kept_model_is_seen_however_fast_it_answers(bench: Bench) -> None:
    completion = bench.complete(residency="model")
    assert completion.resident_bytes == CATALOGUE[QWEN].resident_bytes


def test_what_was_not_seen_is_unknown(bench: Bench) -> None:
    bench.double.fail("error", path="/api/ps", times=None)
    completion = bench.complete(residency="model")
    assert completion.resident_bytes is None
    assert completion.resident_vram_bytes is None
    assert completion.seen_together is None


def test_models_of_others_are_recorded(start: Callable[..., Bench]) -> None:
    bench = start(generate_seconds=0.2)
    bench.double.load_foreign("gemma3:1b")
    bench.double.load_foreign("llama3.2:1b")
    completion = bench.complete()
    assert completion.foreign_models == ("gemma3:1b", "llama3.2:1b")
    assert completion.seen_together == 3
    assert completion.resident_bytes == CATALOGUE[QWEN].resident_bytes


def test_a_model_that_comes_late_is_recorded(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "GLANCE_PAUSE_SECONDS", 0.05)
    bench = start(generate_seconds=0.5)
    request = bench.request()
    completions: list[Completion] = []
    thread = threading.Thread(target=lambda: completions.append(bench.provider.complete(request)))
    thread.start()
    assert eventually(lambda: bench.double.resident() == [QWEN])
    bench.double.load_foreign("gemma3:1b")
    thread.join()
    assert completions[0].foreign_models == ("gemma3:1b",)


def test_models_that_come_one_after_the_other_are_not_counted_together(
    start: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "GLANCE_PAUSE_SECONDS", 0.02)
    bench = start(generate_seconds=1.0)
    request = bench.request()
    completions: list[Completion] = []
    thread = threading.Thread(target=lambda: completions.append(bench.provider.complete(request)))
    thread.start()
    assert eventually(lambda: bench.double.resident() == [QWEN])
    for name in ("gemma3:1b", "llama3.2:1b"):
        bench.double.load_foreign(name)
        assert eventually(_looked_twice_more(bench.double))
        bench.double.unload_foreign(name)
        assert eventually(lambda: bench.double.resident() == [QWEN])
    thread.join()
    assert completions[0].foreign_models == ("gemma3:1b", "llama3.2:1b")
    assert completions[0].seen_together == 2


def _looked_twice_more(double: OllamaDouble) -> Callable[[], bool]:
    wanted = len(double.requests) + 2
    return lambda: len(double.requests) >= wanted


def test_a_model_of_others_that_went_before_ours_came_was_not_beside_it() -> None:
    sightings = ollama._Sightings("ours")
    other = ResidentModel(name="b", digest="b", resident_bytes=1, resident_vram_bytes=0)
    ours = ResidentModel(name="a", digest="ours", resident_bytes=1, resident_vram_bytes=0)
    sightings.add([other])
    assert sightings.seen_together is None
    sightings.add([ours])
    sightings.add([])
    assert sightings.seen_together == 1
    sightings.add([other, ours])
    assert sightings.seen_together == 2


def test_another_name_of_ours_is_not_foreign(start: Callable[..., Bench]) -> None:
    bench = start(QWEN, {"name": "mine", "alias_of": QWEN}, generate_seconds=0.2)
    bench.double.load_foreign("mine")
    completion = bench.complete()
    assert completion.foreign_models == ()
    assert completion.resident_bytes == CATALOGUE[QWEN].resident_bytes


def test_a_failing_ps_does_no_harm(start: Callable[..., Bench]) -> None:
    bench = start(generate_seconds=0.2)
    bench.double.fail("error", path="/api/ps", times=1)
    assert bench.complete().resident_bytes == CATALOGUE[QWEN].resident_bytes


def test_a_blocking_ps_delays_nothing_much(bench: Bench) -> None:
    bench.double.fail("hang", path="/api/ps", times=None)
    started = time.monotonic()
    completion = bench.complete()
    assert completion.latency_seconds < 0.5
    assert time.monotonic() - started < 5  # the last glance gives up after half a second
    assert completion.resident_bytes is None


# --- complete: what goes wrong --------------------------------------------------------------------


def test_a_busy_server_is_asked_again(bench: Bench) -> None:
    request = bench.request()
    bench.double.fail("busy", times=3)
    assert bench.provider.complete(request).stop_reason == "stop"
    assert len(bench.double.completions()) == 4


def test_a_server_that_stays_busy_is_a_timeout(bench: Bench) -> None:
    request = bench.request(timeout_seconds=0.5)
    bench.double.fail("busy", times=None)
    started = time.monotonic()
    with pytest.raises(CompletionTimeoutError, match=r"is still busy after 0\.5 s$"):
        bench.provider.complete(request)
    assert 0.5 <= time.monotonic() - started < 5
    assert len(bench.double.completions()) >= 2


@pytest.mark.parametrize("kind", ["hang", "trickle", "delay"])
def test_the_deadline_is_total(bench: Bench, kind: FaultKind) -> None:
    request = bench.request(timeout_seconds=0.4)
    bench.double.fail(kind, seconds=30)
    started = time.monotonic()
    with pytest.raises(CompletionTimeoutError, match=r"no whole answer .* within 0\.4 s$"):
        bench.provider.complete(request)
    assert 0.4 <= time.monotonic() - started < 5
    assert eventually(lambda: bench.double.resident() == [])  # the server saw us leave


def test_a_deadline_while_loading_aborts_the_load(start: Callable[..., Bench]) -> None:
    bench = start(load_seconds=30)
    with pytest.raises(CompletionTimeoutError):
        bench.complete(timeout_seconds=0.3)
    assert eventually(lambda: [each.kind for each in bench.double.events][-1:] == ["gone"])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("out_of_memory", "is out of memory: llama-server reported out-of-memory"),
        ("out_of_memory_before_loading", "is out of memory: model requires more system memory"),
        ("runner_died", "the model's runner died: llama-server process has terminated"),
        ("error", r"\(500\): something went wrong"),
        ("error_in_answer", "something went wrong"),
        ("forbidden", "OLLAMA_HOST=0.0.0.0"),
        ("disconnect", "the connection to Ollama broke"),
        ("html", "answered 200 with text/html instead of JSON"),
        ("broken_json", "answered broken JSON"),
        ("load_answer", "did not complete the prompt .done_reason 'load'."),
    ],
)
def test_faults_are_one_clear_line(bench: Bench, kind: FaultKind, says: str) -> None:
    request = bench.request()
    bench.double.fail(kind)
    with pytest.raises(ProviderError, match=says) as caught:
        bench.provider.complete(request)
    assert type(caught.value) is ProviderError
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert bench.provider.complete(request).stop_reason == "stop"  # and the next one is fine


def test_forbidden_names_the_way_out(bench: Bench) -> None:
    request = bench.request()
    bench.double.fail("forbidden")
    with pytest.raises(ProviderError, match="OLLAMA_ORIGINS"):
        bench.provider.complete(request)


def test_a_model_removed_before_its_cell(bench: Bench) -> None:
    request = bench.request()
    bench.double.remove(QWEN)
    with pytest.raises(ModelMissingError, match="not found") as caught:
        bench.provider.complete(request)
    assert caught.value.remedy == f"ollama pull {QWEN}"


def test_a_server_that_is_gone_is_unreachable(bench: Bench) -> None:
    request = bench.request()
    bench.double.close()
    with pytest.raises(ProviderUnreachableError, match="ollama serve"):
        bench.provider.complete(request)


def test_a_prompt_that_does_not_fit_is_an_error(bench: Bench) -> None:
    with pytest.raises(ProviderError, match="raise --num-ctx") as caught:
        bench.complete(sampling=SamplingOptions(num_ctx=8))
    assert type(caught.value) is ProviderError


# --- residency ------------------------------------------------------------------------------------


def test_resident_models(bench: Bench) -> None:
    assert bench.provider.resident_models() == ()
    bench.double.load_foreign("gemma3:1b")
    model = CATALOGUE["gemma3:1b"]
    assert bench.provider.resident_models() == (
        ResidentModel(
            name="gemma3:1b",
            digest=model.digest,
            resident_bytes=model.resident_bytes,
            resident_vram_bytes=model.resident_bytes // 2,
        ),
    )


def test_resident_models_may_be_asked_again(bench: Bench) -> None:
    bench.double.fail("error", path="/api/ps")
    with pytest.raises(ProviderError):
        bench.provider.resident_models()
    assert bench.provider.resident_models() == ()


def test_release_unloads(bench: Bench) -> None:
    model = bench.describe(QWEN)
    bench.provider.complete(bench.request(residency="model"))
    assert bench.double.resident() == [QWEN]
    bench.provider.release(model)
    assert eventually(lambda: bench.double.resident() == [])
    bench.provider.release(model)  # not loaded: nothing to do
    bench.double.load_foreign("gemma3:1b")
    bench.provider.unload("gemma3:1b")
    assert eventually(lambda: bench.double.resident() == [])
    bench.double.remove(QWEN)
    bench.provider.release(model)  # not even installed


def test_an_unload_that_is_refused_is_said(bench: Bench) -> None:
    model = bench.describe(QWEN)
    bench.double.close()
    with pytest.raises(ProviderUnreachableError):
        bench.provider.release(model)


# --- pull -----------------------------------------------------------------------------------------


def test_a_pull_shows_its_progress(bench: Bench) -> None:
    states: list[tuple[str, int | None, int | None]] = []
    bench.provider.pull("smollm2:135m", lambda *state: states.append(state))
    total = CATALOGUE["smollm2:135m"].file_bytes
    assert states[0] == ("pulling manifest", None, None)
    assert [state[1:] for state in states if state[2]][-1] == (total, total)
    assert states[-1] == ("success", None, None)
    assert bench.describe("smollm2:135m").parameter_count == 134_515_008


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("pull_breaks", "max retries exceeded"),
        ("pull_stops", "ended half-way"),
        ("html", "broken JSON"),
        ("error", r"\(500\): something went wrong"),
        ("disconnect", "the connection to Ollama broke"),
    ],
)
def test_a_pull_that_fails(bench: Bench, kind: FaultKind, says: str) -> None:
    bench.double.fail(kind, path="/api/pull")
    with pytest.raises(ProviderError, match=says):
        bench.provider.pull("smollm2:135m", lambda *_: None)


def test_a_pull_of_what_there_is_not(bench: Bench) -> None:
    with pytest.raises(ModelMissingError, match="the registry has no model 'nope'") as caught:
        bench.provider.pull("nope", lambda *_: None)
    assert caught.value.remedy is None
    with pytest.raises(UnsizableModelError):
        bench.provider.pull("gpt-oss:20b-cloud", lambda *_: None)
    bench.double.close()
    with pytest.raises(ProviderUnreachableError):
        bench.provider.pull("nope", lambda *_: None)


def test_a_cloud_stub_pulled_under_an_innocent_name_is_still_refused(bench: Bench) -> None:
    bench.provider.pull("pocket-writer", lambda *_: None)
    with pytest.raises(UnsizableModelError):
        bench.describe("pocket-writer")


def test_models_of_the_double_need_no_catalogue(start: Callable[..., Bench]) -> None:
    own = DoubleModel("own:7b", 7_000_000_000, "7.0B", quantization="Q8_0")
    assert start(own).describe("own:7b").quantization == "Q8_0"


# --- whether anybody is there ---------------------------------------------------------------------


def test_a_server_is_there_where_it_tells_its_version(bench: Bench) -> None:
    assert bench.provider.answers()


@pytest.mark.parametrize("kind", ["error", "hang", "disconnect"])
def test_what_does_not_tell_it_is_no_server(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: FaultKind
) -> None:
    monkeypatch.setattr(ollama, "GLANCE_SECONDS", 0.2)
    bench.double.fail(kind, path="/api/version", times=None)
    assert not bench.provider.answers()


def test_nobody_is_there() -> None:
    provider = OllamaProvider("127.0.0.1:9")
    started = time.monotonic()
    assert not provider.answers()
    assert time.monotonic() - started < 1
    provider.close()
