from __future__ import annotations

import errno
import io
import json
import os
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.recording import Recording
from pytest_tipbench.records import Outcome
from tests.unit.board_samples import a_run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_line_is_there_as_soon_as_its_completion_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    recording = Recording(path)
    for number, scenario in enumerate(("s01", "s02"), 1):
        recording.add(a_run(scenario=scenario))
        lines = path.read_text(encoding="ascii").splitlines()
        assert len(lines) == number
        assert json.loads(lines[-1])["scenario"] == scenario
    recording.add(a_run(outcome=Outcome.PROVIDER_ERROR))  # it has none
    recording.close()
    recording.close()
    assert len(path.read_text(encoding="ascii").splitlines()) == 2
    assert recording.problem is None


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("mine", encoding="ascii")
    with pytest.raises(UserMistakeError, match="exists and is not overwritten"):
        Recording(path)
    assert path.read_text(encoding="ascii") == "mine"


@pytest.mark.parametrize("name", ["file/out.jsonl", "nul\0.jsonl"])
def test_where_none_can_be_made_it_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(UserMistakeError, match="cannot be written: "):
        Recording(tmp_path / name)


class FullDisk(io.StringIO):
    """A file on a disk that takes one line; what it did not take it tries again when closed."""

    def flush(self) -> None:
        if self.getvalue().count("\n") > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.flush()


def test_a_full_disk_ends_it_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk()
    monkeypatch.setattr("pathlib.Path.open", lambda *_arguments, **_options: disk)
    recording = Recording(tmp_path / "out.jsonl")
    recording.add(a_run(scenario="s01"))
    assert recording.problem is None
    recording.add(a_run(scenario="s02"))
    problem = recording.problem
    assert problem is not None
    assert "ends before small:1b-v1-s02: No space left on device" in problem
    assert "the ledger has every completion" in problem
    written = disk.getvalue()
    recording.add(a_run(scenario="s03"))
    recording.close()
    assert (recording.problem, disk.getvalue()) == (problem, written)
