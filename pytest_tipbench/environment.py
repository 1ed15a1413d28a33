"""Owns what is recorded of the machine and the code; imports nothing of ours but the version."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from pytest_tipbench import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

GIT_TIMEOUT_SECONDS = 5.0
"""How long git may take, which a network share or a lock can hold up."""


def common_environment(environments: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the facts of several sessions as one's; where they differ, all values with commas."""
    values: dict[str, dict[str, None]] = {}
    for facts in environments:
        for name, value in facts.items():
            values.setdefault(name, {})[value] = None
    return {name: ", ".join(distinct) for name, distinct in values.items()}


def environment(root: Path) -> dict[str, str]:
    """Return the facts that a result hangs on; ``git_commit`` where ``root`` is in a checkout."""
    facts = {
        "pytest_tipbench": __version__,
        "pytest": importlib.metadata.version("pytest"),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    if commit := _git_commit(root):
        facts["git_commit"] = commit
    return facts


def _git_commit(root: Path) -> str | None:
    """Return the commit; None where no git tells it in time: no cell waits for what adorns it."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = partial(
        subprocess.run,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=GIT_TIMEOUT_SECONDS,
        check=False,
    )
    try:
        answer = ask([git, "-C", str(root), "rev-parse", "HEAD"])
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
