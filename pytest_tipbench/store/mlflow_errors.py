"""Owns what an MLflow server's answers mean when they are no success; imports errors only."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import time
from typing import TYPE_CHECKING

from pytest_tipbench.errors import TrackingRefusedError, TrackingUnreachableError

if TYPE_CHECKING:
    import httpx

    from pytest_tipbench.store.mlflow_settings import ClientSettings

NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
NOT_SERVED = "ARTIFACTS_NOT_SERVED"
"""Our own error code for a server that was started with ``--no-serve-artifacts``."""

_WORTH_ANOTHER_TRY = frozenset({408, 429, 500, 502, 503, 504})
_MAY_STILL_BE_AT_IT = frozenset({408, 504})
_COLLISION = re.compile(
    "UNIQUE constraint failed|duplicate key value|Duplicate entry", re.IGNORECASE
)
_LONGEST_DETAIL = 400


class UnansweredError(TrackingUnreachableError):
    """No answer, or one that asks to come back later."""

    def __init__(
        self,
        message: str,
        *,
        may_have_been_applied: bool,
        may_still_be_at_it: bool = False,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        self.may_have_been_applied = may_have_been_applied
        self.may_still_be_at_it = may_still_be_at_it
        """True after a timeout: the server can apply the request any moment from now."""
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        """Of the answer, where there was one."""
        super().__init__(message)


class RefusalError(TrackingRefusedError):
    """MLflow's "no", with its own code (``RESOURCE_DOES_NOT_EXIST``) where it gave one."""

    def __init__(
        self, message: str, *, status: int, error_code: str = "", detail: str = ""
    ) -> None:
        self.status = status
        self.error_code = error_code
        self.detail = detail
        """What the server wrote."""
        super().__init__(message)


def refusal(response: httpx.Response, settings: ClientSettings) -> UnansweredError | RefusalError:
    """Return the error that a response with any status but 2xx stands for."""
    status, url = response.status_code, settings.url
    code, detail = _error_of(response)
    said = f"{code}: {detail}" if code and detail else code or detail or "no reason given"
    if status == 503 and "serve-artifacts" in detail:
        return RefusalError(
            f"MLflow at {url} serves no artifacts", status=status, error_code=NOT_SERVED
        )
    # Two writers of one new tag: the later one is rolled back, and may write again.
    collided = code != ALREADY_EXISTS and _COLLISION.search(detail) is not None
    if status in _WORTH_ANOTHER_TRY or collided:
        return UnansweredError(
            f"MLflow at {url} answered {status}: {said}",
            may_have_been_applied=status != 429 and not collided,
            may_still_be_at_it=status in _MAY_STILL_BE_AT_IT,
            retry_after_seconds=_retry_after(response.headers.get("retry-after")),
            status=status,
        )
    return RefusalError(
        _explained(response, settings, said), status=status, error_code=code, detail=detail
    )


def _explained(response: httpx.Response, settings: ClientSettings, said: str) -> str:
    status, begun = response.status_code, f"MLflow at {settings.url}"
    if status == 401:
        source = settings.credentials_from
        did = f"refused the credentials of {source}" if source else "wants credentials"
        return (
            f"{begun} {did} (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    if status == 403 and "Invalid Host header" in said:
        host = response.request.headers.get("host", "")
        return (
            f"{begun} does not accept the Host header {host!r} (403): start it with "
            f"`mlflow server --allowed-hosts {host}` (the list replaces the defaults), or name a "
            "host that it accepts with --tracking-host-header HOST"
        )
    if 300 <= status < 400:
        target = response.headers.get("location", "somewhere else")
        return f"{begun} sends us to {target} ({status}): give --tracking-uri the final address"
    if status == 404 and NOT_FOUND not in said:
        return (
            f"{settings.url} has no MLflow REST API (404): is it the tracking server's address, "
            "its path prefix included?"
        )
    return f"{begun} refused ({status}): {said}"


def _error_of(response: httpx.Response) -> tuple[str, str]:
    """Return MLflow's error code and message, or what else the body says, as one line."""
    code, detail = "", response.content[:10_000].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        body = json.loads(response.content)
        if isinstance(body, dict):
            code = str(body.get("error_code") or "")
            detail = str(body.get("message") or body.get("detail") or "")
    if not code and "html" in response.headers.get("content-type", ""):
        detail = ""  # a page for people
    detail = " ".join(detail.split())
    return code, detail if len(detail) <= _LONGEST_DETAIL else f"{detail[:_LONGEST_DETAIL]}…"


def unix_seconds(http_date: str | None) -> float | None:
    """Return the moment that an HTTP date names; None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(http_date or "").timestamp()
    except ValueError:
        return None


def _retry_after(value: str | None) -> float | None:
    """Return the seconds a ``Retry-After`` asks for (RFC 9110, 10.2.3): a number or a date."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    date = unix_seconds(value)
    return None if date is None else max(date - time.time(), 0.0)
