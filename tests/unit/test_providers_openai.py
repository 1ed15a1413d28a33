from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ModelMissingError,
    ProviderError,
    ProviderUnreachableError,
)
from pytest_tipbench.providers.openai import OpenAIProvider
from pytest_tipbench.records import (
    CompletionRequest,
    ModelDescription,
    ModelReference,
    RenderedPrompt,
    SamplingOptions,
)
from tests.openai_double import Answer, OpenAIDouble, chat_answer, error_answer

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = ModelReference(text="openai/small", provider="openai", name="small")
TIPS = '{"tips": ["Open the window for ten minutes."]}'
BUSY = error_answer(429, "Rate limit reached", headers={"Retry-After": "2"})


@pytest.fixture
def double() -> Iterator[OpenAIDouble]:
    with OpenAIDouble() as double:
        yield double


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def provider(double: OpenAIDouble, slept: list[float]) -> Iterator[OpenAIProvider]:
    provider = OpenAIProvider(double.base_url, "sk-secret", sleep=slept.append)
    yield provider
    provider.close()


def request(**changes: Any) -> CompletionRequest:
    return CompletionRequest(
        **{
            "model": ModelDescription(reference=MODEL, digest="d", local=False),
            "prompt": RenderedPrompt(system="You are terse.", user="Five tips, please."),
            "prompt_version": "v1",
            "scenario": "s1",
            "repeat": 1,
            "n_tips": 5,
            "seed": 7,
            "sampling": SamplingOptions(temperature=0.25, num_predict=123),
            "residency": "call",
            "timeout_seconds": 30.0,
            **changes,
        }
    )


# --- what is sent -----------------------------------------------------------------------------


def test_asks_for_the_schema_with_the_options_given(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    provider.complete(request())
    assert double.asked[0].path == "/v1/chat/completions"
    assert double.asked[0].headers["authorization"] == "Bearer sk-secret"
    assert double.asked[0].body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "Five tips, please."},
        ],
        "seed": 7,
        "temperature": 0.25,
        "max_tokens": 123,
        "stream": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {
                "name": "tips",
                "strict": True,
                "schema": {
                    "type": "object",
                    "properties": {
                        "tips": {
                            "type": "array",
                            "items": {"type": "string", "maxLength": 280},
                            "minItems": 5,
                            "maxItems": 5,
                        }
                    },
                    "required": ["tips"],
                    "additionalProperties": False,
                },
            },
        },
    }


def test_sends_no_empty_system_message(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    provider.complete(request(prompt=RenderedPrompt(system="", user="Hi")))
    assert double.chats[0]["messages"] == [{"role": "user", "content": "Hi"}]


def test_sends_any_text(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    text = "NUL \0, half a pair \ud800, ☃"
    provider.complete(request(prompt=RenderedPrompt(system="", user=text)))
    assert double.chats[0]["messages"][0]["content"] == text


def test_without_a_key_sends_none(double: OpenAIDouble) -> None:
    provider = OpenAIProvider(double.base_url + "/", None)
    provider.complete(request())
    provider.close()
    assert "authorization" not in double.asked[0].headers


# --- what comes back --------------------------------------------------------------------------


def test_reads_text_and_counts(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    double.chat = [chat_answer(TIPS, usage={"prompt_tokens": 11, "completion_tokens": 22})]
    started = time.monotonic()
    completion = provider.complete(request())
    assert 0 < completion.latency_seconds <= time.monotonic() - started
    assert completion.text == TIPS
    assert (completion.prompt_tokens, completion.completion_tokens) == (11, 22)
    assert completion.stop_reason == "stop"
    assert completion.thinking is None
    assert completion.load_seconds is None
    assert completion.resident_bytes is None
    assert completion.tokens_per_second is None


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "eos"])
def test_keeps_the_stop_reason(provider: OpenAIProvider, double: OpenAIDouble, reason: str) -> None:
    double.chat = [chat_answer(TIPS, finish_reason=reason)]
    assert provider.complete(request()).stop_reason == reason


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_keeps_thinking_apart(provider: OpenAIProvider, double: OpenAIDouble, key: str) -> None:
    double.chat = [chat_answer(TIPS, message={key: "Hmm."})]
    completion = provider.complete(request())
    assert (completion.text, completion.thinking) == (TIPS, "Hmm.")


def test_a_refusal_is_the_text(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    double.chat = [chat_answer("", message={"content": None, "refusal": "I can't help."})]
    assert provider.complete(request()).text == "I can't help."


def test_joins_a_text_in_parts(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"text": "b"}]
    double.chat = [chat_answer("", message={"content": parts})]
    assert provider.complete(request()).text == "ab"


@pytest.mark.parametrize(
    "usage", [None, "many", {}, {"prompt_tokens": "11", "completion_tokens": -1}]
)
def test_counts_that_make_no_sense_are_unknown(
    provider: OpenAIProvider, double: OpenAIDouble, usage: object
) -> None:
    double.chat = [chat_answer(TIPS, usage=usage)]
    completion = provider.complete(request())
    assert (completion.prompt_tokens, completion.completion_tokens) == (None, None)


def test_an_answer_with_bytes_that_are_not_utf8_is_kept(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    content = json.dumps(chat_answer("tip X").body).encode().replace(b"X", b"\xff")
    double.chat = [Answer(content)]
    assert provider.complete(request()).text == "tip \N{REPLACEMENT CHARACTER}"


def test_an_answer_of_ten_megabytes_with_any_character_is_kept(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    text = "\0\x1b[31m\ud800<script>" * 600_000
    double.chat = [chat_answer(text)]
    assert provider.complete(request()).text == text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[" * 100_000,
        [],
        {},
        {"choices": []},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"choices": {"a": 1}},
    ],
)
def test_an_answer_that_is_no_completion_is_an_error(
    provider: OpenAIProvider, double: OpenAIDouble, body: object
) -> None:
    double.chat = [Answer(body)]
    with pytest.raises(ProviderError, match="not a chat completion"):
        provider.complete(request())


# --- servers that want to be asked otherwise --------------------------------------------------


def refuse_strict(body: dict[str, Any]) -> str | None:
    if body.get("response_format", {}).get("json_schema", {}).get("strict"):
        return "Invalid schema for response_format 'tips': 'maxLength' is not permitted."
    return None


def refuse_schema(body: dict[str, Any]) -> str | None:
    return "This response_format type is unavailable now" if "response_format" in body else None


def refuse_schema_in_other_words(body: dict[str, Any]) -> str | None:
    has_format = "response_format" in body
    return "This model does not support response format `json_schema`" if has_format else None


def refuse_max_tokens(body: dict[str, Any]) -> str | None:
    if "max_tokens" in body:
        return "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    return None


@pytest.mark.parametrize(
    ("refuse", "accepted"),
    [
        (refuse_strict, {"strict": False, "limit": "max_tokens", "tries": 2}),
        (refuse_schema, {"strict": None, "limit": "max_tokens", "tries": 3}),
        (refuse_schema_in_other_words, {"strict": None, "limit": "max_tokens", "tries": 3}),
        (refuse_max_tokens, {"strict": True, "limit": "max_completion_tokens", "tries": 2}),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_learns_how_a_model_wants_to_be_asked(
    provider: OpenAIProvider,
    double: OpenAIDouble,
    refuse: Any,
    accepted: dict[str, Any],
    status: int,
) -> None:
    def answer(asked: Any) -> Answer:
        reason = refuse(asked.body)
        return error_answer(status, reason) if reason else chat_answer(TIPS)

    double.chat = [answer]
    assert provider.complete(request()).text == TIPS
    assert len(double.chats) == accepted["tries"]
    last = double.chats[-1]
    strict = last.get("response_format", {}).get("json_schema", {}).get("strict")
    assert (strict, last[accepted["limit"]]) == (accepted["strict"], 123)
    provider.complete(request(seed=8))
    assert len(double.chats) == accepted["tries"] + 1  # remembered


def test_another_refusal_is_an_error_with_the_servers_words(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    double.chat = [error_answer(400, "'temperature' does not support 0.25 with this model.")]
    with pytest.raises(ProviderError, match=r"400: 'temperature' does not support 0.25"):
        provider.complete(request())
    assert len(double.chats) == 1


def test_gives_up_where_even_the_plainest_request_is_refused(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    double.chat = [error_answer(400, "response_format is bad, always")]
    with pytest.raises(ProviderError, match="always"):
        provider.complete(request())
    assert len(double.chats) == 3


# --- busy, broken, unreachable ----------------------------------------------------------------


def test_waits_as_long_as_a_busy_server_asks(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [BUSY, BUSY, chat_answer(TIPS)]
    assert provider.complete(request()).text == TIPS
    assert slept == [2.0, 2.0]


def test_reads_the_date_when_to_come_back(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    then = datetime.now(timezone.utc) + timedelta(seconds=9)
    headers = {"Retry-After": format_datetime(then, usegmt=True)}
    double.chat = [error_answer(503, "busy", headers=headers), chat_answer(TIPS)]
    provider.complete(request())
    assert len(slept) == 1
    assert 6.0 < slept[0] <= 9.0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("retry_after", [None, "soon", "-1", "nan"])
def test_a_busy_server_is_asked_again(
    provider: OpenAIProvider,
    double: OpenAIDouble,
    slept: list[float],
    status: int,
    retry_after: str | None,
) -> None:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    double.chat = [error_answer(status, "later", headers=headers), chat_answer(TIPS)]
    assert provider.complete(request()).text == TIPS
    assert len(slept) == 1
    assert 0 <= slept[0] <= 2.0


def test_an_error_inside_a_200_counts_by_its_code(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [Answer({"error": {"code": 502, "message": "upstream"}}), chat_answer(TIPS)]
    assert provider.complete(request()).text == TIPS
    assert len(slept) == 1


def test_does_not_wait_past_the_deadline(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [error_answer(429, "Rate limit reached", headers={"Retry-After": "31"})]
    with pytest.raises(CompletionTimeoutError, match=r"still busy .*429: Rate limit reached"):
        provider.complete(request(timeout_seconds=30.0))
    assert slept == []


def test_an_empty_account_is_not_waited_for(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [error_answer(429, "You exceeded your quota", code="insufficient_quota")]
    with pytest.raises(ProviderError, match="You exceeded your quota"):
        provider.complete(request())
    assert slept == []


@pytest.mark.parametrize("status", [501, 505])
def test_what_no_wait_can_mend_is_an_error(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float], status: int
) -> None:
    double.chat = [error_answer(status, "never")]
    with pytest.raises(ProviderError, match="never"):
        provider.complete(request())
    assert slept == []


def test_a_lost_connection_is_tried_again(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [Answer(hangs_up=True), Answer(hangs_up=True), chat_answer(TIPS)]
    assert provider.complete(request()).text == TIPS
    assert len(slept) == 2


def test_three_lost_connections_are_an_error(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [Answer(hangs_up=True)]
    with pytest.raises(ProviderError, match=r"POST .*/chat/completions"):
        provider.complete(request())
    assert (len(double.chats), len(slept)) == (3, 2)


def test_an_answer_that_does_not_come_in_time_is_a_timeout(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    never = threading.Event()
    double.chat = [Answer(waits_for=never)]
    started = time.monotonic()
    with pytest.raises(CompletionTimeoutError):
        provider.complete(request(timeout_seconds=0.3))
    assert time.monotonic() - started < 10
    never.set()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_nothing_listening_is_unreachable(slept: list[float]) -> None:
    provider = OpenAIProvider(f"http://127.0.0.1:{closed_port()}/v1", sleep=slept.append)
    with pytest.raises(ProviderUnreachableError, match="OPENAI_BASE_URL"):
        provider.describe(MODEL)
    with pytest.raises(ProviderUnreachableError, match="OPENAI_BASE_URL"):
        provider.complete(request())
    provider.close()
    provider.close()


@pytest.mark.parametrize(
    ("api_key", "reason"),
    [("sk-wrong", "OPENAI_API_KEY was refused"), (None, "OPENAI_API_KEY is not set")],
)
@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_name_the_variable(
    double: OpenAIDouble, status: int, api_key: str | None, reason: str
) -> None:
    double.chat = [error_answer(status, "Incorrect API key provided")]
    provider = OpenAIProvider(double.base_url, api_key)
    with pytest.raises(ProviderError, match=f"{reason} .*Incorrect API key") as caught:
        provider.complete(request())
    provider.close()
    assert "sk-wrong" not in str(caught.value)


def test_a_wrong_route_asks_for_the_base_url(double: OpenAIDouble) -> None:
    provider = OpenAIProvider(double.address)
    with pytest.raises(ProviderError, match=r"does the base URL lack its /v1\?"):
        provider.complete(request())
    provider.close()


# --- describing -------------------------------------------------------------------------------


def listing(*names: str) -> Answer:
    return Answer({"object": "list", "data": [{"id": name} for name in names]})


NO_SUCH_MODEL = error_answer(404, "The model `small` does not exist", code="model_not_found")


def test_describes_a_listed_model_without_sending_a_prompt(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    double.models = listing("small", "large")
    described = provider.describe(MODEL)
    assert not described.local
    assert described.parameter_count is None
    assert described.reference == MODEL
    assert double.chats == []


def test_the_digest_tells_server_and_name(double: OpenAIDouble) -> None:
    double.models = listing("small", "large")
    large = ModelReference(text="openai/large", provider="openai", name="large")
    digests = []
    with OpenAIDouble() as other:
        for url, model in [
            (double.base_url, MODEL),
            (f"{double.base_url}/", MODEL),
            (double.base_url, large),
            (other.base_url, MODEL),
        ]:
            with contextlib.closing(OpenAIProvider(url)) as provider:
                digests.append(provider.describe(model).digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "models",
    [
        error_answer(404, "Not Found"),
        error_answer(403, "Missing scopes: api.model.read"),
        error_answer(401, "You have insufficient permissions. Missing scopes: api.model.read"),
        error_answer(500, "oops"),
        Answer(b"hello"),
        Answer({"data": None}),
        Answer({"data": [{"name": "small"}]}),
        Answer([]),
        Answer({"data": []}),
        Answer(hangs_up=True),
    ],
)
def test_a_server_need_not_list_its_models(
    provider: OpenAIProvider, double: OpenAIDouble, models: Answer
) -> None:
    double.models = models
    assert provider.describe(MODEL).reference == MODEL


def test_a_model_that_is_not_listed_and_not_known_is_missing(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    double.models = listing("smaller", "huge")
    double.chat = [NO_SUCH_MODEL]
    with pytest.raises(ModelMissingError, match=r"does not know 'small' \(did you mean smaller\?"):
        provider.describe(MODEL)
    assert double.chats[0]["max_tokens"] == 1


@pytest.mark.parametrize(
    "answer",
    [chat_answer("Hi"), error_answer(400, "max_tokens is too small"), BUSY, Answer(hangs_up=True)],
)
def test_a_model_that_is_not_listed_and_not_denied_is_there(
    provider: OpenAIProvider, double: OpenAIDouble, answer: Answer
) -> None:
    double.models = listing("another")
    double.chat = [answer]
    assert provider.describe(MODEL).reference == MODEL


def test_asks_for_the_list_once(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    double.models = listing("small", "large")
    provider.describe(MODEL)
    provider.describe(ModelReference(text="openai/large", provider="openai", name="large"))
    assert [asked.path for asked in double.asked] == ["/v1/models"]


def test_wrong_credentials_are_noticed_before_the_first_cell(
    provider: OpenAIProvider, double: OpenAIDouble
) -> None:
    double.models = error_answer(401, "Incorrect API key provided")
    with pytest.raises(ProviderError, match="OPENAI_API_KEY was refused"):
        provider.describe(MODEL)


def test_a_model_that_goes_away_is_missing(
    provider: OpenAIProvider, double: OpenAIDouble, slept: list[float]
) -> None:
    double.chat = [NO_SUCH_MODEL]
    with pytest.raises(ModelMissingError, match="The model `small` does not exist"):
        provider.complete(request())
    assert slept == []


def test_releasing_does_nothing(provider: OpenAIProvider, double: OpenAIDouble) -> None:
    provider.release(request().model)
    assert double.asked == []
