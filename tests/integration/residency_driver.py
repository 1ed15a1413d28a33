"""Drives a residency guard and an Ollama provider as a session does; also a program of its own.

``python -m tests.integration.residency_driver URL LOCK_FOLDER RESIDENCY MODEL...`` completes one
prompt with each model in turn, under the talk locks, and prints a line for each.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_tipbench.providers.ollama import OllamaProvider
from pytest_tipbench.records import ModelReference
from pytest_tipbench.safety.residency import ResidencyGuard
from pytest_tipbench.safety.serial import MemoryLocks, ollama_hosts, talk_locks
from pytest_tipbench.safety.termination import interrupt_on_termination
from tests.unit.ollama_requests import make_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import Completion, ModelDescription, Residency


class Session:
    """One guard over one server; its seconds are ``speed`` times as short as the clock's."""

    def __init__(
        self,
        url: str,
        *,
        evict: bool = False,
        speed: float = 1.0,
        others: dict[str, Provider] | None = None,
        talking_to: Callable[[ModelDescription], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.ollama = OllamaProvider(url)
        self.providers: dict[str, Provider] = {"ollama": self.ollama, **(others or {})}
        self.lines: list[str] = []
        self.guard = ResidencyGuard(
            self.providers.__getitem__,
            evict=evict,
            talking_to=talking_to or (lambda _: nullcontext()),
            say=self.lines.append,
            monotonic=lambda: time.monotonic() * speed,
            sleep=lambda seconds: time.sleep(seconds / speed),
        )

    def describe(self, text: str) -> ModelDescription:
        provider, _, name = text.rpartition(":::")
        provider = provider or "ollama"
        return self.providers[provider].describe(
            ModelReference(text=name, provider=provider, name=name)
        )

    def complete(
        self, model: ModelDescription, residency: Residency = "call", timeout_seconds: float = 20.0
    ) -> Completion:
        request = make_request(model, residency=residency, timeout_seconds=timeout_seconds)
        with self.guard.holding(model, residency):
            return self.providers[model.reference.provider].complete(request)

    def close(self) -> None:
        for provider in self.providers.values():
            provider.close()


@contextmanager
def session_on(url: str, **arguments: object) -> Iterator[Session]:
    session = Session(url, **arguments)  # type: ignore[arg-type]  # handed on as they are
    try:
        yield session
        session.guard.finish()
    finally:
        session.close()


def main(url: str, folder: str, residency: str, *names: str) -> None:
    hosts = ollama_hosts([url])

    def talking_to(_: ModelDescription) -> AbstractContextManager[None]:
        names = talk_locks(hosts[0], hosts)
        return MemoryLocks(
            names, "talk", folder=Path(folder), timeout_seconds=60, on_wait=print
        ).held()

    interrupt_on_termination()
    session = Session(url, talking_to=talking_to)
    try:
        for name in names:
            session.complete(session.describe(name), cast("Residency", residency))
            print(f"completed {name}", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    finally:
        session.guard.finish()
        session.close()
    print("finished", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
