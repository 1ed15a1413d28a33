from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.sheets import free_sheet_name

if TYPE_CHECKING:
    from pathlib import Path


def test_a_sheet_gets_the_first_name_that_nobody_works_under(tmp_path: Path) -> None:
    assert free_sheet_name(tmp_path) == "scores.json"
    (tmp_path / "scores.json").write_text("{}", encoding="utf-8")
    assert free_sheet_name(tmp_path) == "scores-2.json"
    (tmp_path / "scores-2.json").mkdir()
    assert free_sheet_name(tmp_path) == "scores-3.json"
