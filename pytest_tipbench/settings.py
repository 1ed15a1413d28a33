"""Owns Settings: every option's value, read once; imports no pytest at run time.

A value comes from the command line, else from the environment, else from the ini twin, else from
the default.
"""

from __future__ import annotations

import argparse
import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_tipbench.addresses import without_credentials
from pytest_tipbench.entry import find_switching_configuration
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.options import EVALS_INI, OPTIONS, RUBRIC_INI, Option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from pytest_tipbench.records import Residency


@dataclass(frozen=True)
class Settings:
    """Every option's value, read once; paths are absolute."""

    root: Path
    """The project's root: the ledger, ``mlflow.db`` and relative ini paths hang on it."""
    evals: Path
    rubric: Path
    models: tuple[str, ...]
    prompts: tuple[str, ...] | None
    scenarios: tuple[str, ...] | None
    experiment: str
    named: frozenset[str]
    """Fields that the command line itself gave: only these narrow what a reading command shows."""
    n_tips: int
    repeats: int
    seed: int
    temperature: float
    num_ctx: int
    num_predict: int
    diversity: bool
    max_model_b: float
    residency: Residency | None
    """None: each provider's own default."""
    ollama_host: tuple[str, ...]
    pull: bool
    evict: bool
    completion_timeout: float
    lock_timeout: float
    resume: bool
    record: Path | None
    show_tips: bool
    tracking_uri: str | None
    tracking_host_header: str | None
    tracking_sync: bool
    offline: bool
    ledger: Path
    judge_export: Path | None
    judge_apply: tuple[Path, ...]
    judge_name: str | None
    judge_limit: int | None
    judge_anchors: int
    judge_max_drift: float
    judge_accept_drift: bool
    judge_schema: bool
    leaderboard: bool
    min_composite: float | None
    gate: tuple[str, ...]
    baseline: str | None
    max_drop: float
    gate_pending: Literal["fail", "ignore"]
    report: tuple[Path, ...]
    worker_count: int = 0
    """How many workers pytest-xdist starts; 0: this process runs the cells."""
    configuring_words: tuple[str, ...] = ()
    """Words of pytest's own in this call that say what the configuration is: ``-c``, ``-o``."""

    @property
    def has_command(self) -> bool:
        """True when a judge, leaderboard or tracking command was called."""
        return bool(
            self.judge_export
            or self.judge_apply
            or self.judge_schema
            or self.leaderboard
            or self.tracking_sync
            or self.report
        )

    @property
    def tracking_target(self) -> str | None:
        """The MLflow server to write to; None = the ledger alone."""
        return None if self.offline else self.tracking_uri


def read_settings(config: pytest.Config, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read every option once.

    Raises:
        UserMistakeError: a value from the environment or an ini file that its option refuses, or
            a combination that makes no sense.
    """
    root = project_root(config)
    values: dict[str, Any] = {o.field: _value(o, config, environ) for o in OPTIONS}
    for field in ("models", "prompts", "scenarios"):
        _refuse_duplicates(field, values[field])
    values["named"] = frozenset(
        option.field for option in OPTIONS if config.getoption(option.ini_name) is not None
    )
    for field in ("judge_export", "record"):
        if values[field] is not None:
            values[field] = _absolute(values[field], config.invocation_params.dir)
    here = config.invocation_params.dir
    values["judge_apply"] = tuple(_absolute(path, here) for path in values["judge_apply"])
    # A link is not looked through: its own suffix says the format.
    values["report"] = tuple(
        (here / Path(path).expanduser()).absolute() for path in values["report"]
    )
    ledger_base = config.invocation_params.dir if "ledger" in values["named"] else root
    values["ledger"] = _absolute(values["ledger"], ledger_base)
    return Settings(
        configuring_words=_configuring_words([str(word) for word in config.invocation_params.args]),
        root=root,
        evals=_absolute(_ini_value(EVALS_INI, config), root),
        rubric=_absolute(_ini_value(RUBRIC_INI, config), root),
        worker_count=_worker_count(config),
        **values,
    )


def project_root(config: pytest.Config) -> Path:
    """Return the folder of the configuration that switches the bench on, else pytest's rootdir.

    One that the call names (``-c FILE``) comes before one that is found.
    """
    if config.inipath is not None and config.option.inifilename:
        return config.inipath.parent
    switching = find_switching_configuration(config.invocation_params.dir)
    if switching is not None:
        return switching.parent
    return config.rootpath


def login_name() -> str:
    """Return the name the judge logs in with, or ``judge`` where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "judge"


def names_a_path(config: pytest.Config) -> bool:
    """Say whether the command line names a path (one from ``addopts`` does not count)."""
    if config.args_source.name != "ARGS":
        return False
    given = {str(argument) for argument in config.invocation_params.args}
    return any(str(argument) in given for argument in config.args)


def joined_file_options(arguments: Sequence[str]) -> list[str] | None:
    """Return the arguments with every file option as ``--option=FILE``; None if they already are.

    pytest takes an existing file after ``--option FILE`` for a test path and moves its rootdir to
    it; joined with ``=`` it does not.
    """
    flags = {option.flag for option in OPTIONS if option.names_a_file}
    joined: list[str] = []
    changed = False
    words = iter(arguments)
    for word in words:
        if word in flags:
            value = next(words, None)
            joined.append(word if value is None else f"{word}={value}")
            changed = changed or value is not None
        else:
            joined.append(word)
    return joined if changed else None


def carried_on(settings: Settings, *fields: str) -> list[str]:
    """Return those of the fields that this call's command line gave, as the next one's words.

    A user and a password in the tracking URI are left out: who goes on needs MLflow's variables.
    """
    words: list[str] = []
    for option in OPTIONS:
        if option.field in fields and option.field in settings.named:
            value = getattr(settings, option.field)
            words.append(option.flag)
            if option.field == "tracking_uri":
                words.append(without_credentials(value))
            elif option.metavar is not None:
                words.append(",".join(value) if isinstance(value, tuple) else str(value))
    return [*words, *settings.configuring_words]


def _configuring_words(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return ``-c FILE`` and ``-o tipbench_…=VALUE`` of a call, in whichever spelling."""
    found: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            break
        flag, joined, value = word.partition("=") if word.startswith("--") else (word[:2], "", "")
        if flag not in ("-c", "--config-file", "-o", "--override-ini"):
            continue
        if not joined:
            value = word[2:] if word[2:] and not word.startswith("--") else next(words, "")
        if flag in ("-c", "--config-file"):
            found += ["-c", value]
        elif value.startswith("tipbench_"):
            found += ["-o", value]
    return tuple(found)


def _worker_count(config: pytest.Config) -> int:
    """Count xdist's ``--tx`` specifications, into which it has turned ``-n`` by then."""
    if getattr(config.option, "dist", "no") == "no":
        return 0
    numbers = [text.partition("*") for text in getattr(config.option, "tx", None) or ()]
    return sum(int(number) if star and number.isdecimal() else 1 for number, star, _ in numbers)


def _value(option: Option, config: pytest.Config, environ: Mapping[str, str]) -> Any:
    given = config.getoption(option.ini_name)
    if given is not None:
        return _flattened(option, given)
    if option.environment and environ.get(option.environment, "").strip():
        return _parsed(option, [environ[option.environment]], option.environment)
    if option.ini:
        value = _ini_value(option.ini_name, config)
        if option.ini == "bool" and value is not None:
            return value
        if value is not None and value != []:
            texts = value if isinstance(value, list) else [str(value)]
            return _parsed(option, texts, _ini_source(option.ini_name, config))
    return option.default


def _ini_value(name: str, config: pytest.Config) -> Any:
    try:
        return config.getini(name)
    except Exception as error:  # noqa: BLE001 - TypeError, ValueError, since pytest 9.2 UsageError
        # Most of pytest's messages do not name the key.
        source = "" if name in str(error) else f"{_ini_source(name, config)}: "
        raise UserMistakeError(f"{source}{error}") from None


def _ini_source(name: str, config: pytest.Config) -> str:
    return f"{config.inipath}: {name}" if config.inipath is not None else name


def _parsed(option: Option, texts: Sequence[str], source: str) -> Any:
    try:
        values = [option.parse(text) for text in texts]
    except argparse.ArgumentTypeError as error:
        raise UserMistakeError(f"{source}: {error}") from None
    return _flattened(option, values if option.repeatable else values[0])


def _flattened(option: Option, given: Any) -> Any:
    if not option.repeatable:
        return given
    return tuple(
        name for value in given for name in (value if isinstance(value, tuple) else (value,))
    )


def _refuse_duplicates(field: str, names: Sequence[str] | None) -> None:
    for name in names or ():
        if names is not None and list(names).count(name) > 1:
            raise UserMistakeError(f"--{field}: {name!r} is named twice; name each once")


def _absolute(path: str | Path, base: Path) -> Path:
    return (base / Path(path).expanduser()).resolve()
