from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from pytest_tipbench import option_types as types


def test_names_are_split_at_commas_and_trimmed() -> None:
    assert types.comma_separated("qwen2.5:0.5b, llama3.2:3b") == ("qwen2.5:0.5b", "llama3.2:3b")


@pytest.mark.parametrize("text", ["", " ", "a,", ",a", "a,,b"])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="names separated by commas"):
        types.comma_separated(text)


def test_numbers() -> None:
    assert types.integer("7") == 7
    assert types.number("0.5") == 0.5
    assert types.at_least(1, types.integer)("1") == 1
    assert types.at_most(9, types.integer)("9") == 9
    assert types.above(0, types.number)("0.1") == 0.1
    assert types.at_least(1, types.at_most(3, types.integer))("2") == 2


@pytest.mark.parametrize("text", ["x", "1.5", ""])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="whole number"):
        types.integer(text)


@pytest.mark.parametrize("text", ["x", "nan", "inf", "-inf", "1e999"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="expected a number"):
        types.number(text)


def test_bounds_name_the_rule() -> None:
    with pytest.raises(ArgumentTypeError, match="must be at least 1, got 0"):
        types.at_least(1, types.integer)("0")
    with pytest.raises(ArgumentTypeError, match="must be at most 9, got 10"):
        types.at_most(9, types.integer)("10")
    with pytest.raises(ArgumentTypeError, match="must be above 0, got 0"):
        types.above(0, types.number)("0")


def test_words_and_suffixes() -> None:
    assert types.one_of("call", "model")("call") == "call"
    with pytest.raises(ArgumentTypeError, match="expected call or model, got 'x'"):
        types.one_of("call", "model")("x")
    assert types.with_suffix(".json", ".html")("A.JSON") == "A.JSON"
    with pytest.raises(ArgumentTypeError, match=r"ending in \.json or \.html"):
        types.with_suffix(".json", ".html")("a.txt")
    assert types.nonempty(" a ") == "a"
    with pytest.raises(ArgumentTypeError, match="empty"):
        types.nonempty("  ")
