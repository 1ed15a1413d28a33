"""Owns the double itself: routes, the record of what was asked, and what tests may do to it."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tests.ollama_double import chat, pull
from tests.ollama_double.chat import RefusedError
from tests.ollama_double.faults import (
    Fault,
    FaultKind,
    Faults,
    answers_at_once,
    answers_late,
)
from tests.ollama_double.memory import Event, Memory
from tests.ollama_double.models import (
    CATALOGUE,
    DEFAULT_INSTALLED,
    DoubleModel,
    full_name,
    is_valid_name,
    model_from,
)
from tests.ollama_double.wire import Exchange, Server

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence


class OllamaDouble:
    """An Ollama server on 127.0.0.1, started by ``with``; models answer at once unless told not to.

    Args:
        models: names of the catalogue, models, or entries of a models file.
        load_seconds: from taking memory to being listed by ``ps``; a disconnect aborts it.
        unload_seconds: for how long an unloaded model is still listed and holds memory.
        generate_seconds: how long each completion takes.
        max_loaded_models: as OLLAMA_MAX_LOADED_MODELS; None is no limit.
        ps_block_seconds: how long ``ps`` may block while a model is unloading.
        version: what ``/api/version`` says.
        port: 0 takes a free one.
    """

    def __init__(
        self,
        models: Sequence[str | DoubleModel | Mapping[str, Any]] = DEFAULT_INSTALLED,
        *,
        load_seconds: float = 0.0,
        unload_seconds: float = 0.0,
        generate_seconds: float = 0.0,
        max_loaded_models: int | None = None,
        ps_block_seconds: float = 0.0,
        version: str = "0.33.0",
        port: int = 0,
    ) -> None:
        self.memory = Memory(
            load_seconds=load_seconds, unload_seconds=unload_seconds, max_models=max_loaded_models
        )
        self.generate_seconds = generate_seconds
        self.ps_block_seconds = ps_block_seconds
        self.version = version
        self.requests: list[dict[str, Any]] = []
        """Every request: ``at`` (monotonic seconds), ``method``, ``path``, ``body``."""
        self._faults = Faults()
        self._installed: dict[str, DoubleModel] = {}
        for model in models:
            self.install(model)
        self._server = Server(port, self._answer)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="ollama-double", daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> OllamaDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop serving and close every connection; may be called twice."""
        if not self._server.closing.is_set():
            self._server.end()
            self._thread.join()

    # --- what a test may do -------------------------------------------------------------------

    def install(self, model: str | DoubleModel | Mapping[str, Any]) -> DoubleModel:
        """Install a model, the last one first in ``/api/tags``; the same name is replaced."""
        entry = model if isinstance(model, DoubleModel) else model_from(model)
        self._installed.pop(entry.name.lower(), None)
        self._installed[entry.name.lower()] = entry
        return entry

    def remove(self, name: str) -> None:
        """Remove a model, as ``ollama rm``."""
        del self._installed[full_name(name).lower()]

    def fail(
        self,
        kind: FaultKind,
        *,
        path: str = "/api/chat",
        model: str | None = None,
        nth: int = 1,
        times: int | None = 1,
        seconds: float = 0.0,
        text: str = "",
    ) -> None:
        """Let something go wrong with requests to come; ``nth`` counts from now, see Fault."""
        self._faults.add(Fault(kind, path, model, nth, times, seconds, text))

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def load_foreign(self, name: str, seconds: float | None = None) -> None:
        """Let another client load a model, or keep ours, for so long (None: for ever)."""
        model = self._find(name) or CATALOGUE[full_name(name)]
        self.memory.place(model, model.name, math.inf if seconds is None else seconds)

    def unload_foreign(self, name: str) -> None:
        """Let the other client be done with a model."""
        model = self._find(name) or CATALOGUE[full_name(name)]
        self.memory.unload(model)

    @property
    def events(self) -> list[Event]:
        """What happened to memory, in the order of time."""
        return self.memory.events()

    def max_resident_together(self) -> int:
        """Return the largest number of models that held memory at one time, foreign ones too."""
        return self.memory.max_together()

    def loads(self, *, foreign: bool = False) -> Counter[str]:
        """Return how often each digest was loaded by API requests (or by ``load_foreign``)."""
        return self.memory.loads(foreign=foreign)

    def resident(self) -> list[str]:
        """Return the names that ``ps`` lists now."""
        return [resident.name for resident in self.memory.listed()]

    def completions(self) -> list[dict[str, Any]]:
        """Return the bodies of the requests that asked a model to speak."""
        return [
            request["body"]
            for request in self.requests
            if request["path"] in ("/api/chat", "/api/generate")
            and (request["body"].get("messages") or request["body"].get("prompt"))
        ]

    def record(self) -> dict[str, Any]:
        """Return all of the above as JSON-safe values, as ``GET /__record__`` does."""
        return {
            "events": [asdict(event) for event in self.events],
            "requests": self.requests,
            "loads": dict(self.loads()),
            "max_resident_together": self.max_resident_together(),
            "resident": self.resident(),
        }

    # --- routes -------------------------------------------------------------------------------

    def _answer(self, exchange: Exchange) -> None:
        path = exchange.route
        if path in ("/__record__", "/__control__"):
            self._answer_test(exchange, path)
            return
        body = _parsed(exchange.body)
        self.requests.append(
            {"at": time.monotonic(), "method": exchange.command, "path": path, "body": body}
        )
        routes = {
            "/": ("GET", self._root),
            "/api/version": ("GET", self._version),
            "/api/tags": ("GET", self._tags),
            "/api/ps": ("GET", self._ps),
            "/api/show": ("POST", self._show),
            "/api/chat": ("POST", self._complete),
            "/api/generate": ("POST", self._complete),
            "/api/pull": ("POST", self._pull),
        }
        if not exchange.is_known_host:
            exchange.whole(403, None, b"")
            return
        if path not in routes:
            exchange.text(404, "404 page not found")
            return
        method, answer = routes[path]
        if exchange.command != method and (exchange.command, method) != ("HEAD", "GET"):
            exchange.text(405, "405 method not allowed")
            return
        try:
            self._answer_route(exchange, path, body, answer)
        except RefusedError as refusal:
            exchange.json(refusal.status, {"error": str(refusal)})

    def _answer_route(self, exchange: Exchange, path: str, body: Any, answer: Any) -> None:
        if exchange.command != "POST":
            if not self._goes_wrong(exchange, ""):
                answer(exchange)
            return
        if not exchange.body:
            raise RefusedError(400, "missing request body")
        if not isinstance(body, dict):
            raise RefusedError(400, "invalid character looking for beginning of value")
        name = body.get("model") or body.get("name") or ""
        if not isinstance(name, str):
            raise RefusedError(
                400, "json: cannot unmarshal into Go struct field .model of type string"
            )
        if not name:
            raise RefusedError(400, "model is required")
        answer(exchange, body, name)

    def _answer_test(self, exchange: Exchange, path: str) -> None:
        """Answer the routes for tests in other processes; ``do`` names a method of the double."""
        if path == "/__record__":
            exchange.json(200, self.record())
            return
        order = json.loads(exchange.body)
        methods = {
            method.__name__: method
            for method in (
                self.fail,
                self.heal,
                self.load_foreign,
                self.unload_foreign,
                self.install,
                self.remove,
            )
        }
        methods[order.pop("do")](**order)
        exchange.json(200, {})

    def _root(self, exchange: Exchange) -> None:
        exchange.text(200, "Ollama is running")

    def _version(self, exchange: Exchange) -> None:
        exchange.json(200, {"version": self.version})

    def _tags(self, exchange: Exchange) -> None:
        newest_first = reversed(list(self._installed.values()))
        exchange.json(200, {"models": [model.tags_entry() for model in newest_first]})

    def _ps(self, exchange: Exchange) -> None:
        end = time.monotonic() + self.ps_block_seconds
        while self.memory.is_unloading() and time.monotonic() < end:
            exchange.wait(0.005)
        exchange.json(200, {"models": [each.ps_entry() for each in self.memory.listed()]})

    def _show(self, exchange: Exchange, body: dict[str, Any], name: str) -> None:
        if self._goes_wrong(exchange, name):
            return
        if _asks_cloud(name):
            self.memory.note_cloud(name)
        exchange.json(200, self._existing(name).show())

    def _existing(self, name: str) -> DoubleModel:
        if not is_valid_name(name):
            raise RefusedError(400, "invalid model name")
        model = self._find(name)
        if model is None:
            raise RefusedError(404, f"model '{name}' not found")
        return model

    def _find(self, name: str) -> DoubleModel | None:
        return self._installed.get(full_name(name).lower())

    # --- completing ---------------------------------------------------------------------------

    def _complete(self, exchange: Exchange, body: dict[str, Any], name: str) -> None:
        path = exchange.route
        started = time.monotonic()
        if _asks_cloud(name):
            self.memory.note_cloud(name)
            raise RefusedError(401, "unauthorized")
        model = self._existing(name)
        if path == "/api/generate":
            body = {**body, "messages": _as_messages(body)}
        messages = body.get("messages") or []
        if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
            raise RefusedError(
                400, "json: cannot unmarshal into Go struct field .messages of type []api.Message"
            )
        keep_alive = chat.keep_alive_seconds(body.get("keep_alive"))
        if not messages and keep_alive == 0:
            self.memory.unload(model)
            exchange.json(200, chat.short_answer(path, name, "unload"))
            return
        if model.is_remote:
            self.memory.note_cloud(name)
            raise RefusedError(401, "unauthorized")
        chat.check({**body, "model": name}, model)
        fault = self._faults.of(path, name) if messages else None
        if fault is not None and answers_at_once(exchange, fault):
            return
        with self.memory.using(model, model.name, keep_alive, exchange.wait):
            loaded = time.monotonic()
            if not messages:
                exchange.json(200, chat.short_answer(path, name, "load"))
                return
            exchange.wait(self.generate_seconds)
            if fault is not None and answers_late(exchange, fault):
                return
            if fault is not None and fault.kind == "runner_died":
                self.memory.crash(model)
                raise RefusedError(500, "llama-server process has terminated: signal: killed")
            if fault is not None and fault.kind == "load_answer":
                exchange.json(200, chat.short_answer(path, name, "load"))
                return
            spoken = chat.generate(body, model, fault)
            self._say(exchange, chat.answer(path, name, spoken, started, loaded), body, fault)

    def _say(
        self, exchange: Exchange, whole: dict[str, Any], body: dict[str, Any], fault: Fault | None
    ) -> None:
        if fault is not None and fault.kind == "no_metrics":
            whole = {key: value for key, value in whole.items() if "eval_" not in key}
            whole = {key: value for key, value in whole.items() if "_duration" not in key}
        if body.get("stream", True):
            exchange.stream(chat.pieces(exchange.route, whole))
        elif fault is not None and fault.kind == "broken_json":
            text = json.dumps(whole).encode("ascii")
            exchange.whole(200, "application/json; charset=utf-8", text[: len(text) // 2])
        else:
            exchange.json(200, whole)

    def _goes_wrong(self, exchange: Exchange, name: str) -> bool:
        """Let a fault befall a request that loads nothing; say whether it was the answer."""
        fault = self._faults.of(exchange.route, name)
        return fault is not None and (
            answers_at_once(exchange, fault) or answers_late(exchange, fault)
        )

    # --- pulling ------------------------------------------------------------------------------

    def _pull(self, exchange: Exchange, body: dict[str, Any], name: str) -> None:
        fault = self._faults.of("/api/pull", name)
        if fault is not None and (
            answers_at_once(exchange, fault) or answers_late(exchange, fault)
        ):
            return
        if body.get("stream", True):
            exchange.stream(pull.progress(name, fault, self.install))
            return
        *_, last = pull.progress(name, fault, self.install)
        exchange.json(500 if "error" in last else 200, last)


def _parsed(body: bytes) -> Any:
    if not body:
        return {}
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace")


def _asks_cloud(name: str) -> bool:
    tag = name.rpartition(":")[2].lower() if ":" in name else ""
    return tag == "cloud" or tag.endswith("-cloud")


def _as_messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    return [*system, {"role": "user", "content": body["prompt"]}] if body.get("prompt") else []
