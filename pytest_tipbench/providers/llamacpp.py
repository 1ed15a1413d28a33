"""Owns the provider of GGUF models run by llama.cpp in a child process; imports no other provider.

The binding (xllamacpp) is imported in the child alone, so that unloading is the end of a process
and a native crash is one failed cell.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import time
from typing import TYPE_CHECKING, cast

import platformdirs

from pytest_tipbench.errors import (
    CompletionTimeoutError,
    MissingExtraError,
    ProviderError,
)
from pytest_tipbench.http import TransportError
from pytest_tipbench.providers.content_hash import content_sha256
from pytest_tipbench.providers.gguf import GgufModel, read_gguf
from pytest_tipbench.providers.llamacpp_child import LlamaCppChild
from pytest_tipbench.providers.llamacpp_weights import find_weights
from pytest_tipbench.providers.openai_wire import (
    chat_body,
    error_of,
    read_completion,
    response_format,
    status_of,
)
from pytest_tipbench.records import ModelDescription

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import httpx

    from pytest_tipbench.records import Completion, CompletionRequest, ModelReference

_BINDING = "xllamacpp"
_REQUEST_EXTRAS = {
    "cache_prompt": False,  # else an answer would depend on the one before it
    "chat_template_kwargs": {"enable_thinking": False},  # ignored by templates without thinking
}


class LlamaCppProvider:
    """Completes with the embedded model or any GGUF file; holds at most one in memory.

    Only the process that started the child uses it: one that was forked starts its own.

    Args:
        root: what relative paths of files hang on.
        cache: where the embedded model and the hashes of files are kept; by default the user's.
        say: told in a line what takes long.
    """

    name = "llamacpp"

    def __init__(
        self,
        root: Path,
        *,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root = root
        self._say = say
        self._cache = cache or platformdirs.user_cache_path("pytest-tipbench", appauthor=False)
        self._child: LlamaCppChild | None = None
        self._loaded: tuple[str, int] | None = None
        """Digest and ``num_ctx`` of what the child holds."""

    @property
    def child_pid(self) -> int | None:
        """Process id of the child that holds the weights, None while there is none."""
        return self._child.pid if self._child is not None and not self._child.is_foreign else None

    def count_parameters(self, model: ModelReference) -> int:
        """Count the model's parameters from its file's header, in milliseconds.

        Raises:
            ProviderError: as :meth:`describe`.
        """
        _check_is_installed(model)
        return self._read_header(model)[0].parameter_count

    def describe(self, model: ModelReference) -> ModelDescription:
        """Say what the model is, from its file's header and content.

        The content's hash takes seconds where a large file is read for the first time.

        Raises:
            MissingExtraError: llama.cpp or the embedded weights are not installed.
            ModelMissingError: no such file.
            UnsizableModelError: not a whole GGUF model.
            ProviderError: the file cannot be read.
        """
        _check_is_installed(model)
        return self._describe(model)[0]

    def complete(self, request: CompletionRequest) -> Completion:
        """Complete one prompt, loading the model first where it is not loaded.

        ``latency_seconds`` includes ``load_seconds``, which is 0 where nothing was loaded.

        Raises:
            CompletionTimeoutError: the deadline has passed; the child was ended, the only sure
                way to stop it.
            ProviderError: the model could not be loaded, the child died, or it refused.
            ResidencyError: the former child does not end.
        """
        deadline = time.monotonic() + request.timeout_seconds
        if not self._holds(request):
            self._end_child()
        started = time.monotonic()
        load_seconds = 0.0
        if self._child is None:
            self._load(request, deadline)
            load_seconds = time.monotonic() - started
        try:
            response = self._post(request, deadline)
            latency_seconds = time.monotonic() - started
            return self._read(response, latency_seconds, load_seconds)
        finally:
            if request.residency == "call":
                self._end_child()

    def release(self, model: ModelDescription) -> None:
        """End the child where it holds this model."""
        if self._loaded is not None and self._loaded[0] == model.digest:
            self._end_child()

    def close(self) -> None:
        """End the child; may be called twice."""
        self._end_child()

    def _read_header(self, model: ModelReference) -> tuple[GgufModel, Path]:
        weights = find_weights(model.name, root=self._root, cache=self._cache)
        with _reading(weights):
            return read_gguf(weights), weights

    def _describe(self, model: ModelReference) -> tuple[ModelDescription, Path]:
        header, weights = self._read_header(model)
        with _reading(weights):
            digest = content_sha256(
                header.paths,
                self._cache,
                on_long_read=lambda to_read: self._say(
                    f"reading {model} whole, {to_read / 1e9:.1f} GB, to know it by its content; "
                    "this is done once"
                ),
            )
        description = ModelDescription(
            reference=model,
            digest=digest,
            parameter_count=header.parameter_count,
            quantization=header.quantization,
            family=header.architecture,
            server_version=_binding_version(),
            local=True,
        )
        return description, weights

    def _holds(self, request: CompletionRequest) -> bool:
        """Say whether the child is usable and holds what the request needs."""
        child = self._child
        if child is None or child.is_foreign or not child.is_alive:
            return False
        return self._loaded == (request.model.digest, request.sampling.num_ctx)

    def _load(self, request: CompletionRequest, deadline: float) -> None:
        description, weights = self._describe(request.model.reference)
        if description.digest != request.model.digest:
            raise ProviderError(f"{weights} is not what it was when its size was looked up")
        num_ctx = request.sampling.num_ctx
        try:
            self._child = LlamaCppChild(weights.absolute(), num_ctx)
        except OSError as error:
            raise ProviderError(f"cannot start the llama.cpp process: {error}") from error
        self._loaded = (request.model.digest, num_ctx)
        try:
            self._child.load(deadline)
        except CompletionTimeoutError:
            self._end_child()
            raise CompletionTimeoutError(
                f"the model was not loaded within {request.timeout_seconds:g} s"
            ) from None
        except BaseException:
            self._end_child()
            raise

    def _post(self, request: CompletionRequest, deadline: float) -> httpx.Response:
        """Send the request; a child that gives no answer is ended, and why it died is said."""
        child = cast("LlamaCppChild", self._child)
        body = {
            **chat_body(request, request.model.reference.name),
            "response_format": response_format(request.n_tips, strict=True),
            **_REQUEST_EXTRAS,
        }
        try:
            return child.post_chat(body, deadline)
        except TransportError as error:
            if error.kind == "timeout":
                self._end_child()
                raise CompletionTimeoutError(
                    f"no answer within {request.timeout_seconds:g} s; the model was unloaded"
                ) from error
            obituary = child.obituary()
            self._end_child()
            raise ProviderError(f"llama.cpp died while it answered: {obituary}") from error

    def _read(
        self, response: httpx.Response, latency_seconds: float, load_seconds: float
    ) -> Completion:
        child = cast("LlamaCppChild", self._child)
        if status_of(response) >= 400:
            raise error_of(response, "llama.cpp")
        completion = read_completion(response, "llama.cpp", latency_seconds=latency_seconds)
        return completion.model_copy(
            update={
                "load_seconds": load_seconds,
                "resident_bytes": child.resident_bytes(),
                "resident_vram_bytes": 0 if child.uses_gpu is False else None,
            }
        )

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()  # one that does not end stays ours: nothing is loaded beside it
        self._child = self._loaded = None


def _check_is_installed(model: ModelReference) -> None:
    if importlib.util.find_spec(_BINDING) is None:
        raise MissingExtraError("llamacpp", f"llamacpp/{model.name}")


@contextlib.contextmanager
def _reading(weights: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProviderError(f"cannot read {weights}: {error.strerror or error}") from error


def _binding_version() -> str:
    try:
        return f"{_BINDING} {importlib.metadata.version(_BINDING)}"
    except importlib.metadata.PackageNotFoundError:  # importable, and not installed as a package
        return _BINDING
