"""What is on this machine is never asked for through a proxy, however the environment names one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests import llamacpp_stand_in
from tests.acceptance.conftest import NOBODY, ONE_CELL
from tests.acceptance.loopback_names import OTHER_NAMES
from tests.gguf_files import GgufFile
from tests.openai_double import OpenAIDouble, chat_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.ollama_double import OllamaDouble

NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
TIPS = '{"tips": ["Begin with the first task.", "Rest after the second task."]}'


class Proxy(ThreadingHTTPServer):
    """Refuses everything and remembers what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Refusing)

    @property
    def environment(self) -> dict[str, str]:
        return dict.fromkeys(NAMES, f"http://127.0.0.1:{self.server_port}") | {"NO_PROXY": ""}


class _Refusing(BaseHTTPRequestHandler):
    def _refuse(self) -> None:
        assert isinstance(self.server, Proxy)
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_error(502)

    do_GET = do_POST = do_PUT = do_HEAD = do_CONNECT = _refuse  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_every_local_server_is_reached_directly(
    either_way: Project, ollama: OllamaDouble, proxy: Proxy, tmp_path: Path
) -> None:
    environment = dict(either_way.environment)
    llamacpp_stand_in.install(environment, tmp_path)
    GgufFile().write(either_way.root / "tiny.gguf")
    with OpenAIDouble() as hosted:
        hosted.chat = [chat_answer(TIPS)]
        outcome = either_way.run(
            "evals",
            *("--models", "qwen2.5:0.5b,llamacpp/tiny.gguf,openai/small", "--n-tips", "2"),
            *ONE_CELL,
            environment=environment
            | proxy.environment
            | {"OPENAI_BASE_URL": f"{hosted.address}/v1", "OPENAI_API_KEY": "secret"},
        )
    assert outcome.code == 0, outcome.text
    assert [run.outcome for run in either_way.runs()] == ["ok"] * 3
    assert proxy.asked == []


@pytest.mark.parametrize(
    "form",
    ["localhost:{port}", ":{port}", "0.0.0.0:{port}", "http://localhost:{port}/", *OTHER_NAMES],
)
def test_every_form_of_the_address_is_this_machine(
    ollama_project: Project, ollama: OllamaDouble, proxy: Proxy, form: str
) -> None:
    host = form.format(port=ollama.url.rpartition(":")[2])
    outcome = ollama_project.run(
        "evals", *ONE_CELL, environment=proxy.environment | {"OLLAMA_HOST": host}
    )
    assert outcome.code == 0, outcome.text
    assert len(ollama.completions()) == 1
    assert proxy.asked == []


def test_mlflow_on_this_machine_is_reached_directly(ollama_project: Project, proxy: Proxy) -> None:
    outcome = ollama_project.run(
        "evals",
        *(*ONE_CELL, "--tracking-uri", NOBODY),
        environment=proxy.environment | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
    )
    outcome.assert_mistake(NOBODY, "--offline")
    assert proxy.asked == []


def test_a_server_elsewhere_is_reached_through_it(project: Project, proxy: Proxy) -> None:
    """So the tests above would have seen a request."""
    outcome = project.run(
        "evals",
        *(*ONE_CELL, "--models", "qwen2.5:0.5b", "--ollama-host", "http://ollama.invalid:11434"),
        environment=proxy.environment,
    )
    assert outcome.code == 4, outcome.text
    assert any("http://ollama.invalid:11434/api/tags" in line for line in proxy.asked)
