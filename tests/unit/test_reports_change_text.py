from __future__ import annotations

import pytest

from pytest_tipbench.estimates import PairedDifference
from pytest_tipbench.reports.change_text import in_print, p_value, signed, with_interval


def a_difference(mean: float, half: float | None, p: float = 0.5) -> PairedDifference:
    low, high = (None, None) if half is None else (mean - half, mean + half)
    return PairedDifference(mean=mean, low=low, high=high, scenarios=5, sign_flip_p=p)


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (0.25, "+0.25"),
        (-1.5, "-1.50"),
        (0, "0.00"),
        (0.004, "0.00"),
        (-0.004, "0.00"),
        (-0.006, "-0.01"),
        (12.345, "+12.35"),
        (None, "-"),
    ],
)
def test_a_difference_has_its_sign_unless_there_is_none(
    difference: float | None, shown: str
) -> None:
    assert signed(difference) == shown


def test_a_mean_stands_with_half_of_its_interval() -> None:
    assert with_interval(a_difference(-0.9, 0.2776)) == "-0.90 ±0.28"
    assert with_interval(a_difference(0, 0)) == "0.00 ±0.00"
    assert with_interval(None) == with_interval(a_difference(1, None)) == "-"


@pytest.mark.parametrize(
    ("p", "shown"), [(1, "1.000"), (0.0625, "0.062"), (0.001, "0.001"), (0.0009, "<0.001")]
)
def test_p_is_never_nothing(p: float, shown: str) -> None:
    assert p_value(a_difference(1, 1, p)) == shown


def test_p_of_nothing_is_a_dash() -> None:
    assert p_value(None) == "-"


@pytest.mark.parametrize(
    ("text", "shown"), [("-0.90 ±0.28", "−0.90 ±0.28"), ("+0.25", "+0.25"), ("-", "–")]
)
def test_print_has_a_minus_sign_of_its_own(text: str, shown: str) -> None:
    assert in_print(text) == shown
