"""Owns what a board supports, said in sentences; imports the board's records, computes no score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_tipbench.board_notices import counted_noun, listed
from pytest_tipbench.board_records import Group

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_tipbench.board_records import Board, Comparison

_ROUNDING = 1e-9
"""As for the tiers: means of a few integers that differ by less are the same."""
_NAMES_SHOWN = 3


def headline(board: Board) -> str:
    """Return the one sentence to take away; it claims no more than the board's statistics do.

    "Beats" is said only of rows further apart than the least significant difference, "cannot be
    told apart" of rows that are not.
    """
    if not board.rows:
        return "There is no finished run on this board."
    if not board.ranked:
        return _unranked(board)
    said = _ranked(board)
    return f"So far, {said}" if board.pending_cells else said


def findings(board: Board) -> tuple[str, ...]:
    """Return what the board supports beyond its headline, one sentence each."""
    return tuple(_findings(board))


def _unranked(board: Board) -> str:
    if board.pending_cells:
        cells = counted_noun(board.pending_cells, "cell")
        tips = counted_noun(board.pending_tips, "tip")
        return f"Nothing can be ranked yet: {cells} ({tips}) to be judged."
    return "No row can be ranked; each says why."


def _ranked(board: Board) -> str:
    first = board.ranked[0]
    if len(board.ranked) == 1:
        low, high = first.composite_low, first.composite_high
        interval = "" if low is None or high is None else f" (95 %: {low:.2f} to {high:.2f})"
        return f"{first.label} scores {first.composite or 0:.2f}{interval}; no other row is ranked."
    difference = board.least_significant_difference
    if difference is None:
        shared = counted_noun(len(board.shared_scenarios), "scenario")
        return (
            f"{len(board.ranked)} rows are judged, but share only {shared}: "
            "too few to tell them apart."
        )
    rows = [
        Group(name=row.label, composite=row.shared_composite or 0, tier=row.tier or 0)
        for row in board.ranked
    ]
    return f"{_told_apart(rows, difference, 'rows')}."


def _findings(board: Board) -> Iterator[str]:
    difference = board.least_significant_difference
    if difference is not None:
        shared = counted_noun(len(board.shared_scenarios), "scenario")
        yield (
            f"Rows less than {difference:.2f} apart cannot be told apart "
            f"(Tukey's least significant difference, 95 %, {shared})."
        )
    # With one prompt the models are the rows, and have been compared as such.
    if board.models and len({row.prompt_version for row in board.ranked}) > 1:
        yield _on_groups("Models", "models", board.models)
    if board.prompts and len({row.model for row in board.ranked}) > 1:
        yield _on_groups("Prompts", "prompts", board.prompts)
    if board.pair is not None and board.pair.low is not None and board.pair.high is not None:
        first, second = board.ranked
        yield (
            f"{first.label} minus {second.label}, paired by scenario: {_signed(board.pair.mean)} "
            f"(95 %: {_signed(board.pair.low)} to {_signed(board.pair.high)}; "
            f"sign-flip p = {board.pair.sign_flip_p:.3f})."
        )


def _on_groups(title: str, kind: str, comparison: Comparison) -> str:
    said = _told_apart(comparison.groups, comparison.least_significant_difference, kind)
    over = listed(comparison.averaged_over)
    return f"{title}, averaged over {over}: {said}."


def _told_apart(groups: Sequence[Group], difference: float, kind: str) -> str:
    """Say who leads and whom that beats; ``groups`` are at least two, best first."""
    leaders = [group for group in groups if group.tier == 1]
    rest = [group for group in groups if group.tier != 1]
    if not rest:
        return _nobody_told_apart(groups, difference, kind)
    best = leaders[0]
    gap = best.composite - rest[0].composite
    if len(leaders) == 1:
        return f"{best.name} beats {_others(rest, gap, kind)}"
    names = [group.name for group in leaders]
    together = (
        f"{_joined(names)} cannot be told apart"
        if len(names) <= _NAMES_SHOWN
        else f"{len(names)} {kind} ({listed(names, _NAMES_SHOWN)}) lead and cannot be told apart"
    )
    smallest_gap = leaders[-1].composite - rest[0].composite
    if smallest_gap > difference + _ROUNDING:
        all_of_them = "both" if len(leaders) == 2 else f"all {len(leaders)}"
        return f"{together}; {all_of_them} beat {_others(rest, smallest_gap, kind, 'or more')}"
    return f"{together}; the first beats {_others(rest, gap, kind)}"


def _nobody_told_apart(groups: Sequence[Group], difference: float, kind: str) -> str:
    who = _joined([group.name for group in groups]) if len(groups) == 2 else f"{len(groups)} {kind}"
    spread = groups[0].composite - groups[-1].composite
    return (
        f"{who} cannot be told apart: they lie within {spread:.2f}, "
        f"and only more than {difference:.2f} would tell"
    )


def _others(rest: Sequence[Group], gap: float, kind: str, more: str = "") -> str:
    if len(rest) == 1:
        return f"{rest[0].name} by {gap:.2f}{f' {more}' if more else ''}"
    return f"the other {len(rest)} {kind} by {gap:.2f} or more"


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
