"""Owns what is settled before the first cell runs: cap, locks, an empty memory; imports no pytest.

Everything is checked on the controller, and everything that is wrong is told before any item runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.errors import PreflightError, ProviderError, UserMistakeError
from pytest_tipbench.safety.cap import admit
from pytest_tipbench.safety.serial import MemoryLocks, session_locks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_tipbench.bench import Bench
    from pytest_tipbench.records import Cell, ModelDescription, ModelReference


def admit_cells(bench: Bench, cells: Sequence[Cell], say: Callable[[str], None]) -> MemoryLocks:
    """Admit every model the cells need, share them out, and take the machine's memory for them.

    Returns:
        The session's locks, held; they are the caller's to release.

    Raises:
        UserMistakeError: a model is over the cap, missing or cannot be sized; another session
            holds the memory; a model of others is resident.
    """
    models = tuple(dict.fromkeys(cell.model for cell in cells))
    _check_prompts(bench, cells)
    for description in admit(models, _describing(bench), bench.settings.max_model_b):
        bench.descriptions[description.reference.text] = description
    bench.placement.share_out(cells, bench.descriptions)
    local = [model for model in bench.descriptions.values() if model.local]
    locks = MemoryLocks(
        _lock_names(bench, local),
        "session",
        timeout_seconds=bench.settings.lock_timeout,
        on_wait=say,
    )
    locks.acquire()
    try:
        _find_memory_empty(bench, local)
    except BaseException:
        locks.release()
        raise
    return locks


def _describing(bench: Bench) -> Callable[[ModelReference], ModelDescription]:
    def describe(model: ModelReference) -> ModelDescription:
        return bench.providers.get(model.provider).describe(model)

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


def _find_memory_empty(bench: Bench, local: Sequence[ModelDescription]) -> None:
    if not any(model.reference.provider == "ollama" for model in local):
        return
    try:
        bench.guard.start("ollama")
    except ProviderError as error:
        raise PreflightError("Ollama cannot be asked what is resident", [str(error)]) from None
    except UserMistakeError:
        raise
