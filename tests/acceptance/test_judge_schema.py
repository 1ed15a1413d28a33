from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Project


def printed(project: Project, *arguments: str, cwd: Path | None = None) -> str:
    """Return standard output alone, as a shell's redirection would keep it."""
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "--judge-schema", *arguments],
        cwd=cwd or project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_schema_alone_is_printed_and_fits_an_export(generated_project: Project) -> None:
    schema = json.loads(printed(generated_project))
    document = json.loads(generated_project.export().read_text(encoding="utf-8"))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert set(schema["required"]) <= set(document)
    assert set(document) <= set(schema["properties"])
    assert "tipbench-judge/1" in json.dumps(schema)


def test_it_needs_no_project(project: Project, tmp_path: Path) -> None:
    """The command is ours alone, so it switches the bench on by itself."""
    bare = tmp_path / "bare"
    bare.mkdir()
    assert json.loads(printed(project, cwd=bare))["type"] == "object"
    assert list(bare.iterdir()) == []
