"""A small OpenAI-compatible server on 127.0.0.1: answers as it is told, keeps what it got."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What goes back; ``body`` is sent as JSON, or as it is where it is bytes."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hangs_up: bool = False
    """True closes the connection without an answer."""
    waits_for: threading.Event | None = None
    """Answers once it is set."""


def chat_answer(text: str, **further: Any) -> Answer:
    """Return a chat completion; ``message``, ``finish_reason`` and others can be given."""
    message = {"role": "assistant", "content": text, **further.pop("message", {})}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": further.pop("finish_reason", "stop"),
    }
    return Answer({"object": "chat.completion", "choices": [choice], **further})


def error_answer(status: int, message: str, **further: Any) -> Answer:
    """Return an error as OpenAI words it."""
    headers = further.pop("headers", {})
    return Answer({"error": {"message": message, **further}}, status=status, headers=headers)


class OpenAIDouble:
    """The server: ``with OpenAIDouble() as double: ...``.

    ``chat`` answers the chat requests one after another, the last one again and again; a function
    makes its answer from the request. ``models`` answers ``GET /v1/models``.
    """

    def __init__(self) -> None:
        self.chat: list[Answer | Callable[[Asked], Answer]] = [chat_answer('{"tips": []}')]
        self.models = error_answer(404, "Not Found")
        self.asked: list[Asked] = []
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                double._answer(self)

            def do_POST(self) -> None:
                double._answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    def __enter__(self) -> OpenAIDouble:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of the chat requests so far."""
        return [asked.body for asked in self.asked if asked.method == "POST"]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(
            handler.command, handler.path, headers, json.loads(content) if content else {}
        )
        self.asked.append(asked)
        answer = self._answer_to(asked)
        if answer.waits_for is not None:
            answer.waits_for.wait(60)
        if answer.hangs_up:
            handler.close_connection = True
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        try:
            handler.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:  # the client has gone; that may be what is tested
            handler.close_connection = True

    def _answer_to(self, asked: Asked) -> Answer:
        if asked.path == "/v1/models":
            return self.models
        if asked.path != "/v1/chat/completions":
            return error_answer(404, "Not Found")
        answer = self.chat.pop(0) if len(self.chat) > 1 else self.chat[0]
        return answer(asked) if callable(answer) else answer
