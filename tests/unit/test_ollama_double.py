"""The double is held to what is known of Ollama 0.33, so that tests against it mean something."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.http import TransportError, open_client, send
from tests.ollama_double import DoubleModel, FaultKind, OllamaDouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

QWEN = "qwen2.5:0.5b"
MESSAGES = [{"role": "user", "content": "Tasks:\n- Call the bank (due 16:00)\nGive me tips."}]


class Api:
    """The double and a client of it."""

    def __init__(self, double: OllamaDouble) -> None:
        self.double = double
        self.client = open_client(double.url)

    def get(self, path: str, **keywords: Any) -> httpx.Response:
        return send(self.client, "GET", path, deadline_seconds=10, **keywords)

    def post(self, path: str, body: object, **keywords: Any) -> httpx.Response:
        return send(self.client, "POST", path, deadline_seconds=10, json=body, **keywords)

    def chat(self, **body: Any) -> Any:
        body = {"model": QWEN, "messages": MESSAGES, "stream": False, **body}
        return self.post("/api/chat", body).json()

    def ps(self) -> list[str]:
        return [model["name"] for model in self.get("/api/ps").json()["models"]]


@pytest.fixture
def start() -> Iterator[Callable[..., Api]]:
    apis: list[Api] = []

    def begin(*arguments: Any, **options: Any) -> Api:
        double = OllamaDouble(*arguments, **options)
        double.start()
        apis.append(Api(double))
        return apis[-1]

    yield begin
    for api in apis:
        api.client.close()
        api.double.close()


@pytest.fixture
def api(start: Callable[..., Api]) -> Api:
    return start()


def eventually(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def schema(count: int) -> dict[str, Any]:
    item = {"type": "string", "maxLength": 280}
    tips = {"type": "array", "items": item, "minItems": count, "maxItems": count}
    return {"type": "object", "properties": {"tips": tips}, "required": ["tips"]}


# --- what there is ------------------------------------------------------------------------------


def test_show_tags_and_version(api: Api) -> None:
    assert api.get("/api/version").json() == {"version": "0.33.0"}
    assert api.get("/").text == "Ollama is running"
    assert send(api.client, "HEAD", "/", deadline_seconds=5).status_code == 200
    entry = next(each for each in api.get("/api/tags").json()["models"] if each["name"] == QWEN)
    show = api.post("/api/show", {"model": QWEN}).json()
    assert show["model_info"]["general.parameter_count"] == 494_032_768
    assert show["capabilities"] == ["completion", "tools"]
    assert show["details"] == entry["details"]
    assert show["details"]["quantization_level"] == "Q4_K_M"
    assert len(entry["digest"]) == 64
    assert "projector_info" not in show
    assert "remote_host" not in entry


def test_names_are_case_insensitive_and_latest_may_be_left_out(start: Callable[..., Api]) -> None:
    api = start(["tinyllama", QWEN])
    for name in ("tinyllama", "TinyLlama:latest", "library/tinyllama"):
        assert api.post("/api/show", {"model": name}).status_code == 200
    assert api.chat(model="QWEN2.5:0.5B")["model"] == "QWEN2.5:0.5B"  # echoed as sent


def test_the_odd_models(start: Callable[..., Api]) -> None:
    api = start(["tiny-vision", "shards", "label-only", "pocket-writer"])
    shown = {
        name: api.post("/api/show", {"model": name}).json()
        for name in ("tiny-vision", "shards", "label-only", "pocket-writer")
    }
    assert shown["tiny-vision"]["projector_info"]["general.parameter_count"] == 300_000_000
    assert shown["shards"]["details"]["format"] == "safetensors"
    assert "general.parameter_count" not in shown["label-only"]["model_info"]
    assert shown["label-only"]["details"]["parameter_size"] == "1.1B"
    assert shown["pocket-writer"]["remote_host"] == "https://ollama.com:443"
    tags = {each["name"]: each for each in api.get("/api/tags").json()["models"]}
    assert tags["pocket-writer:latest"]["remote_model"] == "gpt-oss:120b"


def test_an_alias_shares_the_digest(start: Callable[..., Api]) -> None:
    api = start([QWEN, {"name": "mine", "alias_of": QWEN}])
    digests = {each["digest"] for each in api.get("/api/tags").json()["models"]}
    assert len(digests) == 1
    api.chat(keep_alive="5m")
    api.chat(model="mine", keep_alive="5m")
    assert api.double.loads() == {digests.pop(): 1}
    assert api.ps() == [QWEN]


# --- answers --------------------------------------------------------------------------------------


def test_the_shape_of_an_answer(api: Api) -> None:
    answer = api.chat(format=schema(3), options={"seed": 1, "temperature": 0.7})
    assert answer["done"] is True
    assert answer["done_reason"] == "stop"
    assert answer["message"]["role"] == "assistant"
    assert "thinking" not in answer["message"]
    for key in ("total_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(answer[key], int)
    assert answer["total_duration"] >= answer["prompt_eval_duration"] + answer["eval_duration"]
    assert answer["prompt_eval_count"] > 0
    assert answer["eval_count"] > 0


@pytest.mark.parametrize("count", [1, 3, 5, 9])
def test_the_schemas_count_is_honoured_with_tips_of_their_own(api: Api, count: int) -> None:
    tips = json.loads(api.chat(format=schema(count))["message"]["content"])["tips"]
    assert len(set(tips)) == count
    assert all(20 < len(tip) <= 280 for tip in tips)


def test_any_schema_is_honoured(api: Api) -> None:
    asked = {
        "type": "object",
        "properties": {
            "advice": {"type": "array", "items": {"type": "string", "maxLength": 12}},
            "count": {"type": "integer"},
            "sure": {"type": "boolean"},
        },
    }
    value = json.loads(api.chat(format=asked)["message"]["content"])
    assert [len(text) for text in value["advice"]] == [12, 12, 12]
    assert isinstance(value["count"], int)
    assert value["sure"] is True


def test_without_a_format_the_model_writes_a_list(api: Api) -> None:
    assert api.chat()["message"]["content"].startswith("1. ")
    assert json.loads(api.chat(format="json")["message"]["content"])["tips"]


def test_the_same_question_has_the_same_answer(api: Api) -> None:
    def said(**body: Any) -> str:
        return str(api.chat(format=schema(5), **body)["message"]["content"])

    first = said(options={"seed": 1})
    assert said(options={"seed": 1}) == first
    assert said(options={"seed": 2}) != first
    assert said(options={"seed": 1}, model="llama3.2:1b") != first
    assert said(options={"seed": 1}, messages=[{"role": "user", "content": "Hi"}]) != first


def test_num_predict_cuts_the_answer(api: Api) -> None:
    answer = api.chat(format=schema(5), options={"num_predict": 10})
    assert answer["done_reason"] == "length"
    assert answer["eval_count"] == 10
    assert len(answer["message"]["content"]) <= 40


def test_a_long_prompt_is_cut_silently_unless_truncate_is_off(api: Api) -> None:
    messages = [{"role": "user", "content": "word " * 4000}]
    assert api.chat(messages=messages)["prompt_eval_count"] == 2050  # num_ctx / 2 + 2
    refused = api.chat(messages=messages, truncate=False)
    assert "exceeds the available context size (4096 tokens)" in refused["error"]


def test_thinking_is_on_by_default(api: Api) -> None:
    assert api.chat(model="qwen3:0.6b")["message"]["thinking"]
    assert "thinking" not in api.chat(model="qwen3:0.6b", think=False)["message"]
    assert "thinking" not in api.chat(think=False)["message"]


def test_a_stream_says_the_same_in_pieces(api: Api) -> None:
    whole = api.chat(format=schema(2))["message"]["content"]
    body = {"model": QWEN, "messages": MESSAGES, "format": schema(2)}  # streaming is the default
    lines = [json.loads(line) for line in api.post("/api/chat", body).text.splitlines()]
    assert "".join(line["message"]["content"] for line in lines) == whole
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["done_reason"] == "stop"
    assert "eval_count" in lines[-1]


def test_generate_speaks_too(api: Api) -> None:
    body = {"model": QWEN, "prompt": "Give tips", "system": "Be brief", "stream": False}
    assert api.post("/api/generate", body).json()["response"].startswith("1. ")
    assert api.post("/api/generate", {**body, "prompt": ""}).json()["done_reason"] == "load"
    empty = {"model": QWEN, "stream": False, "keep_alive": 0}
    assert api.post("/api/generate", empty).json()["done_reason"] == "unload"


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"model": "nope"}, 404, "model 'nope' not found"),
        ({"model": ""}, 400, "model is required"),
        ({"model": 3}, 400, "cannot unmarshal"),
        ({"model": "a b/c!"}, 400, "invalid model name"),
        ({"messages": "hi"}, 400, "cannot unmarshal"),
        ({"think": True}, 400, f'"{QWEN}" does not support thinking'),
        ({"options": {"seed": "1"}}, 500, 'option "seed" must be of type integer'),
        ({"options": {"temperature": "hot"}}, 500, 'option "temperature" must be of type float32'),
        ({"format": "xml"}, 500, "invalid format"),
        ({"keep_alive": "5"}, 400, 'time: missing unit in duration "5"'),
        ({"keep_alive": "soon"}, 400, "invalid duration"),
        ({"keep_alive": {}}, 400, "invalid duration"),
        ({"model": "gpt-oss:20b-cloud"}, 401, "unauthorized"),
    ],
)
def test_refusals(api: Api, body: dict[str, Any], status: int, error: str) -> None:
    response = api.post("/api/chat", {"model": QWEN, "messages": MESSAGES, "stream": False, **body})
    assert response.status_code == status
    assert error in response.json()["error"]
    assert api.double.loads() == {}


def test_a_model_that_cannot_chat(start: Callable[..., Api]) -> None:
    api = start([DoubleModel("embedder:latest", 137_000_000, capabilities=("embedding",))])
    assert api.chat(model="embedder")["error"] == '"embedder" does not support chat'


def test_unknown_fields_and_options_are_ignored(api: Api) -> None:
    answer = api.chat(mesages=[], temperature=99, options={"sed": "x", "num_ctx": 4096.0})
    assert answer["done_reason"] == "stop"


def test_a_misspelt_messages_field_succeeds_without_an_answer(api: Api) -> None:
    answer = api.post("/api/chat", {"model": QWEN, "mesages": MESSAGES, "stream": False}).json()
    assert answer["done_reason"] == "load"
    assert answer["message"]["content"] == ""


def test_wrong_routes_and_methods_answer_in_plain_text(api: Api) -> None:
    missing = api.get("/api/chats")
    assert (missing.status_code, missing.text) == (404, "404 page not found")
    wrong = api.get("/api/chat")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")
    assert wrong.headers["Content-Type"].startswith("text/plain")


def test_an_empty_or_broken_body_is_a_400(api: Api) -> None:
    for content in (b"", b"{not json", b"[]"):
        response = send(api.client, "POST", "/api/chat", deadline_seconds=5, content=content)
        assert response.status_code == 400


def test_an_unknown_host_is_refused_without_a_word(api: Api) -> None:
    response = api.get("/api/tags", headers={"Host": "evil.example.com"})
    assert (response.status_code, response.content) == (403, b"")
    for host in ("localhost:1", "127.0.0.1:1", "box.local", "[::1]:1"):
        assert api.get("/api/tags", headers={"Host": host}).status_code == 200


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_alive", [None, -1, "-1m", 300, "5m", "1h30m", "250ms", 0.25])
def test_a_kept_model_stays(api: Api, keep_alive: object) -> None:
    api.chat(keep_alive=keep_alive)
    assert api.ps() == [QWEN]


@pytest.mark.parametrize("keep_alive", [0, "0", "0s", 0.0])
def test_a_model_that_is_not_kept_goes(api: Api, keep_alive: object) -> None:
    api.chat(keep_alive=keep_alive)
    assert eventually(lambda: api.ps() == [])


def test_keep_alive_expires_by_the_clock(api: Api) -> None:
    started = time.monotonic()
    api.chat(keep_alive="200ms")
    assert api.ps() == [QWEN]
    assert eventually(lambda: api.ps() == [])
    gone = next(event for event in api.double.events if event.kind == "gone")
    assert 0.2 <= gone.at - started < 3


def test_empty_messages_load_and_unload(api: Api) -> None:
    assert api.chat(messages=[])["done_reason"] == "load"
    assert api.ps() == [QWEN]
    assert api.chat(messages=[], keep_alive=0)["done_reason"] == "unload"
    assert api.ps() == []
    assert api.chat(messages=[], keep_alive=0)["done_reason"] == "unload"  # not loaded: the same


def test_ps_says_size_and_digest(api: Api) -> None:
    api.chat(keep_alive=-1)
    (model,) = api.get("/api/ps").json()["models"]
    tags = api.get("/api/tags").json()["models"]
    assert model["digest"] == next(each["digest"] for each in tags if each["name"] == QWEN)
    assert model["size"] > model["size_vram"] > 0
    assert model["context_length"] == 4096


def ask(double: OllamaDouble, **body: Any) -> Any:
    """Chat over a connection of its own."""
    api = Api(double)
    with api.client:
        return api.chat(**body)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_loading_model_is_invisible_and_load_duration_tells(start: Callable[..., Api]) -> None:
    api = start(load_seconds=0.3, generate_seconds=0.3)
    answers: list[Any] = []
    thread = in_background(lambda: answers.append(ask(api.double, keep_alive=0)))
    assert eventually(lambda: [event.kind for event in api.double.events] == ["load"])
    assert api.ps() == []
    assert eventually(lambda: api.ps() == [QWEN])  # while it generates
    thread.join()
    assert 0.3e9 <= answers[0]["load_duration"] < 5e9
    assert api.chat(keep_alive=0)["done_reason"] == "stop"


def test_a_disconnect_aborts_the_load(start: Callable[..., Api]) -> None:
    api = start(load_seconds=30)
    with pytest.raises(TransportError):
        send(
            api.client,
            "POST",
            "/api/chat",
            deadline_seconds=0.1,
            json={"model": QWEN, "messages": MESSAGES, "stream": False},
        )
    assert eventually(lambda: [each.kind for each in api.double.events][-1:] == ["gone"])
    assert "loaded" not in [event.kind for event in api.double.events]


def test_unloading_takes_its_time_and_is_still_listed(start: Callable[..., Api]) -> None:
    api = start(unload_seconds=0.3)
    api.chat(keep_alive=0)
    assert api.ps() == [QWEN]
    assert eventually(lambda: api.ps() == [])
    api.chat(keep_alive=0)
    api.chat(keep_alive=0)  # waits for the unload, then loads again
    assert sum(api.double.loads().values()) == 3
    assert api.double.max_resident_together() == 1


def test_ps_may_block_while_unloading(start: Callable[..., Api]) -> None:
    api = start(unload_seconds=0.3, ps_block_seconds=5)
    api.chat(keep_alive=0)
    started = time.monotonic()
    assert api.ps() == []
    assert time.monotonic() - started > 0.1


def test_requests_for_two_models_at_once_load_both(start: Callable[..., Api]) -> None:
    api = start(generate_seconds=0.3)
    threads = [
        in_background(lambda name=name: ask(api.double, model=name, keep_alive=0))  # type: ignore[misc]  # default binds
        for name in (QWEN, "llama3.2:1b")
    ]
    assert eventually(lambda: len(api.ps()) == 2)
    for thread in threads:
        thread.join()
    assert api.double.max_resident_together() == 2


def test_with_one_loaded_model_at_most_the_second_waits(start: Callable[..., Api]) -> None:
    api = start(generate_seconds=0.2, max_loaded_models=1)
    threads = [
        in_background(lambda name=name: ask(api.double, model=name, keep_alive="5m"))  # type: ignore[misc]  # default binds
        for name in (QWEN, "llama3.2:1b")
    ]
    for thread in threads:
        thread.join()
    assert api.double.max_resident_together() == 1
    assert len(api.double.loads()) == 2
    assert len(api.ps()) == 1


def test_completions_of_one_model_take_turns(start: Callable[..., Api]) -> None:
    api = start(generate_seconds=0.2)
    started = time.monotonic()
    threads = [in_background(lambda: ask(api.double)) for _ in range(2)]
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.4
    assert sum(api.double.loads().values()) == 1


def test_a_foreign_client_loads_keeps_and_leaves(api: Api) -> None:
    api.double.load_foreign("gemma3:1b")
    api.chat(keep_alive=0)
    assert "gemma3:1b" in api.ps()
    assert eventually(lambda: api.ps() == ["gemma3:1b"])
    assert api.double.max_resident_together() == 2
    assert len(api.double.loads()) == 1
    assert len(api.double.loads(foreign=True)) == 1
    api.double.unload_foreign("gemma3:1b")
    assert api.ps() == []
    api.double.load_foreign("gemma3:1b", seconds=0.1)
    assert eventually(lambda: api.ps() == [])


def test_a_foreign_keep_alive_overrides_ours(start: Callable[..., Api]) -> None:
    api = start(unload_seconds=0)
    api.chat(keep_alive="100ms")
    api.double.load_foreign(QWEN, seconds=60)
    time.sleep(0.15)  # past our keep-alive: what is under test is that time changes nothing
    assert api.ps() == [QWEN]


# --- faults ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("busy", 503, "server busy, please try again.  maximum pending requests exceeded"),
        ("out_of_memory", 500, "llama-server reported out-of-memory during startup"),
        ("out_of_memory_before_loading", 500, "model requires more system memory"),
        ("runner_died", 500, "llama-server process has terminated"),
        ("error", 500, "something went wrong"),
        ("error_in_answer", 200, "something went wrong"),
        ("not_found", 404, "not found"),
    ],
)
def test_errors_on_demand(api: Api, kind: Any, status: int, error: str) -> None:
    api.double.fail(kind)
    body = {"model": QWEN, "messages": MESSAGES, "stream": False}
    response = api.post("/api/chat", body)
    assert response.status_code == status
    assert error in response.json()["error"]
    assert api.post("/api/chat", body).json()["done_reason"] == "stop"  # once only


def test_a_fault_finds_its_model_and_its_turn(api: Api) -> None:
    api.double.fail("busy", model=QWEN, nth=2, times=2)
    answers = ["error" in api.chat() for _ in range(4)]
    assert answers == [False, True, True, False]
    api.double.fail("busy", model=QWEN, times=None)
    assert "error" not in api.chat(model="llama3.2:1b")
    assert "error" in api.chat()
    api.double.heal()
    assert "error" not in api.chat()
    with pytest.raises(ValueError, match="unknown fault"):
        api.double.fail("nonsense")  # type: ignore[arg-type]  # what is under test


def test_faults_of_the_wire(api: Api) -> None:
    api.double.fail("html")
    body = {"model": QWEN, "messages": MESSAGES, "stream": False}
    page = api.post("/api/chat", body)
    assert page.headers["Content-Type"].startswith("text/html")
    api.double.fail("forbidden")
    assert (api.post("/api/chat", body).status_code, page.status_code) == (403, 200)
    api.double.fail("broken_json")
    with pytest.raises(ValueError, match="line 1"):
        api.post("/api/chat", body).json()
    api.double.fail("disconnect")
    with pytest.raises(TransportError) as caught:
        api.post("/api/chat", body)
    assert caught.value.kind == "broken"
    kinds: tuple[FaultKind, ...] = ("hang", "trickle")
    for kind in kinds:
        api.double.fail(kind)
        with pytest.raises(TransportError) as caught:
            send(api.client, "POST", "/api/chat", deadline_seconds=0.2, json=body)
        assert caught.value.kind == "timeout"
    api.double.fail("delay", seconds=0.2)
    started = time.monotonic()
    assert api.post("/api/chat", body).json()["done_reason"] == "stop"
    assert time.monotonic() - started >= 0.2


def test_faults_of_the_model(api: Api) -> None:
    def said(kind: Any, **fault: Any) -> Any:
        api.double.fail(kind, **fault)
        return api.chat(format=schema(5), options={"num_predict": 100})

    assert (
        said("say", text="\x1b[31m\x00</script>")["message"]["content"] == "\x1b[31m\x00</script>"
    )
    blank = said("endless_whitespace")
    assert blank["done_reason"] == "length"
    assert len(blank["message"]["content"]) == 400
    assert not said("format_ignored")["message"]["content"].startswith("{")
    assert "</think>" in said("thinking_in_text")["message"]["content"]
    thought = said("thinking_only")
    assert thought["message"]["content"] == ""
    assert len(thought["message"]["thinking"]) == 400
    assert thought["done_reason"] == "length"
    assert said("load_answer")["done_reason"] == "load"
    bare = said("no_metrics")
    assert not [key for key in bare if "duration" in key or "count" in key]


def test_ps_can_fail_once(api: Api) -> None:
    api.double.fail("error", path="/api/ps", text="llama runner is unloading")
    assert api.get("/api/ps").status_code == 500
    assert api.get("/api/ps").status_code == 200


# --- pulling --------------------------------------------------------------------------------------


def test_a_pull_installs(api: Api) -> None:
    lines = api.post("/api/pull", {"model": "smollm2:135m"}).text.splitlines()
    states = [json.loads(line) for line in lines]
    assert states[0] == {"status": "pulling manifest"}
    assert states[-1] == {"status": "success"}
    parts = [state for state in states if "total" in state]
    assert [part["completed"] * 4 // part["total"] for part in parts] == [0, 1, 2, 4]
    assert api.post("/api/show", {"model": "smollm2:135m"}).status_code == 200
    api.double.remove("smollm2:135m")
    assert api.post("/api/show", {"model": "smollm2:135m"}).status_code == 404


def test_a_pull_fails_inside_its_stream(api: Api) -> None:
    response = api.post("/api/pull", {"model": "nope"})
    assert response.status_code == 200
    assert "file does not exist" in json.loads(response.text.splitlines()[-1])["error"]
    whole = api.post("/api/pull", {"model": "nope", "stream": False})
    assert (whole.status_code, "error" in whole.json()) == (500, True)
    api.double.fail("pull_breaks", path="/api/pull")
    last = api.post("/api/pull", {"model": "smollm2:135m"}).text.splitlines()[-1]
    assert "error" in json.loads(last)
    assert api.post("/api/show", {"model": "smollm2:135m"}).status_code == 404


# --- the record -----------------------------------------------------------------------------------


def test_everything_is_recorded(api: Api) -> None:
    api.chat(options={"seed": 7}, keep_alive=0)
    api.get("/api/ps")
    assert eventually(lambda: api.double.resident() == [])
    assert [request["path"] for request in api.double.requests] == ["/api/chat", "/api/ps"]
    (body,) = api.double.completions()
    assert body["options"] == {"seed": 7}
    assert [event.kind for event in api.double.events] == ["load", "loaded", "unload", "gone"]
    times = [event.at for event in api.double.events]
    assert times == sorted(times)


def test_asking_for_the_cloud_is_recorded(start: Callable[..., Api]) -> None:
    api = start(["gpt-oss:20b-cloud", "pocket-writer"])
    api.chat(model="gpt-oss:20b-cloud")
    api.chat(model="pocket-writer")
    assert [event.kind for event in api.double.events] == ["cloud", "cloud"]


def test_other_processes_use_the_double_over_http(api: Api) -> None:
    api.post("/__control__", {"do": "load_foreign", "name": "gemma3:1b"})
    api.post("/__control__", {"do": "fail", "kind": "busy", "model": QWEN})
    api.post("/__control__", {"do": "install", "model": "smollm2:135m"})
    assert "error" in api.chat()
    assert "error" not in api.chat(model="smollm2:135m", keep_alive=0)
    api.post("/__control__", {"do": "unload_foreign", "name": "gemma3:1b"})
    assert eventually(lambda: api.get("/__record__").json()["resident"] == [])
    record = api.get("/__record__").json()
    assert record["max_resident_together"] == 2
    assert list(record["loads"].values()) == [1]
    assert [request["path"] for request in record["requests"]] == ["/api/chat"] * 2
    assert {"at", "kind", "model", "digest", "foreign"} == set(record["events"][0])


def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    models = tmp_path / "models.json"
    entries = [QWEN, {"name": "own", "parameter_count": 5_000_000_000, "capabilities": []}]
    models.write_text(json.dumps(entries), encoding="utf-8")
    command = [sys.executable, "-m", "tests.ollama_double", "--models-file", str(models)]
    with subprocess.Popen(
        [*command, "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        with open_client(process.stdout.readline().strip()) as client:
            tags = send(client, "GET", "/api/tags", deadline_seconds=5).json()
        process.stdin.close()
        assert process.wait(10) == 0
    assert [model["name"] for model in tags["models"]] == ["own:latest", QWEN]
