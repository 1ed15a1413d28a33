"""Owns running two commands in turn and what their times come to; imports the standard library."""

from __future__ import annotations

import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def seconds(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Return the wall time of a command that has to end well.

    Modules are compiled once and kept, as on a user's machine, whatever is set here.
    """
    users = {name: text for name, text in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    finished = subprocess.run(
        command, cwd=folder, env=users, capture_output=True, text=True, check=False
    )
    taken = time.perf_counter() - started
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{finished.stdout}{finished.stderr}")
    return taken


def told(name: str, ours: Sequence[float], theirs: Sequence[float], peer: str) -> str:
    """Return medians, the ratio pair by pair, and its range, in one line.

    Machines are noisy: the runs of a pair follow each other, so that both meet the same noise.
    """
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    return (
        f"{name}: ours {median(ours):.3f} s, {peer} {median(theirs):.3f} s, "
        f"ratio {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, {len(ratios)} pairs), "
        f"difference {(median(ours) - median(theirs)) * 1000:.0f} ms"
    )
