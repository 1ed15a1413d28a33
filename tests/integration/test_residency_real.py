"""Real weights in two files: each is loaded once, and one is gone before the other loads."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.providers.llamacpp_weights import embedded_weights
from tests.acceptance.sessions import members_of, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project
    from tests.acceptance.sessions import Session

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="needs the extra llamacpp"
)
MODELS = ("llamacpp/one.gguf", "llamacpp/other.gguf")
NARROW = ("--prompts", "v3-few-shot", "--scenarios", "zoe-m*", "--num-predict", "96")
"""Two cells of each model, short ones: an answer that is cut off may fail its cell."""


@pytest.fixture
def two_models(project: Project, tmp_path: Path) -> Project:
    """The embedded weights, and the same with another name in their metadata."""
    weights = embedded_weights(tmp_path / "cache")
    os.link(weights, project.root / "one.gguf")
    other = project.root / "other.gguf"
    shutil.copy(weights, other)
    with other.open("r+b") as file:
        head = file.read(4096)
        key = head.index(b"general.name") + len(b"general.name")
        value = key + 4 + 8  # the value's type and the string's length come before it
        assert head[value : value + 5].isascii()
        file.seek(value)
        file.write(b"O")
    project.write_configuration(tipbench_models=",".join(MODELS))
    return project


def children_seen(session: Session) -> tuple[int, int]:
    """Return how many processes held weights, in all and at one time, until the session's end."""
    seen: set[int] = set()
    most = 0
    while session.is_running:
        holders = set()
        for member in members_of(session.pid)[1:]:
            try:
                if member.cmdline()[-1:] == ["serve"]:
                    holders.add(member.pid)
            except Exception:  # noqa: BLE001 - it has just ended
                continue
        seen |= holders
        most = max(most, len(holders))
    return len(seen), most


@pytest.mark.parametrize(("residency", "loads"), [("model", 2), ("call", 4)])
def test_loads_per_session(two_models: Project, residency: str, loads: int) -> None:
    with started(two_models, "evals", *NARROW, "--residency", residency) as session:
        in_all, together = children_seen(session)
        outcome = session.ended()
    assert outcome.code in (0, 1), outcome.text
    assert "error" not in outcome.counts
    assert (in_all, together) == (loads, 1)
    assert f"loads: {loads};" in outcome.text
    assert "memory: models resident together: 1; largest resident size: " in outcome.text
    runs = two_models.runs()
    assert [run.cell.model.text for run in runs] == [MODELS[0]] * 2 + [MODELS[1]] * 2
    assert len({run.model.digest for run in runs if run.model}) == 2
    completions = [run.completion for run in runs if run.completion is not None]
    loaded = [bool(completion.load_seconds) for completion in completions]
    assert loaded == ([True, False] * 2 if residency == "model" else [True] * 4)
    # 268 million parameters of four bits and more, and what goes with them.
    assert all((completion.resident_bytes or 0) > 130_000_000 for completion in completions)


def test_the_same_weights_under_two_names_are_refused(two_models: Project) -> None:
    os.link(two_models.root / "one.gguf", two_models.root / "alias.gguf")
    outcome = two_models.run("evals", *NARROW, "--models", "llamacpp/one.gguf,llamacpp/alias.gguf")
    outcome.assert_mistake("llamacpp/alias.gguf: the same model as llamacpp/one.gguf")


def test_real_weights_over_the_cap_are_refused(two_models: Project) -> None:
    outcome = two_models.run("evals", *NARROW, "--max-model-b", "0.2")
    outcome.assert_mistake(
        "2 models cannot be run",
        "llamacpp/one.gguf: 0.3B (268,098,176 parameters) is over the cap of 0.2B",
        "llamacpp/other.gguf: 0.3B",
    )
