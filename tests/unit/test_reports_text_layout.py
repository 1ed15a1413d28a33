from __future__ import annotations

import pytest

from pytest_tipbench.reports.text_layout import (
    Column,
    copyable_lines,
    fitted_table,
    number,
    shortened,
    text_width,
    wrapped,
)

NAMES = Column("name", ["short", "a-rather-long-name"], "left")
SCORE = Column("score", ["1.00", "-"], drop_rank=2, name="the score", short_header="sc.")
COUNT = Column("count", ["12", "3"], drop_rank=1)


def table(width: int, *columns: Column) -> tuple[list[str], list[str]]:
    return fitted_table(columns, width, ascii_only=False)


def test_a_table_has_a_rule_under_its_headers_and_numbers_to_the_right() -> None:
    lines, left_out = table(80, NAMES, SCORE, COUNT)

    assert lines == [
        "name                score  count",
        "------------------  -----  -----",
        "short                1.00     12",
        "a-rather-long-name      -      3",
    ]
    assert left_out == []


@pytest.mark.parametrize(
    ("width", "header", "left_out"),
    [
        (32, "name                score  count", []),
        (31, "name                 sc.  count", []),
        (30, "name                 sc.", ["count"]),
        (23, "name", ["count", "the score"]),
    ],
)
def test_it_gets_narrower_by_headers_then_by_columns(
    width: int, header: str, left_out: list[str]
) -> None:
    lines, gone = table(width, NAMES, SCORE, COUNT)

    assert (lines[0], gone) == (header, left_out)


def test_names_are_cut_in_their_middle_at_last() -> None:
    lines, _ = table(12, NAMES)

    assert lines[-1] == "a-rath…-name"
    assert fitted_table([NAMES], 12, ascii_only=True)[0][-1] == "a-rat...name"


def test_no_line_holds_what_would_disturb_a_terminal() -> None:
    (*_, line), _ = table(80, Column("x", ["red\x1b[31m\n模"], "left"))

    assert line == "red\\x1b[31m\\n模"


def test_a_table_counts_columns_and_not_letters() -> None:
    lines, _ = table(80, Column("name", ["模型 🙂", "ab"], "left"), Column("n", ["1", "10"]))

    assert lines == [
        "name      n",
        "-------  --",
        "模型 🙂   1",
        "ab       10",
    ]


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("abc", 3), ("±é", 2), ("模型", 4), ("🙂", 2), ("e\u0301", 1)]
)
def test_wide_letters_take_two_columns_and_marks_none(text: str, columns: int) -> None:
    assert text_width(text) == columns


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abc…fg"),
        ("", 3, ""),
        ("模型模型", 7, "模…型"),  # each side has room for three columns
    ],
)
def test_a_short_form_keeps_both_ends(text: str, limit: int, shown: str) -> None:
    assert shortened(text, limit, ascii_only=False) == shown


def test_sentences_are_wrapped_and_go_on_indented() -> None:
    said = ["one two three", "± four"]

    assert [*wrapped(said, 8, ascii_only=False)] == ["one two", "  three", "± four"]
    assert [*wrapped(said[1:], 8, ascii_only=True)] == ["+/- four"]


def test_names_are_not_broken_at_their_hyphens_unless_they_are_wider_than_the_line() -> None:
    assert [*wrapped(["see a-long-name"], 12, ascii_only=False)] == [
        "see",
        "  a-long-nam",
        "  e",
    ]


def test_sentences_keep_the_letters_of_every_script() -> None:
    said = ["judged by 美咲 and שלום\u202e"]

    assert [*wrapped(said, 20, ascii_only=False)] == ["judged by 美咲 and", "  שלום\\u202e"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("next: pytest --judge-export x", ["next: pytest --judge-export x"]),
        (
            "2 tips to score: pytest --judge-export x",
            ["2 tips to score:", "  pytest --judge-export x"],
        ),
        (
            "12 tips are waiting to be scored: pytest --judge-export scores.json --prompts v1",
            [
                "12 tips are waiting to be",
                "  scored:",
                "  pytest --judge-export scores.json --prompts v1",
            ],
        ),
        ("runs: cd 'my files' && mlflow ui --x", ["runs:", "  cd 'my files' && mlflow ui --x"]),
        (
            "  report: /home/somebody/evals/report.html is written",
            ["  report:", "    /home/somebody/evals/report.html", "    is written"],
        ),
    ],
)
def test_commands_and_paths_can_be_copied_whole(text: str, lines: list[str]) -> None:
    assert copyable_lines(text, 30, ascii_only=False) == lines


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0, "0.00"), (1.005, "1.00")])
def test_a_number_that_is_not_known_is_a_dash(value: float | None, shown: str) -> None:
    assert number(value, 2) == shown
