"""Owns the hooks that a project or another plugin may implement; imports pytest only.

They are known to pytest wherever the package is installed, so that a conftest may implement them
whether or not the bench is switched on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pytest_tipbench.providers.base import Provider
    from pytest_tipbench.records import PromptVersion, Scenario


@pytest.hookspec
def pytest_tipbench_scenarios(config: pytest.Config) -> Iterable[Scenario]:  # type: ignore[empty-body]
    """Return further scenarios, beside those of ``scenarios.toml``.

    Called in every process that collects, so it must return the same scenarios in the same order
    each time: no clock, no randomness, no network.
    """


@pytest.hookspec
def pytest_tipbench_prompts(config: pytest.Config) -> Iterable[PromptVersion]:  # type: ignore[empty-body]
    """Return further prompt versions, beside the files in ``prompts/``; as steady as scenarios."""


@pytest.hookspec
def pytest_tipbench_providers(  # type: ignore[empty-body]
    config: pytest.Config,
) -> Mapping[str, Callable[[], Provider]]:
    """Return further providers: prefix → a function that makes the provider at its first use.

    A prefix ``acme`` makes ``acme/NAME`` a model reference of that provider.
    """
