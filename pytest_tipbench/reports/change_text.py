"""Owns how a change since a baseline is written, for a terminal and in print; imports nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tipbench.estimates import PairedDifference


def signed(difference: float | None) -> str:
    """Return the difference with its sign; what rounds to nothing has none, and so is seen."""
    if difference is None:
        return "-"
    return f"{difference:+.2f}" if round(difference, 2) else "0.00"


def with_interval(difference: PairedDifference | None) -> str:
    """Return the mean difference ± half of its 95 % interval."""
    if difference is None or difference.high is None:
        return "-"
    return f"{signed(difference.mean)} ±{difference.high - difference.mean:.2f}"


def p_value(difference: PairedDifference | None) -> str:
    """Return the p of the sign-flip test, which is never 0."""
    if difference is None:
        return "-"
    return f"{difference.sign_flip_p:.3f}" if difference.sign_flip_p >= 0.001 else "<0.001"


def in_print(text: str) -> str:
    """Return the text with a true minus sign and, for what is not known, a dash."""
    return "–" if text == "-" else text.replace("-", "−")
