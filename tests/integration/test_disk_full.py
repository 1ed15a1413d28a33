"""A disk without room loses nothing: what the ledger cannot take waits, and is taken back."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.records import RunRecord, from_json
from tests.acceptance.conftest import Outcome, Project, make_project
from tests.ollama_double import OllamaDouble
from tests.small_disk import grow, small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MATRIX = ("--prompts", "v1,v2-mentor", "--scenarios", "maya-*,zoe-*,lukasz-*,misaki-*")
CELLS = 2 * 12


@pytest.fixture
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture
def bench(tmp_path: Path, shared_home: Path, ollama: OllamaDouble) -> Project:
    made = make_project(tmp_path, shared_home)
    made.environment |= {"OLLAMA_HOST": ollama.url, "XDG_DATA_HOME": str(tmp_path / "data")}
    made.write_configuration(tipbench_models="qwen2.5:0.5b")
    return made


def waiting_runs(project: Project, data: Path) -> list[RunRecord]:
    folders = (project.ledger_path.parent, data)
    return [
        from_json(RunRecord, line)
        for folder in folders
        for path in folder.rglob("tipbench-rescue-*.jsonl")
        for line in path.read_bytes().split(b"\n")
        if line.strip()
    ]


def assert_all_kept(project: Project, outcome: Outcome, data: Path) -> int:
    """Every answered cell is in the ledger or waits for it; return how many wait."""
    assert outcome.code == 1, outcome.text
    assert f"{CELLS} passed" in outcome.counts
    assert "INTERNALERROR" not in outcome.text
    assert "PROBLEM: the ledger lacks" in outcome.words
    kept, waiting = project.runs(), waiting_runs(project, data)
    assert waiting
    assert len({run.run_id for run in kept} | {run.run_id for run in waiting}) == CELLS
    assert len({run.cell.id for run in (*kept, *waiting)}) == CELLS
    return len(waiting)


def assert_taken_back(project: Project, ollama: OllamaDouble, data: Path, waited: int) -> None:
    asked = len(ollama.completions())
    outcome = project.run("evals", *MATRIX, "--resume")
    assert outcome.code == 0, outcome.text
    assert f"has now: {waited}" in outcome.text
    assert len(ollama.completions()) == asked  # nothing is generated again
    assert f"resume: {CELLS} cells from the store, 0 generated" in outcome.text
    assert len(project.runs()) == CELLS
    assert waiting_runs(project, data) == []


def test_a_full_disk(bench: Project, ollama: OllamaDouble, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with small_disk(bench.ledger_path.parent, "400k"):
        outcome = bench.run("evals", *MATRIX)
        waiting = assert_all_kept(bench, outcome, data)
        assert "no room is left on its disk" in outcome.words
        assert str(data) in outcome.words
        # Reading goes on.
        assert bench.run("--leaderboard").code == 0
        # A session that would write is told so before it generates anything.
        asked = len(ollama.completions())
        bench.run("evals", *MATRIX).assert_mistake("no room is left")
        assert len(ollama.completions()) == asked
        assert len(waiting_runs(bench, data)) >= waiting
        grow(bench.ledger_path.parent, "32m")
        assert_taken_back(bench, ollama, data, waiting)


def test_a_sheet_for_a_full_disk_is_applied_another_time(bench: Project) -> None:
    folder = bench.ledger_path.parent
    with small_disk(folder, "2m"):
        assert bench.run("evals", "--prompts", "v1", "--scenarios", "maya-*").code == 0
        sheet = bench.judge(bench.export())
        filler = folder / "filler"
        room = os.statvfs(folder)
        filler.write_bytes(b"x" * room.f_bavail * room.f_frsize)
        outcome = bench.run("--judge-apply", sheet.name)
        assert outcome.code in (1, 4), outcome.text
        assert "what it holds is kept" in outcome.words
        assert "INTERNALERROR" not in outcome.text
        assert "Traceback" not in outcome.text
        filler.unlink()
        assert bench.judgements() == []
        assert bench.run("--judge-apply", sheet.name).code == 0
        assert len(bench.judgements()) == 3 * 5


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no file's size")
def test_a_limit_on_files(
    bench: Project, ollama: OllamaDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file may grow past the limit, the rescue file included: several of them share the load."""
    import resource

    data = tmp_path / "data"
    bench.environment["TMPDIR"] = str(tmp_path / "tmp")
    (tmp_path / "tmp").mkdir()
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, former[1]))
    try:
        outcome = bench.run("evals", *MATRIX)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    kept, waiting = bench.runs(), waiting_runs(bench, data)
    waiting += waiting_runs(bench, tmp_path / "tmp")
    assert outcome.code == 1, outcome.text
    assert "PROBLEM: the ledger lacks" in outcome.words
    assert len({run.cell.id for run in (*kept, *waiting)}) == CELLS
    in_several = {run.run_id for run in waiting} - {run.run_id for run in kept}
    assert in_several
    assert bench.run("evals", *MATRIX, "--resume").code == 0
    assert len(ollama.completions()) == CELLS
    assert len(bench.runs()) == CELLS


def test_a_recording_on_a_full_disk_ends_and_the_session_goes_on(
    bench: Project, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "4k"):
        recorded = tmp_path / "disk" / "recorded.jsonl"
        outcome = bench.run("evals", *MATRIX, "--record", str(recorded))
        assert outcome.code == 1, outcome.text
        assert f"{CELLS} passed" in outcome.counts
        assert f"PROBLEM: --record {recorded}: ends before " in outcome.words
        assert "No space left on device" in outcome.words
        assert f"{CELLS} cells pending" in outcome.words  # the board came all the same
    assert len(bench.runs()) == CELLS
