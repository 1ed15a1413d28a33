"""Owns the provider of models on an Ollama server; imports httpx through our client only."""

from __future__ import annotations

import contextlib
import difflib
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench import http
from pytest_tipbench.errors import (
    CompletionTimeoutError,
    ModelMissingError,
    ProviderBusyError,
    ProviderError,
    ProviderUnreachableError,
    UnsizableModelError,
)
from pytest_tipbench.providers import ollama_wire as wire
from pytest_tipbench.providers.ollama_names import canonical_name, is_cloud_name, normalise_host
from pytest_tipbench.records import ModelDescription, ModelReference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx

    from pytest_tipbench.records import Completion, CompletionRequest, ResidentModel

QUESTION_SECONDS = 15.0
"""Total deadline of a question that loads nothing; ``ps`` may block for 5 s of it."""
GLANCE_SECONDS = 2.0
"""Deadline of a ``ps`` in mid-generation, where no answer is as good as a late one."""
LAST_GLANCE_SECONDS = 0.5
GLANCE_PAUSE_SECONDS = 0.5
"""Between looks at ``ps`` once our own model has been seen."""
PULL_SILENCE_SECONDS = 300.0
"""How long a pull may say nothing: checking a large file's hash takes its time."""


@dataclass
class _Sightings:
    """What ``ps`` showed while one completion was under way."""

    digest: str
    resident_bytes: int | None = None
    resident_vram_bytes: int | None = None
    foreign: frozenset[str] = frozenset()
    """Replaced, never changed: the watching thread may still add while it is read."""
    seen_together: int | None = None
    """The largest number that one look showed, ours among them; None until ours is seen."""

    def add(self, models: Sequence[ResidentModel]) -> None:
        """Take in what one look showed."""
        others = {model.name for model in models if model.digest != self.digest}
        self.foreign |= others
        for model in models:
            if model.digest != self.digest:
                continue
            self.seen_together = max(self.seen_together or 0, 1 + len(others))
            if self.resident_bytes is None or model.resident_bytes > self.resident_bytes:
                self.resident_bytes = model.resident_bytes
                self.resident_vram_bytes = model.resident_vram_bytes


class OllamaProvider:
    """The models of one Ollama server; also lists what is resident and what is installed.

    A model is what its digest says: aliases, other cases and a left-out ``latest`` are one model.
    """

    name = "ollama"

    def __init__(self, host_url: str) -> None:
        """``host_url`` is any form that ``OLLAMA_HOST`` takes."""
        self.host_url = normalise_host(host_url)
        self._client = http.open_client(self.host_url)
        # A connection of its own: the other one is taken while a completion is under way.
        self._side_client = http.open_client(self.host_url)
        self._watcher = ThreadPoolExecutor(1, "tipbench-ollama-ps")
        self._address = http.address_of(self._client)
        self._server_version: str | None = None

    # --- what there is ------------------------------------------------------------------------

    def answers(self) -> bool:
        """Say whether an Ollama server answers at the host, within two seconds."""
        try:
            answer = self._ask(
                self._side_client, "GET", "/api/version", deadline_seconds=GLANCE_SECONDS
            )
        except ProviderError:
            return False
        return bool(wire.text_of(answer.get("version")))

    def describe(self, model: ModelReference) -> ModelDescription:
        """Say what the model is, from ``/api/tags``, ``/api/show`` and ``/api/version``.

        Raises:
            ModelMissingError: not installed; ``remedy`` is the ``ollama pull`` that mends it.
            UnsizableModelError: a cloud model or stub, safetensors, or no exact count.
            ProviderUnreachableError: nothing answers at the host.
        """
        _refuse_cloud_name(model.name)
        installed = wire.read_models(self._get("/api/tags"))
        wanted = canonical_name(model.name)
        entry = next(
            (each for each in installed if canonical_name(wire.name_of(each)) == wanted), None
        )
        if entry is None:
            raise self._missing(model.name, [wire.name_of(each) for each in installed])
        wire.refuse_remote(entry, model.name)
        digest = wire.digest_of(entry)
        if not digest:
            raise ProviderError(f"Ollama at {self._address} does not say the digest of {model}")
        try:
            show = self._post("/api/show", {"model": model.name})
        except ModelMissingError as error:
            raise self._missing(model.name, [wire.name_of(each) for each in installed]) from error
        details = show.get("details")
        details = details if isinstance(details, dict) else {}
        capabilities = show.get("capabilities")
        return ModelDescription(
            reference=model,
            digest=digest,
            parameter_count=wire.parameter_count(show, model.name),
            quantization=wire.text_of(details.get("quantization_level")) or None,
            family=wire.text_of(details.get("family")) or None,
            capabilities=tuple(map(str, capabilities)) if isinstance(capabilities, list) else (),
            server_version=self._version(),
            local=True,  # on another machine too: one model at a time holds for every host
        )

    def installed_models(self) -> tuple[ModelReference, ...]:
        """Return the installed models, the newest first, cloud stubs included."""
        names = [wire.name_of(each) for each in wire.read_models(self._get("/api/tags"))]
        return tuple(ModelReference(text=name, provider=self.name, name=name) for name in names)

    def resident_models(self) -> tuple[ResidentModel, ...]:
        """Return what is in the server's memory; a model that is still loading is not listed.

        Raises:
            ProviderError: the server did not say, e.g. in the midst of an unload; ask again.
        """
        return wire.read_resident_models(self._get("/api/ps"))

    # --- completing ---------------------------------------------------------------------------

    def complete(self, request: CompletionRequest) -> Completion:
        """Complete one prompt; a busy server is asked again until the deadline.

        Raises:
            CompletionTimeoutError: the total deadline has passed, or the server was busy till then.
            ProviderUnreachableError: nothing answers at the host.
            ProviderError: out of memory, a runner that died, a prompt that does not fit, a broken
                answer.
        """
        sightings = _Sightings(request.model.digest.removeprefix("sha256:"))
        answered = threading.Event()
        self._watcher.submit(self._watch, sightings, answered)
        try:
            completion = self._complete_until(request, time.monotonic() + request.timeout_seconds)
        finally:
            answered.set()
        if sightings.resident_bytes is None:  # the answer was faster than the first glance
            self._glance(sightings, LAST_GLANCE_SECONDS)
        return completion.model_copy(
            update={
                "resident_bytes": sightings.resident_bytes,
                "resident_vram_bytes": sightings.resident_vram_bytes,
                "foreign_models": tuple(sorted(sightings.foreign)),
                "seen_together": sightings.seen_together,
            }
        )

    def _complete_until(self, request: CompletionRequest, deadline: float) -> Completion:
        from tenacity import Retrying, retry_if_exception_type, wait_random_exponential

        def attempt() -> Completion:
            started = time.monotonic()
            if started >= deadline:  # the pause after a busy answer has used up the time
                raise ProviderBusyError
            answer = self._ask(
                self._client,
                "POST",
                "/api/chat",
                deadline_seconds=deadline - started,
                body=wire.chat_body(request),
                too_late=CompletionTimeoutError,
            )
            return wire.read_completion(answer, request, time.monotonic() - started, self._address)

        retrying = Retrying(
            retry=retry_if_exception_type(ProviderBusyError),
            wait=wait_random_exponential(multiplier=0.1, max=8),
            sleep=lambda seconds: time.sleep(max(min(seconds, deadline - time.monotonic()), 0)),
            stop=lambda _: time.monotonic() >= deadline,
            reraise=True,
        )
        try:
            return retrying(attempt)
        except ProviderBusyError as error:
            raise CompletionTimeoutError(
                f"Ollama at {self._address} is still busy after {request.timeout_seconds:g} s"
            ) from error
        except CompletionTimeoutError as error:
            raise CompletionTimeoutError(
                f"no whole answer from Ollama at {self._address} within "
                f"{request.timeout_seconds:g} s"
            ) from error
        except ModelMissingError as error:
            raise ModelMissingError(
                str(error), _pull_command(request.model.reference.name)
            ) from error

    def _watch(self, sightings: _Sightings, answered: threading.Event) -> None:
        """Look at ``ps`` until the answer is there: often until our model shows, then seldom.

        A model is not listed while it loads, and a foreign one may come at any time.
        """
        pause = 0.01
        while not answered.wait(pause):
            self._glance(sightings, GLANCE_SECONDS)
            seen = sightings.resident_bytes is not None
            pause = GLANCE_PAUSE_SECONDS if seen else min(2 * pause, 0.5)

    def _glance(self, sightings: _Sightings, deadline_seconds: float) -> None:
        with contextlib.suppress(ProviderError):  # a ps amid an unload may fail; none is needed
            answer = self._ask(
                self._side_client, "GET", "/api/ps", deadline_seconds=deadline_seconds
            )
            sightings.add(wire.read_resident_models(answer))

    # --- giving back --------------------------------------------------------------------------

    def release(self, model: ModelDescription) -> None:
        """Ask for the model to be unloaded; the server does so after it has answered."""
        self.unload(model.reference.name)

    def unload(self, name: str) -> None:
        """Ask the server to unload the model of that name, whoever loaded it.

        Raises:
            ProviderError: the server did not take the request.
        """
        with contextlib.suppress(ModelMissingError):  # not installed, so not loaded
            self._post("/api/chat", wire.unload_body(name))

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._watcher.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        self._side_client.close()

    # --- pulling ------------------------------------------------------------------------------

    def pull(self, name: str, on_progress: Callable[[str, int | None, int | None], None]) -> None:
        """Pull a model; ``on_progress`` is told status, bytes completed and bytes in all.

        Raises:
            UnsizableModelError: a cloud name.
            ModelMissingError: the registry does not have it.
            ProviderError: the pull failed or fell silent for five minutes.
        """
        _refuse_cloud_name(name)
        status = ""
        for line in self._pull_lines(name):
            if "error" in line:
                reason = str(line["error"])
                if "file does not exist" in reason:
                    raise ModelMissingError(f"the registry has no model {name!r} ({reason})")
                raise wire.api_error(200, reason, self._address)
            status = str(line.get("status", ""))
            on_progress(status, line.get("completed"), line.get("total"))
        if status != "success":
            raise ProviderError(f"pulling {name} from Ollama at {self._address} ended half-way")

    def _pull_lines(self, name: str) -> Iterator[wire.JsonObject]:
        import httpx

        try:
            with self._client.stream(
                "POST",
                "/api/pull",
                json={"model": name},
                timeout=httpx.Timeout(PULL_SILENCE_SECONDS, connect=http.CONNECT_TIMEOUT_SECONDS),
            ) as response:
                if response.status_code != 200:
                    self._read(response, response.read())
                for line in filter(None, response.iter_lines()):
                    try:
                        progress = json.loads(line)
                    except ValueError:
                        progress = None
                    if not isinstance(progress, dict):
                        raise ProviderError(f"Ollama at {self._address} answered broken JSON")
                    yield progress
        except http.HTTP_ERRORS as error:
            raise self._unanswered(http.transport_error(error, f"pulling {name}")) from error

    # --- the wire -----------------------------------------------------------------------------

    def _version(self) -> str | None:
        if self._server_version is None:
            with contextlib.suppress(ProviderError):  # of use in a record, needed for nothing
                self._server_version = str(self._get("/api/version").get("version") or "") or None
        return self._server_version

    def _get(self, path: str) -> wire.JsonObject:
        return self._ask(self._client, "GET", path)

    def _post(self, path: str, body: wire.JsonObject) -> wire.JsonObject:
        return self._ask(self._client, "POST", path, body=body)

    def _ask(
        self,
        client: httpx.Client,
        method: str,
        path: str,
        *,
        deadline_seconds: float = QUESTION_SECONDS,
        body: wire.JsonObject | None = None,
        too_late: type[ProviderError] = ProviderError,
    ) -> wire.JsonObject:
        try:
            response = http.send(client, method, path, deadline_seconds=deadline_seconds, json=body)
        except http.TransportError as error:
            if error.kind == "timeout":
                raise too_late(str(error)) from error
            raise self._unanswered(error) from error
        return self._read(response, response.content)

    def _read(self, response: httpx.Response, body: bytes) -> wire.JsonObject:
        content_type = response.headers.get("Content-Type", "")
        return wire.read_object(response.status_code, content_type, body, self._address)

    def _unanswered(self, error: http.TransportError) -> ProviderError:
        if error.kind == "connect":
            return ProviderUnreachableError(
                f"no Ollama server answers at {self._address} ({error.reason}); "
                f"start it with: ollama serve"
            )
        return ProviderError(f"the connection to Ollama broke: {error}")

    def _missing(self, name: str, installed: Sequence[str]) -> ModelMissingError:
        nearest = difflib.get_close_matches(name, installed, n=3, cutoff=0.4)
        offer = f"; installed and near: {', '.join(nearest)}" if nearest else ""
        return ModelMissingError(
            f"{name} is not installed on Ollama at {self._address}{offer}", _pull_command(name)
        )


def _refuse_cloud_name(name: str) -> None:
    if is_cloud_name(name):
        raise UnsizableModelError(f"{name}: a cloud model, it runs elsewhere")


def _pull_command(name: str) -> str:
    return f"ollama pull {name}"
