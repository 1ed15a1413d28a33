"""Owns what is settled before the first cell runs: cap, locks, an empty memory; imports no pytest.

Everything is checked on the controller, and everything that is wrong is told before any item runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.errors import ModelMissingError
from pytest_tipbench.providers.base import PullsModels
from pytest_tipbench.safety.cap import admit_on_hosts
from pytest_tipbench.safety.pull import pull_missing
from pytest_tipbench.safety.serial import MemoryLocks, session_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_tipbench.bench import Bench
    from pytest_tipbench.records import Cell, ModelDescription, ModelReference
    from pytest_tipbench.safety.cap import Describe


def admit_cells(bench: Bench, cells: Sequence[Cell], say: Callable[[str], None]) -> MemoryLocks:
    """Admit every model the cells need, share them out, and take the machine's memory for them.

    Returns:
        The session's locks, held; they are the caller's to release.

    Raises:
        UserMistakeError: a model is over the cap, missing or cannot be sized; another session
            holds the memory; a model of others is resident.
    """
    _check_prompts(bench, cells)
    bench.descriptions.update(_placed(bench, cells, say))
    local = [model for model in bench.descriptions.values() if model.local]
    locks = MemoryLocks(
        _lock_names(bench, local),
        "session",
        timeout_seconds=bench.settings.lock_timeout,
        on_wait=say,
    )
    locks.acquire()
    try:
        _find_memory_empty(bench, cells, local)
    except BaseException:
        locks.release()
        raise
    return locks


def _placed(
    bench: Bench, cells: Sequence[Cell], say: Callable[[str], None]
) -> dict[str, ModelDescription]:
    """Admit the models, each on one of the hosts that are served, pulled first where asked for."""
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    describe_on = {index: _describing(bench.at_host(index)) for index in bench.placement.served}
    cap, count = bench.settings.max_model_b, bench.providers.count_parameters
    pulled: tuple[ModelReference, ...] = ()
    if bench.settings.pull and any(model.provider == "ollama" for model in models):
        ollama = bench.providers.get("ollama")
        assert isinstance(ollama, PullsModels)  # noqa: S101 - Ollama does
        describe = _describing_anywhere(describe_on)
        pulled = pull_missing(models, describe, ollama.pull, cap, say, count=count)
    admitted = admit_on_hosts(models, describe_on, cap, count=count, pulled=pulled)
    return bench.placement.place(cells, admitted)


def _describing(bench: Bench) -> Describe:
    def describe(model: ModelReference) -> ModelDescription:
        return bench.providers.get(model.provider).describe(model)

    return describe


def _describing_anywhere(describe_on: Mapping[int, Describe]) -> Describe:
    """Return what describes a model on the first host that has it."""

    def describe(model: ModelReference) -> ModelDescription:
        missing: ModelMissingError | None = None
        for describe_there in describe_on.values():
            try:
                return describe_there(model)
            except ModelMissingError as error:
                missing = missing or error
        assert missing is not None  # noqa: S101 - a host is served always
        raise missing

    return describe


def _check_prompts(bench: Bench, cells: Sequence[Cell]) -> None:
    """Render every prompt that a cell needs: a template may fail on one scenario alone."""
    for cell in cells:
        bench.render(cell)


def _lock_names(bench: Bench, local: Sequence[ModelDescription]) -> tuple[str, ...]:
    if not local:
        return ()
    uses_ollama = any(model.reference.provider == "ollama" for model in local)
    uses_llamacpp = any(model.reference.provider != "ollama" for model in local)
    named = bench.hosts if uses_ollama or bench.settings.ollama_host else ()
    if not uses_ollama:
        named = tuple(host for host in named if host.is_loopback)
    return session_locks(named, uses_llamacpp=uses_llamacpp)


def _find_memory_empty(
    bench: Bench, cells: Sequence[Cell], local: Sequence[ModelDescription]
) -> None:
    """Wait until the hosts that get a model hold none of others.

    The talk locks are taken meanwhile: what a dying session's worker still talks to is waited for,
    not called foreign.
    """
    ollama = {
        model.reference.text: model for model in local if model.reference.provider == "ollama"
    }
    first_by_host = {
        bench.placement.host_of(cell): ollama[cell.model.text]
        for cell in cells
        if cell.model.text in ollama
    }
    for index, model in first_by_host.items():
        at_host = bench.at_host(index or 0)
        with at_host.talking_to(model):
            at_host.guard.start("ollama")
    child = next((model for model in local if model.reference.provider != "ollama"), None)
    if child is not None:
        _find_neighbours_empty(bench, child, asked=first_by_host.keys())


def _find_neighbours_empty(
    bench: Bench, child: ModelDescription, *, asked: Collection[int | None]
) -> None:
    """Wait until the Ollama servers of this machine that get no model hold none of others.

    A child's weights would come on top of them. Where no server answers, there is nothing to say.
    """
    from pytest_tipbench.providers.ollama import OllamaProvider

    for index, host in enumerate(bench.hosts):
        if index in asked or not host.is_loopback:
            continue
        at_host = bench.at_host(index)
        server = at_host.providers.get("ollama")
        if isinstance(server, OllamaProvider) and server.answers():
            with at_host.talking_to(child):
                at_host.guard.start_beside(server)
