from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tipbench.reports.visible_text import one_line, shortened, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë: 10 × 美咲, née 👩🏽‍🚀", "Zoë: 10 × 美咲, née 👩🏽‍🚀"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("from\r\nWindows", "from\nWindows"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x00", "␀"),
        ("over\rwritten", "over␍written"),
        ("\x7f\x85", "␡[U+0085]"),
        ("a\u202etxt.exe", "a[U+202E]txt.exe"),
        ("\u2066isolated\u2069", "[U+2066]isolated[U+2069]"),
        ("\u200bzero", "[U+200B]zero"),
        ("line\u2028end", "line[U+2028]end"),
        ("\U000e0041tag", "[U+E0041]tag"),
        ("half \ud83d of one", "half [U+D83D] of one"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_what_nobody_would_see_is_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(codec=None, categories=None)))
def test_any_text_can_be_written_as_utf_8_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert visible(shown) == shown


def test_one_line_runs_white_space_together() -> None:
    assert one_line("  one\n\n two\t three ") == "one two three"


@pytest.mark.parametrize(("text", "shown"), [("1234", "1234"), ("12345", "123…"), ("", "")])
def test_shortened_says_that_it_is(text: str, shown: str) -> None:
    assert shortened(text, 4) == shown
