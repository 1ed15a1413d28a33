"""Owns the provider of hosted models behind an OpenAI-compatible endpoint; imports no other one."""

from __future__ import annotations

import difflib
import email.utils
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, cast

import tenacity

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ModelMissingError,
    ProviderError,
    ProviderUnreachableError,
)
from pytest_tipbench.http import TransportError, address_of, open_client, send
from pytest_tipbench.providers.openai_wire import (
    CHAT_PATH,
    chat_body,
    error_code,
    error_message,
    error_of,
    is_model_missing,
    read_completion,
    response_format,
    status_of,
)
from pytest_tipbench.records import ModelDescription, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from pytest_tipbench.records import Completion, CompletionRequest, ModelReference

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_DESCRIBE_SECONDS = 20.0
_LONGEST_WAIT_SECONDS = 30.0
"""Between two tries, where the server does not say how long."""
_MOST_LOST_CONNECTIONS = 3
"""A busy server is asked until the deadline, one that does not answer at all only so often."""


class OpenAIProvider:
    """Completes with models that run elsewhere, so it holds no weights here.

    Neither size nor content of a hosted model is known: its ``parameter_count`` is None, and its
    ``digest`` is a hash of base URL and name, which cannot tell one build of the model from the
    next.
    """

    name = "openai"

    def __init__(
        self,
        base_url: str = DEFAULT_BASE_URL,
        api_key: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._base_url = base_url.strip().rstrip("/")
        self._has_key = bool(api_key)
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {api_key.strip()}"} if api_key else {}
        self._client = open_client(self._base_url, headers=headers)
        self._listed: frozenset[str] | None = None
        self._dialects: dict[str, _Dialect] = {}
        """Model → how its server wants to be asked."""

    def describe(self, model: ModelReference) -> ModelDescription:
        """Say what little is known of a hosted model.

        A server need not list its models, nor list every name it takes: one that is not listed is
        asked for a single token, which settles it.

        Raises:
            ModelMissingError: the server does not know the model.
            ProviderUnreachableError: nothing answers.
            ProviderError: the server wants other credentials.
        """
        if self._listed is None:
            self._listed = self._list_models()
        if model.name not in self._listed and self._is_refused(model.name):
            nearest = difflib.get_close_matches(model.name, self._listed, n=3, cutoff=0.4)
            offer = f" (did you mean {', '.join(nearest)}?)" if nearest else ""
            raise ModelMissingError(f"{self._where} does not know {model.name!r}{offer}")
        return ModelDescription(
            reference=model, digest=sha256_of([self._base_url, model.name]), local=False
        )

    def complete(self, request: CompletionRequest) -> Completion:
        """Complete one prompt; a busy server is asked again until the deadline.

        ``latency_seconds`` is that of the try that succeeded.

        Raises:
            CompletionTimeoutError: no answer in time, or still busy when it was over.
            ProviderError: the server refused, or cannot be reached.
        """
        deadline = time.monotonic() + request.timeout_seconds
        name = request.model.reference.name
        dialect = self._dialects.setdefault(name, _Dialect())
        while True:
            body = dialect.speak(chat_body(request, name), request.n_tips)
            response, latency_seconds = self._try_until(deadline, body)
            if status_of(response) < 400:
                return read_completion(response, self._where, latency_seconds=latency_seconds)
            if not dialect.learn_from(response):
                raise self._error_of(response)

    def release(self, model: ModelDescription) -> None:
        """Do nothing: the weights are not on this machine."""

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._client.close()

    @property
    def _where(self) -> str:
        return address_of(self._client)

    def _try_until(self, deadline: float, body: dict[str, Any]) -> tuple[httpx.Response, float]:
        def once() -> tuple[httpx.Response, float]:
            started = time.monotonic()
            response = send(
                self._client, "POST", CHAT_PATH, json=body, deadline_seconds=deadline - started
            )
            return response, time.monotonic() - started

        retrying = tenacity.Retrying(
            sleep=self._sleep,
            retry=tenacity.retry_if_result(lambda answer: _is_busy(answer[0]))
            | tenacity.retry_if_exception(_is_lost_connection),
            wait=_wait_seconds,
            stop=tenacity.stop_before_delay(max(deadline - time.monotonic(), 0.0))
            | _StopWhenLost(),
            retry_error_callback=self._give_up,
        )
        try:
            return retrying(once)
        except TransportError as error:
            raise self._lost(error) from error

    def _give_up(self, state: tenacity.RetryCallState) -> tuple[httpx.Response, float]:
        """End the tries, with the last one's reason."""
        outcome = cast("tenacity.Future", state.outcome)
        error = outcome.exception()
        if error is not None:
            raise error
        response = outcome.result()[0]
        raise CompletionTimeoutError(
            f"{self._where}: still busy at the deadline, after {state.attempt_number} tries "
            f"({status_of(response)}: {error_message(response)})"
        )

    def _lost(self, error: TransportError) -> ProviderError:
        if error.kind == "timeout":
            return CompletionTimeoutError(str(error))
        if error.kind == "connect":
            return ProviderUnreachableError(f"{error}; is OPENAI_BASE_URL right?")
        return ProviderError(str(error))

    def _error_of(self, response: httpx.Response) -> ProviderError:
        if status_of(response) in (401, 403):
            remedy = "was refused" if self._has_key else "is not set"
            return ProviderError(
                f"{self._where}: OPENAI_API_KEY {remedy} "
                f"({status_of(response)}: {error_message(response)})"
            )
        return error_of(response, self._where)

    def _list_models(self) -> frozenset[str]:
        """Return the names that the server lists; empty where it does not list any."""
        try:
            response = send(self._client, "GET", "/models", deadline_seconds=_DESCRIBE_SECONDS)
        except TransportError as error:
            if error.kind == "connect":
                raise self._lost(error) from error
            return frozenset()
        # A key may be good for completions and not for this list; then the reason is its scopes.
        if response.status_code == 401 and "scope" not in error_message(response).lower():
            raise self._error_of(response)
        if response.status_code != 200:
            return frozenset()
        return _names_in(response)

    def _is_refused(self, name: str) -> bool:
        """Ask for one token; only the answer that there is no such model counts."""
        if not self._listed:
            return False
        body = {"model": name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        try:
            response = send(
                self._client, "POST", CHAT_PATH, json=body, deadline_seconds=_DESCRIBE_SECONDS
            )
        except TransportError:
            return False
        return is_model_missing(response)


class _Dialect:
    """How one model wants to be asked: learnt from its refusals, and kept for the next cells."""

    def __init__(self) -> None:
        self._formats: list[Callable[[int], dict[str, Any]]] = [
            lambda n_tips: {"response_format": response_format(n_tips, strict=True)},
            lambda n_tips: {"response_format": response_format(n_tips, strict=False)},
            lambda _: {},
        ]
        self._limit_key = "max_tokens"

    def speak(self, body: dict[str, Any], n_tips: int) -> dict[str, Any]:
        """Return the body as the model takes it, the answer's shape bound as far as it allows."""
        limit = body["max_tokens"]
        rest = {key: value for key, value in body.items() if key != "max_tokens"}
        return {**rest, self._limit_key: limit, **self._formats[0](n_tips)}

    def learn_from(self, response: httpx.Response) -> bool:
        """Say whether the refusal told how to ask instead."""
        message = error_message(response).lower().replace(" ", "_")
        if status_of(response) not in (400, 422):
            return False
        if "max_completion_tokens" in message and self._limit_key == "max_tokens":
            self._limit_key = "max_completion_tokens"  # reasoning models of OpenAI's own
            return True
        if ("response_format" in message or "json_schema" in message) and len(self._formats) > 1:
            del self._formats[0]
            return True
        return False


def _is_busy(response: httpx.Response) -> bool:
    """Say whether the same request may succeed later; an empty account does not fill by waiting."""
    status = status_of(response)
    if error_code(response) == "insufficient_quota" or is_model_missing(response):
        return False
    return status in (408, 409, 429) or (status >= 500 and status not in (501, 505))


def _is_lost_connection(error: BaseException) -> bool:
    return isinstance(error, TransportError) and error.kind != "timeout"


class _StopWhenLost(tenacity.stop.stop_base):
    """Stop where the last of several tries brought no answer at all."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        outcome = retry_state.outcome
        has_failed = outcome is not None and outcome.failed
        return has_failed and retry_state.attempt_number >= _MOST_LOST_CONNECTIONS


_back_off = tenacity.wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT_SECONDS)


def _wait_seconds(state: tenacity.RetryCallState) -> float:
    """Return how long to wait: what the server asks for, else longer each time."""
    if state.outcome is not None and not state.outcome.failed:
        asked = _retry_after_seconds(state.outcome.result()[0], datetime.now(timezone.utc))
        if asked is not None:
            return asked
    return _back_off(state)


def _retry_after_seconds(response: httpx.Response, now: datetime) -> float | None:
    """Read ``Retry-After`` (RFC 9110): seconds, or the date when to come back."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max((email.utils.parsedate_to_datetime(value) - now).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _names_in(response: httpx.Response) -> frozenset[str]:
    try:
        listed = response.json()["data"]
        return frozenset(str(entry["id"]) for entry in listed)
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()
