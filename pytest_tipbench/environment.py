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
    from pathlib import Path


def environment(root: Path) -> dict[str, str]:
    """Return the facts that a result hangs on; ``git_commit`` where ``root`` is in a checkout."""
    facts = {
        "pytest_tipbench": __version__,
        "pytest": importlib.metadata.version("pytest"),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    git = shutil.which("git")
    if git is not None:
        ask = partial(subprocess.run, capture_output=True, text=True, timeout=5, check=False)
        answer = ask([git, "-C", str(root), "rev-parse", "HEAD"])
        if answer.returncode == 0:
            facts["git_commit"] = answer.stdout.strip()
    return facts
