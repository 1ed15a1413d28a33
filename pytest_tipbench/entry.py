"""Owns the switch: decides whether pytest gets the bench; imports the standard library only.

pytest imports this module in every environment where the package is installed, so it must cost
nothing: the plugin itself, and all that it needs, is imported only once the switch is on.
"""

from __future__ import annotations

import importlib
import itertools
import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

PLUGIN_MODULE = "pytest_tipbench.plugin"

_OUR_COMMANDS = ("--judge-", "--leaderboard", "--tracking-", "--tipbench-")
_OUR_KEY = re.compile(r"^[ \t]*[\"']?tipbench_\w+[\"']?[ \t]*=", re.MULTILINE)
_CONFIGURATION_FILES = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make our hooks known, so that a conftest that implements one is never an error."""
    add_hookspecs(pluginmanager)


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the plugin where the project or the command line switches the bench on."""
    config = pluginmanager.get_plugin("pytestconfig")
    if config is None or pluginmanager.has_plugin(PLUGIN_MODULE):
        return
    if calls_a_command(config.invocation_params.args) or (
        config.inipath is not None and switches_on(config.inipath)
    ):
        pluginmanager.register(importlib.import_module(PLUGIN_MODULE), PLUGIN_MODULE)


def add_hookspecs(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add our hook specifications once, whichever of our modules pytest meets first."""
    if not hasattr(pluginmanager.hook, "pytest_tipbench_scenarios") or not (
        pluginmanager.hook.pytest_tipbench_scenarios.has_spec()
    ):
        pluginmanager.add_hookspecs(importlib.import_module("pytest_tipbench.hookspecs"))


def calls_a_command(arguments: Sequence[str]) -> bool:
    """Say whether one of the commands that are ours alone is on the command line.

    ``-o tipbench_…=…`` and ``PYTEST_ADDOPTS`` count like the command line they extend.
    """
    words = [*map(str, arguments), *os.environ.get("PYTEST_ADDOPTS", "").split()]
    pairs = itertools.pairwise(words)
    return any(
        word.startswith((*_OUR_COMMANDS, "-otipbench_", "--override-ini=tipbench_"))
        for word in words
    ) or any(
        (first == "-p" and second == "tipbench")
        or (first in {"-o", "--override-ini"} and second.startswith("tipbench_"))
        for first, second in pairs
    )


def switches_on(path: Path) -> bool:
    """Say whether a configuration file has a ``tipbench_…`` key in its pytest section.

    A file that cannot be read or parsed switches nothing on: pytest will say what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if not _OUR_KEY.search(text):  # most projects end here, before any parser is imported
        return False
    return any(key.startswith("tipbench_") for key in _pytest_keys(path, text))


def find_switching_configuration(folder: Path) -> Path | None:
    """Return the nearest configuration, from ``folder`` upwards, that switches the bench on."""
    for parent in (folder, *folder.parents):
        for name in _CONFIGURATION_FILES:
            if switches_on(parent / name):
                return parent / name
    return None


def _pytest_keys(path: Path, text: str) -> list[str]:
    if path.suffix == ".toml":
        return _toml_keys(path, text)
    import configparser

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return []
    sections = ["tool:pytest"] if path.name == "setup.cfg" else ["pytest"]
    return [key for name in sections if parser.has_section(name) for key in parser[name]]


def _toml_keys(path: Path, text: str) -> list[str]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return []
    if path.name != "pyproject.toml":
        return list(document.get("pytest", {}))
    section = document.get("tool", {}).get("pytest", {})
    return [*section, *section.get("ini_options", {})]
