from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.progress import Progress, tip_lines
from pytest_tipbench.records import Outcome
from tests.unit.board_samples import a_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_tipbench.records import RunRecord

LONG = "hf.co/somebody/Some-Model-3B-Instruct-GGUF:Q4_K_M"


def lasting(seconds: float, run: RunRecord | None = None) -> RunRecord:
    run = run or a_run()
    return run.model_copy(update={"started_at": run.finished_at - timedelta(seconds=seconds)})


def told(*runs: RunRecord, total: int = 9, width: int = 100, resumed: bool = False) -> list[str]:
    """Return the lines of the last of these runs."""
    progress = Progress(total)
    lines: list[str] = []
    for run in runs:
        progress.count(run, is_resumed=resumed)
        lines = progress.lines(run, is_resumed=resumed, width=width, ascii_only=False)
    return lines


def test_a_line_names_the_cell_its_outcome_tips_time_and_what_is_left() -> None:
    """Eight cells are left, at two seconds each."""
    assert told(lasting(2)) == ["  small:1b v1 s01: ok, 2/2 tips, 2.0 s, 16 s left"]


@pytest.mark.parametrize(
    ("seconds", "total", "left"),
    [
        ((1, 9, 2), 5, "4 s left"),  # the median, 2 s, for each of two cells
        ((100,), 4, "5 min 00 s left"),
        ((1800,), 6, "2 h 30 min left"),
    ],
)
def test_what_is_left_is_guessed_from_the_median(
    seconds: tuple[float, ...], total: int, left: str
) -> None:
    (line,) = told(*map(lasting, seconds), total=total)
    assert line.endswith(f", {left}")


def test_the_last_cell_leaves_nothing() -> None:
    assert told(lasting(2), total=1) == ["  small:1b v1 s01: ok, 2/2 tips, 2.0 s"]


def test_a_cell_from_the_store_says_so_and_took_no_time() -> None:
    assert told(lasting(2), resumed=True) == ["  small:1b v1 s01: ok, 2/2 tips, from the store"]


def test_a_repeat_is_named_where_there_are_several() -> None:
    run = lasting(2, a_run(repeat=2))
    run = run.model_copy(update={"cell": run.cell.model_copy(update={"repeats": 3})})
    assert told(run, total=1) == ["  small:1b v1 s01 repeat 2: ok, 2/2 tips, 2.0 s"]


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (97, [f"  {LONG} v2-mentor s01: ok, 2/2 tips, 2.0 s, 16 s left"]),
        (70, ["  hf.co/someb…GUF:Q4_K_M v2-mentor s01: ok, 2/2 tips, 2.0 s, 16 s left"]),
        (64, ["  hf.co/so…:Q4_K_M v2-mentor s01: ok, 2/2 tips, 2.0 s, 16 s left"]),
        (
            55,
            [
                f"  {LONG}",
                "    v2-mentor s01: ok, 2/2 tips, 2.0 s, 16 s left",
            ],
        ),
    ],
)
def test_long_names_are_cut_and_where_that_is_not_enough_are_whole_on_lines_of_their_own(
    width: int, lines: list[str]
) -> None:
    assert told(lasting(2, a_run(LONG, "v2-mentor")), width=width) == lines
    assert max(map(len, lines)) <= width


def test_a_wide_letter_counts_two_columns() -> None:
    """22 of the 27 columns are there: 11 before the mark and 10 after it, in whole letters."""
    (line,) = told(lasting(2, a_run("日本語モデル日本語モデル:1b")), total=1, width=52)
    assert line == "  日本語モデ…モデル:1b v1 s01: ok, 2/2 tips, 2.0 s"


# --- tips -------------------------------------------------------------------------------------


def shown(run: RunRecord, width: int = 40, *, ascii_only: bool = False) -> Iterator[str]:
    yield from tip_lines(run, width=width, ascii_only=ascii_only)


def test_tips_are_numbered_and_go_on_under_themselves() -> None:
    run = a_run(tips=("Walk.", "Breathe in, and breathe out again slowly."))
    assert [*shown(run)] == [
        "    1. Walk.",
        "    2. Breathe in, and breathe out again",
        "       slowly.",
    ]


def test_a_tip_without_spaces_is_broken_between_letters() -> None:
    assert [*shown(a_run(tips=("静かに歩く",)), width=13)] == ["    1. 静かに", "       歩く"]


def test_what_could_disturb_the_terminal_is_seen() -> None:
    run = a_run(tips=("a\x1b[2J\n\u202eb 👩\u200d⚕️", "“c” – ü"))
    assert [*shown(run)] == ["    1. a\\x1b[2J\\n\\u202eb 👩\u200d⚕️", "    2. “c” – ü"]
    (*_, last) = shown(run, ascii_only=True)
    assert last == r'    2. "c" - \xfc'


@pytest.mark.parametrize(
    ("outcome", "why"),
    [(Outcome.MALFORMED, "malformed: no usable tip in '…'"), (Outcome.TIMEOUT, "600 s went by")],
)
def test_without_tips_it_says_what_came_instead(outcome: Outcome, why: str) -> None:
    error = why if outcome.is_machine_fault else None
    run = a_run(outcome=outcome).model_copy(update={"error": error})
    assert [*shown(run)] == [f"    {why}"]
