from __future__ import annotations

from pathlib import Path

from pytest_tipbench.options import OPTIONS
from pytest_tipbench.options_reference import reference_page

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_page_in_the_docs_is_the_options_as_they_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), (
        "python -m pytest_tipbench.options_reference > docs/reference.md"
    )


def test_every_option_has_its_row_with_five_cells() -> None:
    rows = [line for line in reference_page().splitlines() if line.startswith("| `--")]
    assert len(rows) == len(OPTIONS)
    assert all(row.replace("\\|", "").count("|") == 6 for row in rows)
