from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import LedgerError
from pytest_tipbench.records import to_json
from pytest_tipbench.store import rescue as rescue_module
from pytest_tipbench.store.ledger import Ledger
from pytest_tipbench.store.rescue import rescue, rescue_files, take_back
from tests.unit.store_samples import EXPERIMENT, run

if TYPE_CHECKING:
    from pytest_tipbench.records import RunRecord

ANYTHING = "NUL \0, lone \ud800, \x1b[31m, é\u2028\n"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger's path; the other places where runs may wait lie in the test's own folder."""
    monkeypatch.setattr(rescue_module, "user_data_path", lambda _name: tmp_path / "data")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path / "project" / ".tipbench" / "ledger.db"


def taken_by(ledger: Path) -> tuple[list[RunRecord], tuple[str, ...]]:
    taken: list[RunRecord] = []

    def add_run(record: RunRecord) -> bool:
        is_new = record not in taken
        if is_new:
            taken.append(record)
        return is_new

    return taken, take_back(ledger, add_run)


def blocked(folder: Path) -> None:
    """Put a file where a folder should be."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way", encoding="utf-8")


# --- keeping ----------------------------------------------------------------------------------


def test_the_ledgers_own_folder_comes_first_then_the_users_then_the_temporary_one(
    ledger: Path, tmp_path: Path
) -> None:
    folders = [path.parent for path in rescue_files(ledger)]
    assert folders == [ledger.parent, tmp_path / "data", tmp_path / "tmp"]
    assert len({path.name for path in rescue_files(ledger)}) == 1


def test_each_ledger_has_files_of_its_own(ledger: Path, tmp_path: Path) -> None:
    assert set(rescue_files(ledger)).isdisjoint(rescue_files(tmp_path / "other" / "ledger.db"))


@pytest.mark.skipif(sys.platform == "win32", reason="paths are bytes elsewhere only")
def test_a_ledger_at_any_path_has_files(ledger: Path) -> None:
    assert rescue_files(Path(os.fsdecode(b"/tmp/\xff/ledger.db")))


def test_a_run_goes_to_the_first_folder_that_takes_it(ledger: Path, tmp_path: Path) -> None:
    first, second, third = rescue_files(ledger)
    assert rescue(ledger, run(1)) == first
    blocked(tmp_path / "blocked" / ".tipbench")
    other = tmp_path / "blocked" / ".tipbench" / "ledger.db"
    assert rescue(other, run(1)) == rescue_files(other)[1]
    blocked(tmp_path / "tmp")
    assert second.parent == tmp_path / "data"
    assert third.parent == tmp_path / "tmp"


def test_where_no_folder_takes_it_that_is_said(tmp_path: Path, ledger: Path) -> None:
    for folder in (ledger.parent, tmp_path / "data", tmp_path / "tmp"):
        blocked(folder)
    assert rescue(ledger, run(1)) is None


def test_runs_wait_as_a_line_of_ascii_each(ledger: Path) -> None:
    records = [run(1, error=ANYTHING), run(2, tips=(ANYTHING,))]
    for record in records:
        rescue(ledger, record)
    lines = filter(None, rescue_files(ledger)[0].read_text(encoding="ascii").split("\n"))
    assert [json.loads(line)["run_id"] for line in lines if line] == [
        each.run_id for each in records
    ]


# --- taking back ------------------------------------------------------------------------------


def test_waiting_runs_are_taken_back_and_their_file_goes(ledger: Path) -> None:
    records = [run(1, error=ANYTHING), run(2, tips=(ANYTHING,))]
    for record in records:
        rescue(ledger, record)
    taken, said = taken_by(ledger)
    assert taken == records
    assert not rescue_files(ledger)[0].exists()
    assert said == ("runs that the ledger could not take before and has now: 2",)
    assert taken_by(ledger) == ([], ())


def test_runs_from_all_places_are_taken_back(ledger: Path) -> None:
    for number, path in enumerate(rescue_files(ledger), start=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_json(run(number)) + "\n", encoding="ascii")
    taken, _ = taken_by(ledger)
    assert taken == [run(1), run(2), run(3)]
    assert not any(path.exists() for path in rescue_files(ledger))


def test_with_nothing_waiting_nothing_is_said(ledger: Path) -> None:
    assert taken_by(ledger) == ([], ())


def test_they_really_are_in_the_ledger(ledger: Path) -> None:
    rescue(ledger, run(1))
    with Ledger.open(ledger) as opened:
        assert take_back(ledger, opened.add_run) != ()
        assert opened.runs(EXPERIMENT) == [run(1)]


def test_a_cut_off_last_line_stays_and_the_others_come(ledger: Path) -> None:
    rescue(ledger, run(1))
    path = rescue_files(ledger)[0]
    with path.open("ab") as file:
        file.write(to_json(run(2)).encode()[:100])
    before = path.read_bytes()
    taken, said = taken_by(ledger)
    assert taken == [run(1)]
    assert path.read_bytes() == before
    assert any(str(path) in line and "no whole runs: 1" in line for line in said)


def test_a_run_behind_a_cut_off_line_is_not_lost_with_it(ledger: Path) -> None:
    path = rescue_files(ledger)[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(to_json(run(1)).encode()[:100])  # the disk was full, and then was not
    rescue(ledger, run(2))
    assert taken_by(ledger)[0] == [run(2)]


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\x00", b"{}", b"[]", b'{"run_id": "of a newer release"}', b"\xe2\x80"]
)
def test_a_line_that_is_no_run_stays_byte_for_byte(ledger: Path, line: bytes) -> None:
    path = rescue_files(ledger)[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(line + b"\n")
    taken, said = taken_by(ledger)
    assert taken == []
    assert path.read_bytes() == line + b"\n"
    assert len(said) == 1


def test_what_stays_is_not_announced_as_taken_twice(ledger: Path) -> None:
    path = rescue_files(ledger)[0]
    path.parent.mkdir(parents=True)
    path.write_bytes(to_json(run(1)).encode() + b"\n{")
    with Ledger.open(ledger) as opened:
        assert len(take_back(ledger, opened.add_run)) == 2
        assert len(take_back(ledger, opened.add_run)) == 1


def test_a_ledger_that_still_fails_leaves_every_file(ledger: Path) -> None:
    rescue(ledger, run(1))

    def full(_record: RunRecord) -> bool:
        raise LedgerError("disk full")

    with pytest.raises(LedgerError):
        take_back(ledger, full)
    assert taken_by(ledger)[0] == [run(1)]


def test_a_place_that_cannot_be_read_is_said_and_stops_nobody(ledger: Path) -> None:
    first, second, _ = rescue_files(ledger)
    first.mkdir(parents=True)  # reading a folder fails on every system
    second.parent.mkdir(parents=True)
    second.write_text(to_json(run(1)), encoding="ascii")
    taken, said = taken_by(ledger)
    assert taken == [run(1)]
    assert any(str(first) in line for line in said)


def test_a_file_that_cannot_be_removed_changes_nothing(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescue(ledger, run(1))

    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise PermissionError("somebody else's folder")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        assert taken_by(ledger)[0] == [run(1)]
    assert taken_by(ledger)[0] == [run(1)]
