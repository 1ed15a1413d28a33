from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.records import Outcome, SamplingOptions
from tests.unit.board_samples import RUBRIC, SIX, a_matrix, a_run, judged_alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison, RowChange
    from pytest_tipbench.board_records import Board
    from pytest_tipbench.judgement_records import Judgement
    from pytest_tipbench.records import RunRecord

Scores = tuple[tuple[int, int], ...]
"""The scores of the two tips of s01, s02, …; a scenario's composite is their mean."""

BEFORE: Scores = ((4, 4), (3, 4), (4, 5), (4, 4), (3, 3))
"""Scenario composites 4, 3.5, 4.5, 4, 3: mean 3.8."""
AFTER: Scores = ((3, 3), (3, 3), (3, 4), (3, 3), (2, 2))
"""3, 3, 3.5, 3, 2: mean 2.9; changes −1, −0.5, −1, −1, −1."""


def a_board(
    runs: Sequence[RunRecord], judgements: Sequence[Judgement], experiment: str = "new"
) -> Board:
    board = build_board(runs, judgements, RUBRIC)
    return board.model_copy(update={"experiment": experiment})


def compared(
    after: Mapping[tuple[str, str], Scores], before: Mapping[tuple[str, str], Scores]
) -> BaselineComparison:
    return compare_with_baseline(a_board(*a_matrix(after)), a_board(*a_matrix(before), "old"))


def one_row(after: Scores = AFTER, before: Scores = BEFORE) -> RowChange:
    (row,) = compared({("a", "v1"): after}, {("a", "v1"): before}).rows
    return row


def against(
    after: Sequence[RunRecord],
    before: Sequence[RunRecord],
    unjudged: Sequence[RunRecord] = (),
) -> BaselineComparison:
    """Boards of these runs; all after have score 4 and all before 3, but the ``unjudged``."""

    def without(runs: Sequence[RunRecord]) -> list[RunRecord]:
        return [run for run in runs if run not in unjudged]

    return compare_with_baseline(
        a_board(after, judged_alike(without(after), 4)),
        a_board(before, judged_alike(without(before), 3), "old"),
    )


class TestRow:
    def test_has_its_mean_change_with_interval_and_p(self) -> None:
        row = one_row()

        # s = √(0.2 / 4) = 0.2236, t(0.975; 4) = 2.7764: half of the interval is 0.2776
        assert row.difference is not None
        assert row.difference.mean == pytest.approx(-0.9)
        assert row.difference.low == pytest.approx(-0.9 - 0.2776, abs=1e-4)
        assert row.difference.high == pytest.approx(-0.9 + 0.2776, abs=1e-4)
        # of the 2⁵ ways to give signs, the observed one and its opposite reach the sum
        assert row.difference.sign_flip_p == 2 / 32
        assert row.difference.scenarios == len(row.paired) == 5

    def test_has_composites_that_differ_by_its_change(self) -> None:
        row = one_row()

        assert row.composite_before == pytest.approx(3.8)
        assert row.composite_after == pytest.approx(2.9)

    def test_has_composites_over_the_paired_scenarios_alone(self) -> None:
        row = one_row(after=AFTER, before=BEFORE[:3])

        # before 4, 3.5, 4.5; after 3, 3, 3.5 and not 3 and 2 besides
        assert row.composite_before == pytest.approx(4)
        assert row.composite_after == pytest.approx(9.5 / 3)

    @pytest.mark.parametrize(
        ("after", "direction"),
        [
            (AFTER, "fell"),  # [−1.18, −0.62]
            (((5, 5), (4, 5), (5, 5), (5, 5), (4, 4)), "rose"),  # 1, 1, 0.5, 1, 1
            (((3, 3), (4, 5), (3, 4), (4, 5), (2, 3)), None),  # −1, 1, −1, 0.5, −0.5
            (BEFORE, None),  # [0, 0]
            (((5, 5), (4, 5), (4, 5), (4, 4), (3, 3)), None),  # 1, 1, 0, 0, 0: [−0.28, 1.08]
        ],
    )
    def test_rose_or_fell_where_the_whole_interval_did(
        self, after: Scores, direction: str | None
    ) -> None:
        assert one_row(after).direction == direction

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_of_fewer_than_three_pairs_has_no_mean_change(self, count: int) -> None:
        after = [a_run("a", "v1", name) for name in SIX[:count]]
        after += [a_run("a", "v1", "other") for _ in range(1 - min(count, 1))]

        (row,) = against(after, [a_run("a", "v1", name) for name in SIX]).rows

        assert (row.standing, row.difference, row.direction) == ("compared", None, None)
        assert [change.difference for change in row.paired] == [1] * count
        assert row.composite_before == (3 if count else None)
        assert row.composite_after == (4 if count else None)

    def test_is_new_gone_or_made_with_another_prompt(self) -> None:
        after = [a_run("a", "v1"), a_run("new", "v1"), a_run("a", "v2", prompt_text="New")]
        before = [a_run("gone", "v1"), a_run("a", "v2", prompt_text="Old"), a_run("a", "v1")]

        rows = {row.label: row for row in against(after, before).rows}

        assert {label: row.standing for label, row in rows.items()} == {
            "a × v1": "compared",
            "new × v1": "new",
            "a × v2": "other_prompt",
            "gone × v1": "gone",
        }
        composites = [(row.composite_before, row.composite_after) for row in rows.values()]
        assert sorted(composites, key=str) == [(3, 4), (3, 4), (3, None), (None, 4)]
        alone = [row for row in rows.values() if row.standing != "compared"]
        assert not any(row.scenarios or row.difference for row in alone)

    def test_stands_in_the_boards_order_and_the_gone_ones_last(self) -> None:
        after = {("low", "v1"): AFTER, ("high", "v1"): BEFORE}
        before = {("gone", "v1"): BEFORE, ("low", "v1"): BEFORE, ("high", "v1"): BEFORE}

        labels = [row.label for row in compared(after, before).rows]

        assert labels == ["high × v1", "low × v1", "gone × v1"]

    def test_tells_what_else_differs(self) -> None:
        warm = SamplingOptions(temperature=0.2)
        after = [a_run(scenario=name, sampling=warm, digest="digest-b") for name in SIX]
        before = [a_run(scenario=name, n_tips=3) for name in SIX]

        (row,) = against(after, before).rows

        assert row.configuration_changes == (
            "the model's digest changed from digest-a to digest-b",
            "n_tips changed from 3 to 2",
            "temperature changed from 0.7 to 0.2",
        )
        assert row.difference is not None
        (same,) = against(before, before).rows
        assert same.configuration_changes == ()

    def test_tells_of_a_digest_that_is_not_known(self) -> None:
        after, before = [a_run()], [a_run(digest=None)]

        (row,) = against(after, before).rows

        assert row.configuration_changes == (
            "the model's digest changed from an unknown one to digest-a",
        )


class TestScenario:
    def test_has_its_composites_and_their_difference(self) -> None:
        changes = [
            (change.scenario, change.before, change.after, change.difference)
            for change in one_row().scenarios
        ]

        assert changes == [
            ("s01", 4, 3, -1),
            ("s02", 3.5, 3, -0.5),
            ("s03", 4.5, 3.5, -1),
            ("s04", 4, 3, -1),
            ("s05", 3, 2, -1),
        ]

    def test_is_left_out_for_a_reason(self) -> None:
        timeout = Outcome.TIMEOUT
        after = {
            name: a_run("a", "v1", name, task="New" if name == "text" else "Same")
            for name in ("text", "both", "open", "open there", "open in both", "only here")
        }
        before = {
            name: a_run("a", "v1", name, task="Same", minutes=-9)
            for name in ("text", "both", "open", "open there", "open in both", "only there")
        }
        # Another row has all of these scenarios, so that they are on both boards.
        lost_here = a_run("a", "v1", "lost", outcome=timeout, task="Same")
        kept_there = a_run("a", "v1", "lost", task="Same", minutes=-9)
        lost_in_both = [
            a_run("a", "v1", "lost in both", outcome=timeout, task="Same", minutes=minutes)
            for minutes in (0, -9)
        ]
        open_and_lost = [
            a_run("a", "v1", "open, lost there", task="Same"),
            a_run("a", "v1", "open, lost there", task="Same", outcome=timeout, minutes=-9),
        ]

        (row,) = against(
            [*after.values(), lost_here, lost_in_both[0], open_and_lost[0]],
            [*before.values(), kept_there, lost_in_both[1], open_and_lost[1]],
            unjudged=[
                after["open"],
                before["open there"],
                after["open in both"],
                before["open in both"],
                open_and_lost[0],
            ],
        ).rows

        assert {change.scenario: change.left_out_because for change in row.scenarios} == {
            "text": "another text in the baseline",
            "both": None,
            "open": "not judged here",
            "open there": "not judged in the baseline",
            "open in both": "not judged in either",
            "only here": "absent in the baseline",
            "only there": "absent here",
            "lost": "not measured here",
            "lost in both": "not measured in either",
            "open, lost there": "not judged here, not measured in the baseline",
        }
        differences = {
            change.scenario: change.difference
            for change in row.scenarios
            if change.difference is not None
        }
        assert differences == {"both": 1}
        assert row.changed_texts == ("text",)

    def test_with_another_text_still_has_both_composites(self) -> None:
        after = [a_run(scenario=name, task="New") for name in SIX]

        (row,) = against(after, [a_run(scenario=name) for name in SIX]).rows

        assert {(change.before, change.after) for change in row.scenarios} == {(3, 4)}
        assert not row.paired

    def test_has_a_mean_over_the_rows_that_pair_it(self) -> None:
        comparison = compared(
            {("a", "v1"): AFTER, ("b", "v1"): BEFORE[:4]},
            {("a", "v1"): BEFORE, ("b", "v1"): BEFORE},
        )

        # a −1, −0.5, −1, −1, −1; b 0 four times, and its fifth is not there
        assert comparison.scenario_means == {
            "s01": -0.5,
            "s02": -0.25,
            "s03": -0.5,
            "s04": -0.5,
            "s05": -1,
        }


class TestOutcome:
    def test_counts_rows_by_what_became_of_them(self) -> None:
        rose: Scores = ((5, 5), (4, 5), (5, 5), (5, 5), (4, 4))
        comparison = compared(
            {("a", "v1"): AFTER, ("b", "v1"): BEFORE, ("c", "v1"): rose, ("d", "v1"): rose},
            dict.fromkeys([(name, "v1") for name in "abcd"], BEFORE),
        )

        assert comparison.outcome == (
            "2 rows rose, 1 row fell, 1 row cannot be told apart from before "
            "(95 % interval of each)"
        )

    def test_of_nothing_to_compare_says_so(self) -> None:
        nothing = compared({("a", "v1"): AFTER}, {("b", "v1"): BEFORE})
        too_little = compared({("a", "v1"): AFTER[:2]}, {("a", "v1"): BEFORE})

        assert nothing.outcome == too_little.outcome == "no row can be compared"

    def test_of_empty_boards_has_no_rows(self) -> None:
        comparison = compare_with_baseline(a_board([], []), a_board([], [], ""))

        assert (comparison.rows, comparison.notices) == ((), ())
        assert comparison.name == "the baseline"


class TestNotices:
    def test_tell_which_rows_have_no_counterpart(self) -> None:
        after = [a_run("a", "v1"), a_run("b", "v1"), a_run("a", "v2", prompt_text="New")]
        before = [a_run("c", "v1"), a_run("c", "v3"), a_run("a", "v2", prompt_text="Old")]

        assert set(against(after, before).notices) == {
            "not in old: a × v1, b × v1",
            "prompt v2 has another text in old, not compared: a × v2",
            "only in old: c × v1, c × v3",
        }

    def test_gather_scenarios_that_the_same_rows_lack(self) -> None:
        def runs(model: str, names: Sequence[str], text: str = "Same") -> list[RunRecord]:
            return [a_run(model, "v1", name, task=text) for name in names]

        after = [*runs("a", SIX[:5]), *runs("b", SIX)]
        before = [*runs("a", ("s01", "s03", "s04", "s05", "s06")), *runs("b", SIX)]

        # s02 and s06 each lack in row a alone, for different sides
        assert against(after, before).notices == (
            "not paired, not measured in the baseline: s02 (a × v1)",
            "not paired, not measured here: s06 (a × v1)",
        )
        assert against(runs("a", SIX), runs("a", SIX, "Old")[:2] + runs("a", SIX[2:])).notices == (
            "not paired, another text in the baseline: s01, s02",
        )

    def test_tell_that_too_little_is_paired(self) -> None:
        comparison = compared({("a", "v1"): AFTER[:2]}, {("a", "v1"): BEFORE})

        assert comparison.notices == (
            "2 paired scenarios, and 3 are needed to compare the mean: a × v1",
            "not paired, absent here: s03, s04, s05",
        )

    def test_tell_of_other_judges(self) -> None:
        runs = [a_run(scenario=name) for name in SIX]
        anna, ben = (a_board(runs, judged_alike(runs, 3, judge)) for judge in ("anna", "ben"))
        nobody = a_board(runs, [])

        assert compare_with_baseline(ben, anna).notices == (
            "judged by ben here and by anna in new: a change may be the judges' own",
        )
        assert compare_with_baseline(anna, anna).notices == ()
        assert not any("judged by" in said for said in compare_with_baseline(anna, nobody).notices)

    def test_tell_what_else_differs_once_for_all_rows(self) -> None:
        after = [a_run(model, scenario=name, n_tips=3) for model in "ab" for name in SIX]
        before = [a_run(model, scenario=name) for model in "ab" for name in SIX]

        assert against(after, before).notices == (
            "compared all the same, n_tips changed from 2 to 3: a × v1, b × v1",
        )
