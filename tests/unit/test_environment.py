from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench import environment as environment_module
from pytest_tipbench.environment import common_environment, environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALWAYS_KNOWN = {"pytest_tipbench", "pytest", "python", "system", "machine"}

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def git_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a script in git's place."""
    if os.name == "nt":
        pytest.skip("a script is no program there")

    def put(text: str) -> None:
        script = tmp_path / "bin" / "git"
        script.parent.mkdir()
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent))

    return put


@needs_git
def test_the_commit_of_the_checkout_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=Zoë", "-c", "user.email=zoe@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    assert environment(tmp_path).keys() == ALWAYS_KNOWN  # nothing is committed yet
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "one"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert environment(tmp_path)["git_commit"] == head.stdout.strip()
    assert len(head.stdout.strip()) == 40


def test_where_there_is_no_git_nothing_is_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment(tmp_path).keys() == ALWAYS_KNOWN


def test_a_git_that_takes_too_long_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, git_is: Callable[[str], None]
) -> None:
    """As on a network share, or behind a lock."""
    git_is(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(environment_module, "GIT_TIMEOUT_SECONDS", 0.2)
    started = time.monotonic()
    assert environment(tmp_path).keys() == ALWAYS_KNOWN
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "script",
    [
        "#!/nowhere/to/be/found\n",
        "no program at all",
        f"#!{sys.executable}\nimport os\nos.write(2, b'fatal: \\xff')\nraise SystemExit(128)\n",
    ],
    ids=["no interpreter", "no program", "no UTF-8"],
)
def test_a_git_that_does_not_work_is_no_obstacle(
    tmp_path: Path, git_is: Callable[[str], None], script: str
) -> None:
    git_is(script)
    assert environment(tmp_path).keys() == ALWAYS_KNOWN


def test_what_sessions_have_in_common_is_said_once() -> None:
    sessions = [{"python": "3.11", "system": "Linux"}, {"python": "3.10", "system": "Linux"}]
    assert common_environment(sessions) == {"python": "3.11, 3.10", "system": "Linux"}
    assert common_environment([]) == {}


def test_sessions_that_differ_are_told_with_all_their_values() -> None:
    one = {"python": "3.11.7", "system": "Linux"}
    other = {"python": "3.12.1", "system": "Linux", "git_commit": "bd0031c"}
    assert common_environment([one, other, one]) == {
        "python": "3.11.7, 3.12.1",
        "system": "Linux",
        "git_commit": "bd0031c",
    }
    assert common_environment([]) == {}
