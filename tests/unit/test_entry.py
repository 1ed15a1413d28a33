from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.entry import calls_a_command, find_switching_configuration, switches_on

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\ntipbench_models = a\n"),
        ("tox.ini", "[pytest]\ntipbench_models=a\n"),
        ("setup.cfg", "[tool:pytest]\ntipbench_models = a\n"),
        ("pyproject.toml", '[tool.pytest.ini_options]\ntipbench_models = "a"\n'),
        ("pyproject.toml", '[tool.pytest]\n"tipbench_models" = ["a"]\n'),
        ("pytest.toml", '[pytest]\ntipbench_models = ["a"]\n'),
    ],
)
def test_a_key_in_the_pytest_section_switches_on(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert switches_on(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\naddopts = -q\n"),
        ("pytest.ini", "[pytest]\n# tipbench_models = a\n"),
        ("tox.ini", "[testenv]\ntipbench_models=a\n"),
        ("setup.cfg", "[pytest]\ntipbench_models = a\n"),
        ("pyproject.toml", '[tool.other]\ntipbench_models = "a"\n'),
        ("pyproject.toml", 'tipbench_models = "a"\nbroken ='),
        ("pytest.ini", "tipbench_models = a\n"),
    ],
)
def test_anything_else_switches_nothing_on(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert not switches_on(path)


def test_a_file_that_is_not_there_or_not_text_switches_nothing_on(tmp_path: Path) -> None:
    assert not switches_on(tmp_path / "pytest.ini")
    (tmp_path / "pytest.ini").write_bytes(b"\xff\xfe[pytest]\ntipbench_x = 1")
    assert not switches_on(tmp_path / "pytest.ini")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--leaderboard"],
        ["--judge-apply", "scores.json"],
        ["--judge-export=scores.json"],
        ["--tracking-sync"],
        ["--tipbench-report", "out.html"],
        ["-o", "tipbench_models=a"],
        ["--override-ini=tipbench_models=a"],
        ["-p", "tipbench"],
    ],
)
def test_our_own_commands_switch_on(arguments: list[str]) -> None:
    assert calls_a_command(arguments)


@pytest.mark.parametrize(
    "arguments",
    [["--models", "x"], ["tipbench_folder/"], ["-p", "no:tipbench"], ["-k", "tipbench_x"], []],
)
def test_what_others_use_too_does_not(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    assert not calls_a_command(arguments)


def test_commands_in_pytest_addopts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-q --leaderboard")
    assert calls_a_command([])


def test_the_nearest_switching_configuration_upwards_is_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntipbench_models = x\n", encoding="utf-8")
    (tmp_path / "a" / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    assert find_switching_configuration(inner) == tmp_path / "pytest.ini"


def test_importing_the_entry_point_imports_nothing_heavy() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules);"
        "import pytest_tipbench.entry;"
        "print(sorted(m for m in set(sys.modules) - before))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['pytest_tipbench', 'pytest_tipbench.entry']"
