"""Owns the thin REST client of an MLflow server; imports http, mlflow_errors and tenacity.

It knows calls and retries, and nothing of runs or records. MLflow's own package is never
imported: it takes a second, and its client makes several times as many calls.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

import tenacity

from pytest_tipbench.errors import TrackingRefusedError
from pytest_tipbench.http import TransportError, open_client, send
from pytest_tipbench.store.mlflow_errors import (
    RefusalError,
    UnansweredError,
    refusal,
    unix_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

    from pytest_tipbench.store.mlflow_settings import ClientSettings

Json = dict[str, Any]
Answer = TypeVar("Answer")

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

_LONGEST_WAIT_SECONDS = 120.0
_PROBE_SECONDS = 10.0
_STALL_SECONDS = 0.035


class MlflowClient:
    """Calls one server; may be used by several threads, whose calls take turns.

    Args:
        settings: where the server is and how to behave.
        keep_alive: whether to keep the connection between calls. None measures once: a server of
            several workers stalls a kept connection for 44 ms a call on Linux (Nagle's algorithm
            against delayed acknowledgements, https://github.com/encode/uvicorn/issues/3149), which
            a new connection for each call avoids.
    """

    def __init__(self, settings: ClientSettings, *, keep_alive: bool | None = None) -> None:
        self.settings = settings
        self._keep_alive = keep_alive
        self._client: httpx.Client | None = None
        self._opening = threading.Lock()
        self._closed = threading.Event()
        self._clock_offset: float | None = None

    def call(
        self,
        method: str,
        path: str,
        payload: Json | None = None,
        *,
        params: Mapping[str, str | int] | None = None,
        patience_seconds: float | None = None,
        deadline_seconds: float | None = None,
    ) -> Json:
        """Make a call that may be repeated.

        Args:
            method: ``GET`` or ``POST``.
            path: below ``/api/2.0/mlflow``.
            payload: the request's JSON.
            params: the query.
            patience_seconds: how long to try again; None = as the settings say.
            deadline_seconds: for each try; None = as the settings say.

        Raises:
            TrackingUnreachableError: no answer, or 408, 429 or 5xx until patience ran out.
            TrackingRefusedError: any other "no" (a :class:`RefusalError`).
        """
        content = None if payload is None else encoded(payload)
        return self._retrying(patience_seconds)(
            lambda: self._json(
                self._send(method, f"{API}{path}", content, params, deadline_seconds)
            )
        )

    def create(self, path: str, payload: Json, find: Callable[[], Answer | None]) -> Json | Answer:
        """POST what must be made once: after a try that may have been applied, look first.

        A try without an answer in time is not repeated at all: the server may still be at it.

        Args:
            path: below ``/api/2.0/mlflow``.
            payload: the request's JSON.
            find: returns what an earlier try has made, or None.

        Raises:
            TrackingUnreachableError: as :meth:`call`; it may or may not have been made.
            TrackingRefusedError: as :meth:`call`.
        """
        content = encoded(payload)
        may_exist = False

        def attempt() -> Json | Answer:
            nonlocal may_exist
            if may_exist and (found := find()) is not None:
                return found
            try:
                return self._json(self._send("POST", f"{API}{path}", content))
            except UnansweredError as error:
                may_exist = may_exist or error.may_have_been_applied
                raise

        return self._retrying(None, unless_still_at_it=True)(attempt)

    def put_artifact(self, path: str, content: bytes) -> None:
        """Upload an artifact; raises as :meth:`call`, the code ``NOT_SERVED`` too."""
        self._retrying(None)(lambda: self._send("PUT", f"{ARTIFACTS}/{path}", content))

    def get_artifact(self, path: str, *, patience_seconds: float | None = None) -> bytes:
        """Download an artifact; raises as :meth:`call`."""
        return self._retrying(patience_seconds)(
            lambda: self._send("GET", f"{ARTIFACTS}/{path}").content
        )

    def version(self) -> str:
        """Return the version that the server tells everyone, ``unknown`` where it tells none."""
        try:
            text = self._send("GET", "/version", deadline_seconds=_PROBE_SECONDS).text.strip()
        except TrackingRefusedError:
            return "unknown"
        return text if text[:1].isdigit() and len(text) < 40 else "unknown"

    def server_time(self) -> float:
        """Return the server's clock in Unix seconds, by its answers (ours before the first)."""
        if self._clock_offset is None:
            return time.time()
        return self._clock_offset + time.monotonic()

    def close(self) -> None:
        """Close the connection and end every wait between tries; may be called twice."""
        self._closed.set()
        if self._client is not None:
            self._client.close()

    # --- tries --------------------------------------------------------------------------------

    def _retrying(
        self, patience_seconds: float | None, *, unless_still_at_it: bool = False
    ) -> tenacity.Retrying:
        patience = self.settings.patience_seconds if patience_seconds is None else patience_seconds
        stop: tenacity.stop.stop_base = tenacity.stop_after_attempt(self.settings.max_retries + 1)
        if math.isfinite(patience):
            stop = stop | tenacity.stop_before_delay(patience)
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(
                lambda error: (
                    isinstance(error, UnansweredError)
                    and not (unless_still_at_it and error.may_still_be_at_it)
                )
            ),
            stop=stop | tenacity.stop_when_event_set(self._closed),
            wait=self._wait,
            sleep=tenacity.sleep_using_event(self._closed),
            reraise=True,
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Wait as the server asks, else a moment, then f, 2f, 4f … and up to a quarter more."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_seconds if isinstance(error, UnansweredError) else None
        if asked is None:
            doublings = min(state.attempt_number - 2, 30)
            asked = self.settings.backoff_factor * 2.0**doublings if doublings >= 0 else 0.1
            asked *= random.uniform(1.0, 1.25)  # noqa: S311 - spreads clients, guards no secret
        return min(asked, _LONGEST_WAIT_SECONDS)

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        deadline_seconds: float | None = None,
    ) -> httpx.Response:
        kind = "application/octet-stream" if path.startswith(ARTIFACTS) else "application/json"
        try:
            response = send(
                self._opened(),
                method,
                path,
                deadline_seconds=min(deadline_seconds or math.inf, self.settings.timeout_seconds),
                content=content,
                params=params,
                headers=None if content is None else {"Content-Type": kind},
            )
        except TransportError as error:
            raise UnansweredError(
                f"MLflow does not answer: {error}",
                may_have_been_applied=error.may_have_been_applied,
                may_still_be_at_it=error.kind == "timeout" and error.may_have_been_applied,
            ) from error
        if (told := unix_seconds(response.headers.get("date"))) is not None:
            # A Date is cut to whole seconds, so the latest of all is the nearest.
            offset = told - time.monotonic()
            self._clock_offset = max(offset, self._clock_offset or offset)
        if not response.is_success:
            raise refusal(response, self.settings)
        return response

    def _json(self, response: httpx.Response) -> Json:
        with contextlib.suppress(ValueError):
            answer = json.loads(response.content)
            if isinstance(answer, dict):
                return answer
        raise RefusalError(
            f"{self.settings.url} does not speak MLflow's REST API (it answered with "
            f"{response.headers.get('content-type') or 'something'} that is no JSON object): is it "
            "the tracking server's address, its path prefix included?",
            status=response.status_code,
        )

    # --- the connection -----------------------------------------------------------------------

    def _opened(self) -> httpx.Client:
        with self._opening:
            if self._closed.is_set():
                raise UnansweredError(
                    f"the client of {self.settings.url} is closed", may_have_been_applied=False
                )
            if self._client is None:
                self._client = (
                    self._faster_client()
                    if self._keep_alive is None
                    else self._open(keep_alive=self._keep_alive)
                )
            return self._client

    def _open(self, *, keep_alive: bool) -> httpx.Client:
        return open_client(
            self.settings.url,
            timeout_seconds=self.settings.timeout_seconds,
            headers=self.settings.headers,
            auth=self.settings.auth,
            verify=self.settings.verify,
            keep_alive=keep_alive,
        )

    def _faster_client(self) -> httpx.Client:
        kept = self._open(keep_alive=True)
        try:
            _probe(kept)  # opens the connection
            kept_seconds = min(_probe(kept) for _ in range(3))
            if kept_seconds < _STALL_SECONDS:
                return kept
            fresh = self._open(keep_alive=False)
            if min(_probe(fresh) for _ in range(4)) > 0.8 * kept_seconds:
                fresh.close()
                return kept
        except TransportError:
            kept.close()
            raise
        kept.close()
        return fresh


def encoded(payload: Json) -> bytes:
    """Return the request's JSON as UTF-8.

    Raises:
        ValueError: it holds a NaN, an infinity or a lone surrogate, any of which would make MLflow
            drop values with a 200.
    """
    return json.dumps(payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(
        "utf-8"
    )


def _probe(client: httpx.Client) -> float:
    started = time.perf_counter()
    send(client, "GET", "/version", deadline_seconds=_PROBE_SECONDS)
    return time.perf_counter() - started
