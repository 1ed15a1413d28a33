from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_tipbench.errors import ProviderBusyError, ProviderError, UnsizableModelError
from pytest_tipbench.providers import ollama_wire
from pytest_tipbench.records import RenderedPrompt, ResidentModel
from tests.unit.ollama_requests import make_request

if TYPE_CHECKING:
    from pytest_tipbench.records import Completion


@pytest.mark.parametrize(
    ("show", "reason"),
    [
        ({"model_info": {"general.parameter_count": True}}, "exact parameter count"),
        ({"model_info": {"general.parameter_count": 0}}, "exact parameter count"),
        ({"model_info": {"general.parameter_count": "1B"}}, "exact parameter count"),
        ({"model_info": {"general.parameter_count": 1.5}}, "exact parameter count"),
        ({"model_info": []}, "exact parameter count"),
        ({}, "exact parameter count"),
        (
            {
                "model_info": {"general.parameter_count": 1000},
                "projector_info": {"general.architecture": "clip"},
            },
            "of its projector",
        ),
        ({"remote_host": "https://ollama.com:443"}, "runs elsewhere"),
        ({"remote_model": "gpt-oss:120b"}, "runs elsewhere"),
    ],
)
def test_a_count_is_taken_only_where_it_is_one(show: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsizableModelError, match=reason):
        ollama_wire.parameter_count(show, "x")


@pytest.mark.parametrize("count", [4_022_468_096, 4_022_468_096.0])
def test_a_whole_number_is_a_count_however_it_is_written(count: float) -> None:
    show = {"model_info": {"general.parameter_count": count}, "projector_info": None}
    assert ollama_wire.parameter_count(show, "x") == 4_022_468_096


def read(answer: dict[str, Any], **changes: Any) -> Completion:
    request = make_request(**changes)
    return ollama_wire.read_completion(answer, request, 2.5, "http://127.0.0.1:11434")


def test_durations_are_nanoseconds() -> None:
    completion = read(
        {
            "message": {"role": "assistant", "content": "x", "thinking": "hm"},
            "done_reason": "length",
            "load_duration": 1_680_000_000,
            "prompt_eval_count": 120,
            "eval_count": 90,
            "eval_duration": 1_500_000_000,
        }
    )
    assert completion.load_seconds == 1.68
    assert completion.tokens_per_second == 60.0  # 90 tokens in 1.5 s
    assert completion.latency_seconds == 2.5
    assert (completion.prompt_tokens, completion.completion_tokens) == (120, 90)
    assert (completion.text, completion.thinking) == ("x", "hm")
    assert completion.stop_reason == "length"


@pytest.mark.parametrize("metrics", [{}, {"eval_count": 0, "load_duration": 0}])
def test_missing_is_unknown_and_not_zero(metrics: dict[str, Any]) -> None:
    completion = read({"message": {"content": ""}, "done_reason": "stop", **metrics})
    assert completion.text == ""
    assert completion.thinking is None
    assert completion.load_seconds is None
    assert completion.prompt_tokens is None
    assert completion.completion_tokens is None
    assert completion.tokens_per_second is None


@pytest.mark.parametrize("value", [float("inf"), -1, "12", True, None, [3]])
def test_metrics_that_are_none_are_unknown(value: object) -> None:
    metrics = {"eval_count": value, "eval_duration": value, "load_duration": value}
    completion = read({"message": {"content": "x"}, "done_reason": "stop", **metrics})
    assert completion.completion_tokens is None
    assert completion.load_seconds is None


def test_bytes_that_are_no_text_are_kept_as_far_as_they_go() -> None:
    body = b'{"message": {"content": "caf\xe9"}, "done_reason": "stop"}'
    answer = ollama_wire.read_object(200, "application/json", body, "http://x")
    assert read(answer).text == "caf\ufffd"


@pytest.mark.parametrize(
    ("prompt_tokens", "user_bytes", "cut"),
    [
        (2050, 16_400, True),  # half of 4096 and two, and 8 bytes to a token: half is missing
        (2050, 8_200, False),  # 4 bytes to a token: the prompt just is that long
        (2200, 17_600, False),  # not where a cut would end
        (4096, 16_000, True),  # nothing of the context is left
        (1000, 9_000, False),
        (None, 60_000, False),  # unknown
    ],
)
def test_a_prompt_that_was_cut_in_silence_is_found(
    prompt_tokens: int | None, user_bytes: int, cut: bool
) -> None:
    answer: dict[str, Any] = {"message": {"content": "x"}, "done_reason": "stop"}
    if prompt_tokens is not None:
        answer["prompt_eval_count"] = prompt_tokens
    prompt = RenderedPrompt(system="", user="w" * user_bytes)
    if cut:
        with pytest.raises(ProviderError, match="cut the prompt"):
            read(answer, prompt=prompt)
    else:
        assert read(answer, prompt=prompt).prompt_tokens == prompt_tokens


@pytest.mark.parametrize(
    ("status", "content_type", "body", "says"),
    [
        (404, "text/plain", b"404 page not found", "'404 page not found': is it an Ollama server"),
        (405, "text/plain", b"405 method not allowed", "is it an Ollama server"),
        (502, "text/html", b"<html>Bad gateway</html>", "answered 502 with text/html"),
        (200, "application/json", b"[1, 2]", "broken JSON"),
        (200, "application/json", b"[" * 100_000, "broken JSON"),
        (200, "", b"", "answered 200 with something unnamed"),
        (400, "application/json", b'{"error": {"message": "no"}}', r"\(400\): .*no"),
        (200, "application/json", b'{"error": "' + b"x" * 9999 + b'"}', "x…"),
    ],
)
def test_answers_of_something_else(status: int, content_type: str, body: bytes, says: str) -> None:
    with pytest.raises(ProviderError, match=says) as caught:
        ollama_wire.read_object(status, content_type, body, "http://x")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("status", [429, 503])
def test_busy_without_json_is_busy(status: int) -> None:
    with pytest.raises(ProviderBusyError):
        ollama_wire.read_object(status, "text/html", b"<html>", "http://x")


@pytest.mark.parametrize("answer", [{}, {"models": "none"}, {"models": [1]}])
def test_no_list_of_models_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="list of models"):
        ollama_wire.read_resident_models(answer)


def test_gos_empty_list_and_prefixed_digests_are_read() -> None:
    assert ollama_wire.read_resident_models({"models": None}) == ()
    entry = {"model": "x:latest", "digest": "sha256:ABC"}
    assert ollama_wire.read_resident_models({"models": [entry]}) == (
        ResidentModel(name="x:latest", digest="abc", resident_bytes=0, resident_vram_bytes=0),
    )
