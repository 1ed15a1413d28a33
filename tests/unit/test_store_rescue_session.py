"""What a session does with the runs that its ledger does not take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import LedgerError
from pytest_tipbench.store import rescue as rescue_module
from pytest_tipbench.store.rescue import Rescue, rescue, rescue_files, take_back
from tests.unit.store_samples import run

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_tipbench.records import RunRecord


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rescue_module, "user_data_path", lambda _name: tmp_path / "data")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path / "project" / ".tipbench" / "ledger.db"


def block(*paths: Path) -> None:
    """Let no folder be made there."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("in the way", encoding="utf-8")


class Taker:
    """A ledger that takes everything."""

    def __init__(self) -> None:
        self.taken: list[RunRecord] = []

    def add_run(self, record: RunRecord) -> bool:
        self.taken.append(record)
        return True


def refuse(_record: RunRecord) -> bool:
    raise LedgerError("full")


def test_without_trouble_there_is_nothing_to_say(ledger: Path) -> None:
    kept = Rescue(ledger)
    assert kept.problems() == []
    assert kept.take_back(refuse) == ()


def test_problems_name_the_place_the_reason_and_some_cells(ledger: Path) -> None:
    kept = Rescue(ledger)
    for number in range(5):
        kept.keep(run(number, prompt_version=f"v{number}"), "the disk is full")
    (problem,) = kept.problems()
    assert problem.startswith("the ledger lacks 5 runs (qwen2.5:0.5b-v0-monday, ")
    assert "v2-monday, …), which wait in" in problem
    assert f"{rescue_files(ledger)[0]} for the next session: the disk is full" in problem
    assert "v3" not in problem


def test_what_is_taken_back_is_no_problem_any_more(ledger: Path) -> None:
    kept = Rescue(ledger)
    kept.keep(run(1), "locked")
    with pytest.raises(LedgerError):
        kept.take_back(refuse)
    assert len(kept.problems()) == 1
    taker = Taker()
    (said,) = kept.take_back(taker.add_run)
    assert said.endswith("has now: 1")
    assert taker.taken == [run(1)]
    assert kept.problems() == []
    assert not rescue_files(ledger)[0].exists()


def test_what_no_file_takes_stays_in_memory(ledger: Path, tmp_path: Path) -> None:
    block(ledger.parent, tmp_path / "data", tmp_path / "tmp")
    kept = Rescue(ledger)
    kept.keep(run(1), "full")
    (problem,) = kept.problems()
    assert "could be kept nowhere: full" in problem
    ledger.parent.unlink()  # there is room again
    (tmp_path / "data").unlink()
    (tmp_path / "tmp").unlink()
    taker = Taker()
    assert "has now: 1" in " ".join(kept.take_back(taker.add_run))
    assert taker.taken == [run(1)]
    assert kept.problems() == []


def test_half_a_line_of_a_full_disk_goes_and_the_next_place_has_it_whole(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescue(ledger, run(1))
    first, second, _ = rescue_files(ledger)
    before = first.read_bytes()
    real = os.fsync

    def fails_once(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails_once)
    assert rescue(ledger, run(2)) == second
    assert first.read_bytes() == before
    assert take_back(ledger, lambda _record: True) == (
        "runs that the ledger could not take before and has now: 2",
    )


def test_what_another_session_adds_meanwhile_is_not_removed_unread(ledger: Path) -> None:
    rescue(ledger, run(1))
    taken: list[RunRecord] = []

    def add_run(record: RunRecord) -> bool:
        if not taken:
            rescue(ledger, run(2))
        taken.append(record)
        return True

    take_back(ledger, add_run)
    assert taken == [run(1)]
    take_back(ledger, add_run)
    assert taken == [run(1), run(1), run(2)]
    assert not rescue_files(ledger)[0].exists()
