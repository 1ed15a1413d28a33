"""A pytest plugin for projects of tests: what the bench waits for, it waits for less long.

``install`` writes it into a project, whose sessions and workers load it by ``-p``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.safety import emptiness

if TYPE_CHECKING:
    from tests.acceptance.conftest import Project

PLUGIN = """\
from pytest_tipbench.safety import emptiness, residency

emptiness.GIVE_UP_AFTER_SECONDS = {give_up_after_seconds}
residency.QUIET_SECONDS = {quiet_seconds}
"""


def install(project: Project, *, give_up_after_seconds: float, quiet_seconds: float = 2.0) -> None:
    """Let the project's sessions give up after so many seconds instead of thirty."""
    assert emptiness.GIVE_UP_AFTER_SECONDS == 30.0
    assert emptiness.QUIET_SECONDS == 2.0
    values = {"give_up_after_seconds": give_up_after_seconds, "quiet_seconds": quiet_seconds}
    project.write("hurried.py", PLUGIN.format(**values))
    project.addopts += " -p hurried"
    project.write_configuration()
