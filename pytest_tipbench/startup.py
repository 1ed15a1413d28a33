"""Owns how a pytest process gets its bench and gives it back; imports nothing heavy.

Every process has a bench; the controller alone has a ``BenchSession``.
"""

from __future__ import annotations

import json
import sys
import uuid
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.bench import Bench, Hooked
from pytest_tipbench.console import Console
from pytest_tipbench.entry import find_switching_configuration
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.safety.termination import end_undisturbed, interrupt_on_termination
from pytest_tipbench.session import WORKER_KEY, BenchSession
from pytest_tipbench.settings import joined_file_options, names_a_path, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.settings import Settings

BENCH = pytest.StashKey[Bench]()
RUN: pytest.StashKey[RunRecord] = pytest.StashKey()
MISTAKE = pytest.StashKey[UserMistakeError]()
UNSAID: pytest.StashKey[list[str]] = pytest.StashKey()
"""What a worker has to say and has no terminal for."""
MARKER = "tipbench"
ENDS_SESSION = (pytest.exit.Exception,)
"""What a test, or a signal's handler, raises to end the session, whatever is under way."""
_INFORMING_OPTIONS = (
    "help",
    "version",
    "markers",
    "cacheshow",
    "showfixtures",
    "show_fixtures_per_test",
)
_UNDO: pytest.StashKey[Callable[[], None]] = pytest.StashKey()
"""Gives the signals back their former meaning."""


def before_main(config: pytest.Config) -> int | pytest.ExitCode | None:
    """Act on what must be settled before pytest starts; an exit code ends the run.

    A file of ours outside the project, given after a space, has moved pytest's rootdir: pytest is
    called again with the same arguments, joined.
    """
    if is_worker(config):
        return None
    if config.getoption("tipbench_judge_schema"):
        from pytest_tipbench.judge.files import sheet_schema

        sys.stdout.write(json.dumps(sheet_schema(), indent=2) + "\n")
        return pytest.ExitCode.OK
    arguments = [str(argument) for argument in config.invocation_params.args]
    joined = joined_file_options(arguments)
    if joined is not None and not config.option.inifilename:
        expected = find_switching_configuration(config.invocation_params.dir)
        if expected is not None and expected != config.inipath:
            return pytest.main(joined)
    if _is_command_only(config, read_settings(config)) and hasattr(config.option, "numprocesses"):
        config.option.numprocesses, config.option.dist, config.option.tx = 0, "no", []
    return None


def configure(config: pytest.Config) -> BenchSession | None:
    """Give this process its bench; return the controller's session, None on a worker.

    Raises:
        UserMistakeError: a mistake that can be seen without collecting anything.
    """
    config.addinivalue_line("markers", f"{MARKER}: given to each item that is a cell by the bench")
    settings = read_settings(config)
    command_only = _is_command_only(config, settings)
    is_aimed_at_cells = (
        not command_only and not _only_informs(config) and _is_aimed_at(config, settings.evals)
    )
    if is_aimed_at_cells:
        heed_termination(config)
    if is_worker(config):
        unsaid = config.stash[UNSAID] = []
        given = json.loads(config.workerinput[WORKER_KEY])  # type: ignore[attr-defined]  # xdist's
        names, inherited = given.pop("model_names"), tuple(given.pop("inherited"))
        config.stash[BENCH] = Bench(
            settings,
            _hooked(config),
            say=unsaid.append,
            model_names=None if names is None else tuple(names),
            inherited=inherited,
            **given,
        )
        return None
    console = Console(config)
    bench = Bench(settings, _hooked(config), say=console.say, session_id=uuid.uuid4().hex)
    config.stash[BENCH] = bench
    session = BenchSession(
        bench,
        console,
        command_only=command_only,
        distributed=_is_distributed(config),
        is_aimed_at_cells=is_aimed_at_cells,
        call=_call_to_resume(config),
    )
    session.check_early(dist=getattr(config.option, "dist", "no"))
    return session


def heed_termination(config: pytest.Config) -> None:
    """Let signals end this process in order: it may run cells; may be called twice."""
    if _UNDO not in config.stash:
        config.stash[_UNDO] = interrupt_on_termination()


def unconfigure(config: pytest.Config) -> None:
    """Give all memory back, on a worker and on the controller alike."""
    bench = config.stash.get(BENCH, None)
    if bench is not None:
        bench.settle()
    if _UNDO in config.stash:
        config.stash[_UNDO]()


def finish_worker(config: pytest.Config) -> None:
    """Unload, prove it, and tell the controller what was seen; does nothing elsewhere."""
    if not is_worker(config):
        return
    end_undisturbed()
    bench = config.stash[BENCH]
    told: dict[str, object] = {
        "problems": bench.settle(),  # before the others, which it adds to
        "evidence": asdict(bench.evidence),
        "lines": config.stash[UNSAID],
    }
    config.workeroutput[WORKER_KEY] = json.dumps(told)  # type: ignore[attr-defined]  # xdist's


def is_worker(config: pytest.Config) -> bool:
    """Say whether this process runs items that a controller hands to it."""
    return hasattr(config, "workerinput")


def _call_to_resume(config: pytest.Config) -> tuple[str, ...] | None:
    """Return this call's arguments; None where it stops, and goes on, in a way of pytest's own."""
    if config.getoption("stepwise", False) or config.getoption("stepwise_skip", False):
        return None
    return tuple(str(argument) for argument in config.invocation_params.args)


def _is_distributed(config: pytest.Config) -> bool:
    return bool(getattr(config.option, "tx", None)) and config.option.dist != "no"


def _is_command_only(config: pytest.Config, settings: Settings) -> bool:
    return settings.has_command and not names_a_path(config)


def _only_informs(config: pytest.Config) -> bool:
    """Say whether pytest tells of itself and ends, e.g. for ``--fixtures``: no cell is wanted."""
    return any(getattr(config.option, name, False) for name in _INFORMING_OPTIONS)


def _is_aimed_at(config: pytest.Config, folder: Path) -> bool:
    """Say whether a path of this call lies in the folder, or the folder in it."""
    for argument in config.args:
        path = (config.invocation_params.dir / str(argument).split("::")[0]).resolve()
        if path == folder or path in folder.parents or folder in path.parents:
            return True
    return False


def _hooked(config: pytest.Config) -> Hooked:
    def providers() -> dict[str, Callable[[], Provider]]:
        given = config.hook.pytest_tipbench_providers(config=config)
        return {prefix: make for mapping in given for prefix, make in mapping.items()}

    return Hooked(
        scenarios=lambda: chain.from_iterable(config.hook.pytest_tipbench_scenarios(config=config)),
        prompts=lambda: chain.from_iterable(config.hook.pytest_tipbench_prompts(config=config)),
        providers=providers,
    )
