from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.gates import baseline_verdicts
from pytest_tipbench.reports.terminal import board_lines
from pytest_tipbench.reports.terminal_baseline import comparison_lines
from tests.unit.board_samples import RUBRIC, TWELVE, a_matrix, a_run, judged_alike
from tests.unit.report_samples import MODELS, TIP_RUBRIC, lifelike_change

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from pytest_tipbench.board_baseline import BaselineComparison

ALL_MODELS = tuple(MODELS)


def lines_of(
    comparison: BaselineComparison,
    width: int = 80,
    *,
    ascii_only: bool = False,
    verbose: bool = False,
) -> list[str]:
    return comparison_lines(comparison, width=width, ascii_only=ascii_only, verbose=verbose)


def changed(
    after: dict[tuple[str, str], list[tuple[int, int]]],
    before: dict[tuple[str, str], list[tuple[int, int]]],
) -> BaselineComparison:
    boards = [build_board(*a_matrix(scores), RUBRIC) for scores in (after, before)]
    return compare_with_baseline(boards[0], boards[1])


def table_under(lines: list[str], header: str) -> list[list[str]]:
    """The words of a table's lines, from its header to the next empty line."""
    (start,) = [place for place, line in enumerate(lines) if line.split()[:1] == [header]]
    rows: list[list[str]] = []
    for line in lines[start:]:
        if not line:
            break
        rows.append(line.split())
    return rows


class TestSnapshots:
    def test_under_a_board(self, snapshot: SnapshotAssertion) -> None:
        made = lifelike_change()

        lines = board_lines(
            build_board(made.runs, made.judgements, TIP_RUBRIC),
            width=80,
            ascii_only=False,
            verdicts=baseline_verdicts(made.comparison, 0.0),
            comparison=made.comparison,
        )

        assert "\n".join(lines) == snapshot

    def test_of_many_rows(self, snapshot: SnapshotAssertion) -> None:
        comparison = lifelike_change(scenarios=14, models=ALL_MODELS).comparison

        assert "\n".join(lines_of(comparison)) == snapshot

    def test_of_many_rows_with_all_changes(self, snapshot: SnapshotAssertion) -> None:
        comparison = lifelike_change(scenarios=14, models=ALL_MODELS).comparison

        assert "\n".join(lines_of(comparison, verbose=True)) == snapshot

    def test_of_one_row(self, snapshot: SnapshotAssertion) -> None:
        comparison = changed(
            {("a:1b", "v1"): [(3, 3), (3, 3), (3, 4), (3, 3), (2, 2)]},
            {("a:1b", "v1"): [(4, 4), (3, 4), (4, 5), (4, 4), (3, 3)]},
        )

        assert "\n".join(lines_of(comparison)) == snapshot

    def test_in_ascii(self, snapshot: SnapshotAssertion) -> None:
        assert "\n".join(lines_of(lifelike_change().comparison, ascii_only=True)) == snapshot


class TestRows:
    def test_have_their_change_with_its_interval_and_p(self) -> None:
        comparison = changed(
            {("a", "v1"): [(3, 3), (3, 3), (3, 4), (3, 3), (2, 2)], ("b", "v1"): [(4, 4)] * 5},
            {("a", "v1"): [(4, 4), (3, 4), (4, 5), (4, 4), (3, 3)], ("b", "v1"): [(4, 4)] * 5},
        )

        lines = lines_of(comparison)

        assert lines[0].startswith(
            "compared with tip-bench, after − before by scenario: 1 row fell"
        )
        # changes −1, −0.5, −1, −1, −1: mean −0.9, half of the interval 2.7764 · 0.2236 / √5 = 0.28,
        # p = 2 / 2⁵
        assert table_under(lines, "model")[2:] == [
            ["A", "b", "v1", "4.00", "4.00", "0.00", "±0.00", "1.000", "5"],
            ["B", "a", "v1", "3.80", "2.90", "-0.90", "±0.28", "0.062", "5"],
        ]

    def test_keep_the_letters_of_their_places_on_the_board(self) -> None:
        runs = [a_run(model, scenario=name) for model in "abc" for name in TWELVE[:3]]
        judgements = judged_alike(runs, 3)
        board = build_board(runs, judgements, RUBRIC)
        baseline = build_board(
            [run for run in runs if run.cell.model.text != "b"], judgements, RUBRIC
        )

        rows = table_under(lines_of(compare_with_baseline(board, baseline)), "model")

        assert [row[:2] for row in rows[2:]] == [["A", "a"], ["C", "c"]]

    def test_without_enough_pairs_have_a_dash(self) -> None:
        comparison = changed({("a", "v1"): [(4, 4)] * 2}, {("a", "v1"): [(3, 3)] * 2})

        lines = lines_of(comparison)

        assert table_under(lines, "model")[2] == ["a", "v1", "3.00", "4.00", "-", "-", "2"]
        assert "2 paired scenarios, and 3 are needed to compare the mean: a × v1" in lines
        # what each scenario did is told all the same
        assert table_under(lines, "scenario")[2:] == [
            ["s01", "3.00", "4.00", "+1.00"],
            ["s02", "3.00", "4.00", "+1.00"],
        ]

    def test_that_nothing_can_be_compared_with_are_named(self) -> None:
        lines = lines_of(changed({("a", "v1"): [(4, 4)] * 3}, {("b", "v1"): [(4, 4)] * 3}))

        assert lines == [
            "compared with tip-bench, after − before by scenario: no row can be compared",
            "not in tip-bench: a × v1",
            "only in tip-bench: b × v1",
        ]

    def test_without_any_pair_have_no_table_of_scenarios(self) -> None:
        after, before = ([a_run(task=task)] for task in ("New", "Old"))
        comparison = compare_with_baseline(
            build_board(after, judged_alike(after, 4), RUBRIC),
            build_board(before, judged_alike(before, 4), RUBRIC),
        )

        lines = lines_of(comparison)

        assert table_under(lines, "model")[2] == ["small:1b", "v1", "-", "-", "-", "-", "0"]
        assert not any(line.startswith("scenario") for line in lines)
        assert "not paired, another text in the baseline: s01" in lines


class TestScenarios:
    def test_have_a_column_for_each_row_and_their_mean(self) -> None:
        comparison = changed(
            {("a", "v1"): [(4, 4), (5, 5), (4, 4)], ("b", "v1"): [(2, 2), (1, 2), (3, 3)]},
            {("a", "v1"): [(4, 4), (3, 3), (3, 3)], ("b", "v1"): [(2, 2)] * 3},
        )

        assert table_under(lines_of(comparison), "scenario") == [
            ["scenario", "A", "B", "mean"],
            ["--------", "-----", "-----", "-----"],
            ["s01", "0.00", "0.00", "0.00"],
            ["s02", "+2.00", "-0.50", "+0.75"],
            ["s03", "+1.00", "+1.00", "+1.00"],
        ]

    def test_of_too_many_rows_have_their_extremes_and_all_with_v(self) -> None:
        models = [f"m{number:02}" for number in range(1, 13)]
        before = {(model, "v1"): [(3, 3)] * 3 for model in models}
        # In s01 the sixth row falls by 2 and the last rises by 1; elsewhere nothing changes.
        after = {name: [(3, 3), *scores[1:]] for name, scores in before.items()}
        after["m06", "v1"][0] = (1, 1)
        after["m12", "v1"][0] = (4, 4)
        comparison = changed(after, before)

        brief, whole = lines_of(comparison), lines_of(comparison, verbose=True)

        # m12 leads the board and m06 is its last; mean (1 − 2) / 12
        assert table_under(brief, "scenario")[:3] == [
            ["scenario", "mean", "lowest", "highest"],
            ["--------", "-----", "-------", "-------"],
            ["s01", "-0.08", "-2.00", "L", "+1.00", "A"],
        ]
        assert brief[-1] == "the change of every row in every scenario (12 rows): -v"
        assert brief[-1] not in whole
        headers = [line.split()[1:] for line in whole if line.startswith("scenario")]
        assert headers == [[*"ABCDEFGHIJ"], ["K", "L", "mean"]]
        values = [line.split()[1:] for line in whole if line.startswith("s01")]
        assert values[0] == ["+1.00", *["0.00"] * 9]
        assert values[1] == ["0.00", "-2.00", "-0.08"]

    def test_fit_one_table_where_the_terminal_is_wide(self) -> None:
        comparison = lifelike_change(scenarios=4, models=ALL_MODELS).comparison

        lines = lines_of(comparison, 200)

        (header,) = [line for line in lines if line.startswith("scenario")]
        assert len(header.split()) == 1 + len(comparison.compared) + 1
        assert not any(line.endswith(": -v") for line in lines)


class TestWidth:
    @pytest.mark.parametrize("ascii_only", [False, True])
    @pytest.mark.parametrize("verbose", [False, True])
    @pytest.mark.parametrize("width", [40, 60, 80, 120])
    def test_no_line_is_longer(self, width: int, verbose: bool, ascii_only: bool) -> None:
        one = changed({("a", "v1"): [(4, 4)] * 3}, {("a", "v1"): [(3, 4)] * 3})
        for comparison in (one, lifelike_change(scenarios=5, models=ALL_MODELS).comparison):
            lines = lines_of(comparison, width, ascii_only=ascii_only, verbose=verbose)
            assert max(map(len, lines)) <= width
            assert all(line.isascii() for line in lines) or not ascii_only

    def test_what_is_left_out_is_said(self) -> None:
        lines = " ".join(lines_of(lifelike_change().comparison, 40))

        assert "left out at 40 columns: pairs, before,   after, sign-flip p" in lines


def test_odd_names_are_shown_as_text() -> None:
    odd = "bad\x1b]0;title\x07\n\u202e模\ud800"
    runs = [a_run(model, "v\x1b1", f"{odd}{n}") for model in (odd, "b") for n in range(3)]
    board = build_board(runs, judged_alike(runs, 3), RUBRIC)
    baseline = board.model_copy(update={"experiment": odd, "judges": (odd,)})

    for verbose in (False, True):
        lines = lines_of(compare_with_baseline(board, baseline), 120, verbose=verbose)
        assert all(line.isprintable() for line in lines)
        "\n".join(lines).encode("utf-8")
        assert any("bad\\x1b]0;title\\x07\\n\\u202e模\\ud800" in line for line in lines)
