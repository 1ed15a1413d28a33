from __future__ import annotations

import math
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_records import Board, BoardRow
from pytest_tipbench.board_rows import build_row, cell_scores, newest_judgements, tip_scores
from pytest_tipbench.estimates import Interval, least_significant_difference
from pytest_tipbench.judgement_records import Criterion, Judgement, Rubric
from pytest_tipbench.records import Outcome, RunRecord, SamplingOptions, from_json, to_json
from tests.unit.board_samples import (
    OTHER_RUBRIC,
    RUBRIC,
    SIX,
    TWELVE,
    a_matrix,
    a_run,
    a_scenario,
    judged,
    judged_alike,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def board_of(
    runs: Sequence[RunRecord], judgements: Sequence[Judgement] = (), *, diversity: bool = False
) -> Board:
    return build_board(runs, judgements, RUBRIC, diversity=diversity)


def only_row(board: Board) -> BoardRow:
    (row,) = board.rows
    return row


def labels(rows: Sequence[BoardRow]) -> list[str]:
    return [row.label for row in rows]


class TestScores:
    def test_of_a_cell_are_the_means_of_its_tips(self) -> None:
        run = a_run()
        board = board_of([run], judged(run, (4, 2), (5, 3)))

        row = only_row(board)
        # relevance (4 + 5) / 2, tone (2 + 3) / 2, weights 3 : 1
        assert row.criterion_means == {"relevance": 4.5, "tone": 2.5}
        assert row.composite == (3 * 4.5 + 2.5) / 4
        assert row.scenario_composites == {"s01": 4.0}
        assert row.scenario_criteria == {"s01": {"relevance": 4.5, "tone": 2.5}}

    def test_missing_tips_have_the_rubrics_score(self) -> None:
        run = a_run(outcome=Outcome.SHORT, n_tips=3)

        row = only_row(board_of([run], judged(run, (4, 5))))

        # one tip of three: relevance (4 + 1 + 1) / 3, tone (5 + 1 + 1) / 3
        assert row.criterion_means == pytest.approx({"relevance": 2, "tone": 7 / 3})

    @pytest.mark.parametrize("outcome", [Outcome.EMPTY, Outcome.MALFORMED, Outcome.REFUSED])
    def test_of_a_cell_without_a_tip_are_there_at_once(self, outcome: Outcome) -> None:
        row = only_row(board_of([a_run(outcome=outcome)]))

        assert (row.composite, row.judged_cells, row.pending_cells) == (1.0, 1, 0)

    def test_of_several_judges_are_averaged_tip_by_tip(self) -> None:
        run = a_run()
        anna = judged(run, 5, 3, judge="anna")
        ben = judged(run, 2, judge="ben")  # of the first tip only

        board = board_of([run], [*anna, *ben])

        # first tip (5 + 2) / 2, second 3
        assert only_row(board).composite == (3.5 + 3) / 2
        assert board.judges == ("anna", "ben")

    def test_of_a_judge_who_scored_again_are_the_newer_ones(self) -> None:
        run = a_run()
        early, late = judged(run, 1, 1, minutes=1), judged(run, 5, 5, minutes=2)

        assert only_row(board_of([run], early + late)).composite == 5
        assert only_row(board_of([run], late + early)).composite == 5
        assert newest_judgements([*early, *late]) == tuple(late)

    def test_of_repeats_are_averaged_inside_the_scenario(self) -> None:
        once = a_run(scenario="s01")
        thrice = [a_run(scenario="s02", repeat=repeat) for repeat in (1, 2, 3)]
        judgements = judged_alike([once], 4) + judged_alike(thrice, 2)

        row = only_row(board_of([once, *thrice], judgements))

        # by scenario (4 + 2) / 2; by cell it would be 2.5
        assert row.composite == 3
        assert (row.cells, row.judged_cells) == (4, 4)

    def test_belong_to_the_tip_wherever_it_is_made(self) -> None:
        early = a_run("other:1b", tips=["Drink some water", "Breathe out"])
        late = a_run(tips=["Drink some water", "Breathe out"])

        board = board_of([early, late], judged(early, 4, 4))

        assert [row.composite for row in board.rows] == [4, 4]
        assert board.pending_tips == 0

    def test_stay_with_the_scenario_they_were_given_in(self) -> None:
        here = a_run(scenario="s01", tips=["Drink some water", "Breathe out"])
        there = a_run(scenario="s02", tips=["Drink some water", "Breathe out"])

        board = board_of([here, there], judged(here, 4, 4))

        assert (board.pending_cells, board.pending_tips) == (1, 2)

    def test_that_leave_a_criterion_out_score_nothing(self) -> None:
        run = a_run()
        (first, second) = judged(run, 4, 4)
        partial = second.model_copy(update={"scores": {"relevance": 4}})

        assert only_row(board_of([run], [first, partial])).pending_cells == 1

    def test_of_an_unmeasured_cell_are_none(self) -> None:
        assert cell_scores(a_run(outcome=Outcome.TIMEOUT), {}, RUBRIC) is None

    def test_of_a_cell_half_judged_are_none(self) -> None:
        run = a_run()
        scores = tip_scores(judged(run, 4), RUBRIC.criterion_names)

        assert cell_scores(run, scores, RUBRIC) is None

    def test_follow_whatever_criteria_the_rubric_has(self) -> None:
        rubric = Rubric(
            version="own",
            scale=(0, 10),
            missing_tip_score=0,
            criteria=(Criterion(name="brevity", weight=1),),
            text="Short is good.",
        )
        run = a_run(rubric=rubric)
        judgements = judged(run, 7, 7, rubric=rubric)

        board = build_board([run], judgements, rubric)

        assert only_row(board).criterion_means == {"brevity": 7}
        assert (board.criteria, board.scale) == (("brevity",), (0, 10))


class TestPending:
    def test_cell_with_an_unscored_tip_does_not_count(self) -> None:
        whole, half = a_run(scenario="s01"), a_run(scenario="s02")

        row = only_row(board_of([whole, half], judged(whole, 4, 4) + judged(half, 1)))

        assert row.composite == 4
        assert (row.judged_cells, row.pending_cells, row.pending_tips) == (1, 1, 1)

    def test_tips_are_counted_once_over_rows(self) -> None:
        one = a_run("one:1b", tips=["Drink some water", "Breathe out"])
        other = a_run("other:1b", tips=["Drink some water", "Stand up now"])

        board = board_of([one, other])

        assert (board.pending_cells, board.pending_tips) == (2, 3)

    def test_repeat_is_left_out_of_its_scenarios_mean(self) -> None:
        first, second = a_run(repeat=1), a_run(repeat=2)

        row = only_row(board_of([first, second], judged(first, 4, 4)))

        assert (row.composite, row.judged_cells, row.pending_cells) == (4, 1, 1)

    def test_failures_alone_do_not_score_a_row_nobody_has_judged(self) -> None:
        failed = a_run(scenario="s01", outcome=Outcome.EMPTY)
        waiting = a_run(scenario="s02")

        row = only_row(board_of([failed, waiting]))

        assert row.composite is None
        assert (row.judged_cells, row.pending_cells) == (1, 1)
        assert row.usable_rate == 0.5

    def test_failures_alone_do_not_score_a_scenario_nobody_has_judged(self) -> None:
        failed, waiting = a_run(repeat=1, outcome=Outcome.EMPTY), a_run(repeat=2)
        elsewhere = a_run(scenario="s02")

        row = only_row(board_of([failed, waiting, elsewhere], judged(elsewhere, 4, 4)))

        assert row.scenario_composites == {"s02": 4}

    def test_failures_count_beside_judged_cells(self) -> None:
        failed = a_run(scenario="s01", outcome=Outcome.EMPTY)
        seen, waiting = a_run(scenario="s02"), a_run(scenario="s03")

        board = board_of([failed, seen, waiting], judged(seen, 5, 5))

        assert only_row(board).composite == 3
        assert any("lean low" in notice for notice in board.notices)


class TestRow:
    def test_counts_measured_cells_only(self) -> None:
        runs = [
            a_run(scenario="s01", latency_seconds=1),
            a_run(scenario="s02", outcome=Outcome.MALFORMED, latency_seconds=3),
            a_run(scenario="s03", outcome=Outcome.TIMEOUT),
            a_run(scenario="s04", outcome=Outcome.PROVIDER_ERROR),
        ]

        board = board_of(runs)

        row = only_row(board)
        assert (row.cells, row.measured_cells, row.unmeasured_cells) == (4, 2, 2)
        assert row.usable_rate == 0.5
        assert row.median_latency_seconds == 2
        assert row.measured_scenarios == ("s01", "s02")
        assert row.outcomes[Outcome.TIMEOUT] == 1
        assert (
            "not measured, and counted against nobody: 1 timeout, 1 provider_error; "
            "--resume runs them again"
        ) in board.notices

    def test_with_nothing_measured_knows_nothing(self) -> None:
        row = only_row(board_of([a_run(outcome=Outcome.TIMEOUT)]))

        assert row.unranked_because == "nothing was measured (1 timeout)"
        assert row.usable_rate is None
        assert row.composite is None
        assert row.median_latency_seconds is None
        assert row.p95_latency_seconds is None
        assert row.tokens_per_second is None
        assert row.resident_bytes is None
        assert row.worst_scenario_composite is None

    def test_p95_is_the_nearest_rank(self) -> None:
        runs = [a_run(scenario=f"x{second:02}", latency_seconds=second) for second in range(1, 21)]

        row = only_row(board_of(runs))

        assert (row.median_latency_seconds, row.p95_latency_seconds) == (10.5, 19)

    def test_speed_is_a_median_and_memory_a_maximum(self) -> None:
        runs = [
            a_run(scenario="s01", tokens_per_second=10, resident_bytes=300),
            a_run(scenario="s02", tokens_per_second=90, resident_bytes=500),
            a_run(scenario="s03", tokens_per_second=20, resident_bytes=400),
            a_run(scenario="s04", tokens_per_second=None),
        ]

        row = only_row(board_of(runs))

        assert (row.tokens_per_second, row.resident_bytes) == (20, 500)
        assert row.resident_vram_bytes is None

    def test_interval_is_over_scenarios(self) -> None:
        runs, judgements = a_matrix({("m", "v1"): [(5, 5), (5, 4), (4, 4)]})

        row = only_row(board_of(runs, judgements))

        # scenario means 5, 4.5, 4: s = 0.5, t(0.975; 2) = 4.3027
        half = 4.3027 * 0.5 / math.sqrt(3)
        assert row.composite == 4.5
        assert row.composite_low == pytest.approx(4.5 - half, abs=1e-4)
        assert row.composite_high == pytest.approx(4.5 + half, abs=1e-4)
        assert row.criteria["tone"].high == pytest.approx(4.5 + half, abs=1e-4)
        assert row.worst_scenario_composite == 4

    def test_with_one_scenario_has_no_interval_and_says_so(self) -> None:
        run = a_run()

        board = board_of([run], judged(run, 4, 4))

        row = only_row(board)
        assert (row.composite, row.composite_low, row.composite_high) == (4, None, None)
        assert row.criteria["tone"] == Interval(mean=4, low=None, high=None, scenarios=1)
        assert "no interval with one judged scenario: small:1b × v1" in board.notices

    def test_knows_what_it_is_made_of(self) -> None:
        late, early = a_run(scenario="s01", minutes=5), a_run(scenario="s02", minutes=1)

        row = only_row(board_of([late, early]))

        assert row.run_ids == (early.run_id, late.run_id)
        assert row.last_finished_at == late.finished_at
        assert row.configuration_sha256 == late.configuration_sha256
        assert (row.model_digest, row.n_tips) == ("digest-a", 2)

    def test_needs_a_run(self) -> None:
        with pytest.raises(ValueError, match="at least one run"):
            build_row([], {}, RUBRIC, diversity=False)

    def test_is_one_for_a_model_spelt_in_two_ways(self) -> None:
        short = a_run("qwen:1b", name="qwen:1b", scenario="s01", minutes=1)
        full = a_run("ollama/qwen:1b", name="qwen:1b", scenario="s02", minutes=2)

        row = only_row(board_of([short, full]))

        assert row.model == "ollama/qwen:1b"
        assert row.cells == 2


class TestDiversity:
    def test_is_left_out_unless_asked_for(self) -> None:
        assert only_row(board_of([a_run(diversity={"distinct_2": 0.5})])).diversity == {}

    def test_is_averaged_inside_the_scenario_first(self) -> None:
        runs = [
            a_run(scenario="s01", repeat=1, diversity={"distinct_2": 0.2}),
            a_run(scenario="s01", repeat=2, diversity={"distinct_2": 0.4}),
            a_run(scenario="s02", diversity={"distinct_2": 0.9}),
        ]

        row = only_row(board_of(runs, diversity=True))

        assert row.diversity["distinct_2"] == pytest.approx((0.3 + 0.9) / 2)

    def test_is_computed_where_the_cells_ran_without(self) -> None:
        runs = [
            a_run(scenario="s01", tips=["walk the dog now", "walk the dog now, please"]),
            a_run(scenario="s02", tips=["open a window wide", "call your old friend"]),
        ]

        row = only_row(board_of(runs, diversity=True))

        # bigrams: s01 has walk-the, the-dog, dog-now twice and now-please: 4 of 7; s02 6 of 6
        assert row.diversity["distinct_2"] == pytest.approx((4 / 7 + 1) / 2)
        assert 0 < row.diversity["self_similarity"] < 1
        assert 0 < row.diversity["specificity"] < 1

    def test_specificity_falls_where_everyone_is_told_the_same(self) -> None:
        same = [a_run(scenario=name, tips=["Drink some water"], n_tips=1) for name in SIX]
        told = ["Walk to the sea", "Ring your aunt", "Fix that bike", "Buy figs", "Nap", "Sing out"]
        own = [
            a_run("own:1b", scenario=name, tips=[tip], n_tips=1)
            for name, tip in zip(SIX, told, strict=True)
        ]

        board = board_of([*same, *own], diversity=True)

        specificity = {row.model: row.diversity["specificity"] for row in board.rows}
        assert specificity["small:1b"] == pytest.approx(0)
        assert specificity["own:1b"] > 0.5

    def test_has_no_specificity_with_one_scenario(self) -> None:
        assert "specificity" not in only_row(board_of([a_run()], diversity=True)).diversity


class TestTiers:
    def test_are_tukeys_over_the_shared_scenarios(self) -> None:
        generator = random.Random(3)
        scores = {
            (model, "v1"): [(base + generator.randint(0, 1), base) for _ in TWELVE]
            for model, base in {"a": 4, "b": 4, "c": 2}.items()
        }
        runs, judgements = a_matrix(scores)

        board = board_of(runs, judgements)

        expected = least_significant_difference(
            [[statistics.fmean(pair) for pair in pairs] for pairs in scores.values()]
        )
        assert board.least_significant_difference == pytest.approx(expected)
        assert 0 < expected < 1
        assert {row.model: row.tier for row in board.ranked} == {"a": 1, "b": 1, "c": 2}
        assert board.ranked[-1].model == "c"
        assert board.shared_scenarios == TWELVE

    def test_of_rows_that_all_score_alike_are_one(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 3)] * 6 for m in "abc"})

        board = board_of(runs, judgements)

        assert [row.tier for row in board.ranked] == [1, 1, 1]
        assert board.least_significant_difference == 0
        assert labels(board.ranked) == ["a × v1", "b × v1", "c × v1"]

    def test_of_one_row_alone_is_the_first(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 4)] * 3})

        board = board_of(runs, judgements)

        assert only_row(board).tier == 1
        assert board.least_significant_difference is None
        assert (board.models, board.prompts, board.pair) == (None, None, None)

    @pytest.mark.parametrize("shared", [1, 2])
    def test_are_withheld_with_fewer_than_three_scenarios(self, shared: int) -> None:
        runs, judgements = a_matrix(
            {("a", "v1"): [(3, 4)] * shared, ("b", "v1"): [(5, 5)] * shared}
        )

        board = board_of(runs, judgements)

        assert labels(board.ranked) == ["b × v1", "a × v1"]
        assert [row.tier for row in board.ranked] == [None, None]
        assert board.least_significant_difference is None
        assert board.pair is None
        noun = "scenario" if shared == 1 else "scenarios"
        assert board.notices[0] == (
            f"no tiers: {shared} {noun} judged in all ranked rows, "
            "and 3 are needed to tell rows apart"
        )

    def test_of_partly_judged_rows_use_what_is_judged_in_all(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 4)] * 6, ("b", "v1"): [(5, 5)] * 4})
        unjudged = [a_run("b", "v1", scenario) for scenario in ("s05", "s06")]

        board = board_of([*runs, *unjudged], judgements)

        assert board.shared_scenarios == ("s01", "s02", "s03", "s04")
        assert {row.label: row.tier for row in board.ranked} == {"b × v1": 1, "a × v1": 2}
        assert any(notice.startswith("tiers compare the 4 scenarios") for notice in board.notices)

    def test_rank_by_the_shared_scenarios_not_by_a_rows_own(self) -> None:
        # On the four shared scenarios a has 3, b 4; the two that only a is judged in lift a's
        # composite to (4 · 3 + 2 · 5) / 6 = 3.67, which does not lift it over b.
        runs, judgements = a_matrix(
            {("a", "v1"): [(3, 3)] * 4 + [(5, 5)] * 2, ("b", "v1"): [(4, 4)] * 3 + [(3, 3)]}
        )
        unjudged = [a_run("b", "v1", scenario) for scenario in ("s05", "s06")]

        board = board_of([*runs, *unjudged], judgements)

        assert labels(board.ranked) == ["b × v1", "a × v1"]
        assert [row.shared_composite for row in board.ranked] == [3.75, 3]
        assert board.ranked[1].composite == pytest.approx(22 / 6)

    def test_of_sixty_rows(self) -> None:
        generator = random.Random(60)
        runs, judgements = a_matrix(
            {
                (f"m{model:02}", f"v{prompt}"): [
                    (generator.randint(2, 4), generator.randint(2, 4)) for _ in TWELVE
                ]
                for model in range(20)
                for prompt in range(3)
            }
        )

        board = board_of(runs, judgements)

        assert len(board.ranked) == 60
        assert board.least_significant_difference is not None
        means = [row.shared_composite or 0 for row in board.ranked]
        assert means == sorted(means, reverse=True)
        assert board.models is not None
        assert len(board.models.groups) == 20


class TestUnranked:
    def test_row_lacks_what_the_others_have(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 4)] * 6 for m in "abc"})
        timed_out = [
            run.model_copy(update={"outcome": Outcome.TIMEOUT, "tips": (), "completion": None})
            if run.cell.model.text == "c" and run.cell.scenario in ("s02", "s05")
            else run
            for run in runs
        ]

        board = board_of(timed_out, judgements)

        assert labels(board.ranked) == ["a × v1", "b × v1"]
        (row,) = board.unranked
        assert row.lacks == ("s02", "s05")
        assert row.unranked_because == "lacks 2 of 6 scenarios (s02, s05)"
        assert row.tier is None
        assert row.composite == 3.5
        assert board.shared_scenarios == SIX

    def test_many_lacking_scenarios_are_named_in_part(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 4)] * 12, ("b", "v1"): [(3, 4)]})

        (row,) = board_of(runs, judgements).unranked

        assert row.unranked_because == (
            "lacks 11 of 12 scenarios (s02, s03, s04, s05, s06, s07 and 5 more)"
        )

    def test_rows_without_a_common_scenario_are_not_compared(self) -> None:
        here = [a_run("a", "v1", scenario) for scenario in SIX[:3]]
        there = [a_run("b", "v1", scenario) for scenario in SIX[3:]]

        board = board_of([*here, *there], judged_alike([*here, *there], 4))

        assert board.ranked == ()
        assert {row.model: row.lacks for row in board.unranked} == {"a": SIX[3:], "b": SIX[:3]}
        assert [row.composite for row in board.unranked] == [4, 4]
        assert board.least_significant_difference is None

    def test_one_rows_extra_scenario_is_asked_of_nobody(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 4)] * 3 for m in "abc"})
        extra = a_run("a", "v1", "s99")

        board = board_of([*runs, extra], judgements + judged(extra, 5, 5))

        assert len(board.ranked) == 3
        assert board.shared_scenarios == ("s01", "s02", "s03")

    def test_row_that_nobody_has_judged_takes_no_tiers_from_the_others(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 4)] * 6 for m in "ab"})
        new = [a_run("c", "v1", scenario) for scenario in SIX]

        board = board_of([*runs, *new], judgements)

        assert [row.tier for row in board.ranked] == [1, 1]
        assert board.unranked[0].unranked_because == "not judged yet"
        assert (board.pending_cells, board.pending_tips) == (6, 12)

    def test_row_judged_in_two_scenarios_takes_no_tiers_from_the_others(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 4)] * 6 for m in "ab"})
        new = [a_run("c", "v1", scenario) for scenario in SIX]

        board = board_of([*runs, *new], judgements + judged_alike(new[:2], 5))

        assert [row.tier for row in board.ranked] == [1, 1]
        assert board.unranked[0].unranked_because == "judged in 2 scenarios so far"
        assert board.unranked[0].composite == 5

    def test_row_without_tips_does_not_lead_a_board_that_waits(self) -> None:
        failed = [a_run("floor", "v1", scenario, outcome=Outcome.EMPTY) for scenario in SIX]
        waiting = [a_run("a", "v1", scenario) for scenario in SIX]

        board = board_of([*failed, *waiting])

        assert board.ranked == ()
        assert labels(board.unranked) == ["a × v1", "floor × v1"]
        assert board.unranked[1].unranked_because == (
            "no tips to judge, and the other rows are not judged yet"
        )

    def test_row_without_tips_is_ranked_with_judged_ones(self) -> None:
        failed = [a_run("floor", "v1", scenario, outcome=Outcome.EMPTY) for scenario in SIX]
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 6})

        board = board_of([*failed, *runs], judgements)

        assert {row.model: row.tier for row in board.ranked} == {"a": 1, "floor": 2}

    def test_rows_are_ordered_by_what_is_known_of_them(self) -> None:
        slow = a_run("slow", latency_seconds=9)
        fast = a_run("fast", latency_seconds=1)
        broken = a_run("broken", outcome=Outcome.EMPTY)
        absent = a_run("absent", outcome=Outcome.TIMEOUT)

        board = board_of([absent, broken, slow, fast])

        assert [row.model for row in board.unranked] == ["fast", "slow", "broken", "absent"]


class TestComparisons:
    def test_of_models_average_over_prompts_and_of_prompts_over_models(self) -> None:
        runs, judgements = a_matrix(
            {
                ("a", "v1"): [(5, 5), (5, 5), (5, 5), (5, 4)],
                ("a", "v2"): [(3, 3), (3, 3), (3, 3), (3, 4)],
                ("b", "v1"): [(4, 4), (4, 4), (4, 4), (4, 4)],
                ("b", "v2"): [(2, 2), (2, 2), (2, 2), (2, 2)],
            }
        )

        board = board_of(runs, judgements)

        assert board.models is not None
        # a: (4.875 + 3.125) / 2, in every scenario 4; b: 3 in every scenario: no noise at all
        assert [(g.name, g.composite, g.tier) for g in board.models.groups] == [
            ("a", 4, 1),
            ("b", 3, 2),
        ]
        assert board.models.averaged_over == ("v1", "v2")
        assert board.models.least_significant_difference == 0
        assert board.prompts is not None
        assert [group.name for group in board.prompts.groups] == ["v1", "v2"]
        by_scenario = [[4.5, 4.5, 4.5, 4.25], [2.5, 2.5, 2.5, 2.75]]
        assert board.prompts.least_significant_difference == pytest.approx(
            least_significant_difference(by_scenario)
        )

    def test_use_only_what_all_of_them_have(self) -> None:
        runs, judgements = a_matrix(
            {("a", "v1"): [(3, 4)] * 3, ("a", "v2"): [(5, 5)] * 3, ("b", "v1"): [(3, 3)] * 3}
        )

        board = board_of(runs, judgements)

        assert board.models is not None
        assert board.models.averaged_over == ("v1",)
        assert board.prompts is not None
        assert board.prompts.averaged_over == ("a",)

    def test_are_left_out_where_nothing_is_common_and_said(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 4)] * 3, ("b", "v2"): [(5, 5)] * 3})

        board = board_of(runs, judgements)

        assert (board.models, board.prompts) == (None, None)
        assert "models are not compared: no prompt is ranked with all of them" in board.notices
        assert "prompts are not compared: no model is ranked with all of them" in board.notices

    def test_two_rows_are_paired_by_scenario(self) -> None:
        runs, judgements = a_matrix(
            {
                ("a", "v1"): [(5, 5), (4, 4), (5, 4), (5, 5), (4, 5)],
                ("b", "v1"): [(4, 4), (4, 4), (3, 4), (4, 4), (3, 4)],
            }
        )

        board = board_of(runs, judgements)

        assert board.pair is not None
        # differences 1, 0, 1, 1, 1: only +1 +1 +1 +1 and its mirror reach 4, of 16 ways
        assert board.pair.mean == pytest.approx(0.8)
        assert board.pair.sign_flip_p == 2 / 16
        assert board.pair.scenarios == 5

    def test_three_rows_are_no_pair(self) -> None:
        runs, judgements = a_matrix({(m, "v1"): [(3, 4)] * 3 for m in "abc"})

        assert board_of(runs, judgements).pair is None


class TestOlderConfigurations:
    @pytest.mark.parametrize(
        ("older", "reason"),
        [
            ({"prompt_text": "Give old tips."}, "the prompt's text changed"),
            (
                {"digest": "0123456789ab…"},
                "the model's digest changed from 0123456789ab to digest-a",
            ),
            ({"n_tips": 3}, "n_tips changed from 3 to 2"),
            (
                {"sampling": SamplingOptions(temperature=0.2, num_ctx=1_048_576)},
                "temperature changed from 0.2 to 0.7, num_ctx changed from 1048576 to 4096",
            ),
        ],
    )
    def test_are_listed_apart_with_the_reason(self, older: dict[str, object], reason: str) -> None:
        samples = [a_run(scenario=name, minutes=1, **older) for name in SIX]  # type: ignore[arg-type]  # one of the sample's options
        was = [
            run.model_copy(update={"tips": tuple(f"older {tip}" for tip in run.tips)})
            for run in samples
        ]
        now = [a_run(scenario=name, minutes=2) for name in SIX[:4]]

        board = board_of([*was, *now], judged_alike(was, 2) + judged_alike(now, 4))

        row = only_row(board)
        assert (row.composite, row.cells) == (4, 4)
        (apart,) = board.older_rows
        assert apart.reason == reason
        assert (apart.row.composite, apart.row.cells) == (2, 6)
        assert board.pending_cells == 0

    def test_newest_is_by_finish_whatever_the_order(self) -> None:
        now, was = a_run(digest="new", minutes=2), a_run(digest="old", minutes=1)

        board = board_of([now, was])

        assert only_row(board).model_digest == "new"
        assert [older.row.model_digest for older in board.older_rows] == ["old"]

    def test_do_not_count_as_pending(self) -> None:
        board = board_of([a_run(digest="old", minutes=1), a_run(digest="new", minutes=2)])

        assert (board.pending_cells, board.pending_tips) == (1, 2)

    def test_prompt_that_changed_for_one_model_is_not_compared(self) -> None:
        was = [a_run("a", "v1", name, prompt_text="Old.", minutes=1) for name in SIX]
        now = [a_run("b", "v1", name, prompt_text="New.", minutes=2) for name in SIX]

        board = board_of([*was, *now], judged_alike([*was, *now], 4))

        assert labels(board.ranked) == ["b × v1"]
        (row,) = board.unranked
        assert row.label == "a × v1"
        assert row.unranked_because == "made with an older text of prompt v1"
        assert board.older_rows == ()

    def test_rows_that_differ_in_settings_are_compared_and_said(self) -> None:
        warm = a_run("a", sampling=SamplingOptions(temperature=1.0))
        many = a_run("b", n_tips=5)

        notices = board_of([warm, many]).notices

        assert "rows differ in n_tips (2, 5) and are compared all the same" in notices
        assert "rows differ in temperature (0.7, 1.0) and are compared all the same" in notices


class TestJudgesOfRows:
    """Rows are compared whoever judged them; where that was not the same people, it is said."""

    def two_rows(self) -> tuple[list[RunRecord], list[RunRecord]]:
        return [a_run("a", scenario=s) for s in SIX], [a_run("b", scenario=s) for s in SIX]

    def said(self, board: Board) -> list[str]:
        return [notice for notice in board.notices if "judges' own" in notice]

    def test_that_differ_are_named(self) -> None:
        ours, theirs = self.two_rows()

        board = board_of(
            [*ours, *theirs],
            [*judged_alike(ours, 4, judge="ada"), *judged_alike(theirs, 2, judge="bob")],
        )

        assert [row.tier for row in board.ranked] == [1, 2]
        (said,) = self.said(board)
        assert said == (
            "judged by ada in a × v1, by bob in b × v1: "
            "a difference between these rows may be the judges' own"
        )

    def test_that_are_more_in_one_row_are_named(self) -> None:
        ours, theirs = self.two_rows()
        both = judged_alike([*ours, *theirs], 3, judge="ada")

        board = board_of([*ours, *theirs], [*both, *judged(theirs[0], 5, judge="bob")])

        (said,) = self.said(board)
        assert said == (
            "judged by ada, bob in b × v1, by ada in a × v1: "
            "a difference between these rows may be the judges' own"
        )

    def test_that_share_the_scenarios_out_are_the_same_in_all_rows(self) -> None:
        ours, theirs = self.two_rows()
        early, late = [*ours[:3], *theirs[:3]], [*ours[3:], *theirs[3:]]

        board = board_of(
            [*early, *late],
            [*judged_alike(early, 4, judge="ada"), *judged_alike(late, 4, judge="bob")],
        )

        assert self.said(board) == []

    def test_count_only_where_their_scores_do(self) -> None:
        ours, theirs = self.two_rows()
        both = judged_alike([*ours, *theirs[:5]], 3, judge="ada")
        # Nothing of these counts: of a cell that is still pending; with a criterion left out;
        # under another rubric; of a tip that no row has, as an anchor is.
        (pending,) = judged(theirs[5], 5, judge="bob")
        (partial, _) = judged(theirs[0], 5, 5, judge="bob")
        partial = partial.model_copy(update={"scores": {"relevance": 5}})
        elsewhere = judged(theirs[1], 5, 5, judge="bob", rubric=OTHER_RUBRIC)
        anchors = judged(a_run("anchors", scenario="s01"), 5, 5, judge="bob")

        board = board_of([*ours, *theirs], [*both, pending, partial, *elsewhere, *anchors])

        assert len(board.ranked) == 2
        assert self.said(board) == []

    def test_of_a_row_that_needed_none_are_not_asked_for(self) -> None:
        ours, _ = self.two_rows()
        floor = [a_run("floor", scenario=s, outcome=Outcome.EMPTY) for s in SIX]

        board = board_of([*ours, *floor], judged_alike(ours, 4, judge="ada"))

        assert len(board.ranked) == 2
        assert self.said(board) == []

    def test_of_a_row_that_is_not_ranked_do_not_matter(self) -> None:
        ours, theirs = self.two_rows()
        there = judged_alike(theirs[:2], 2, judge="bob")

        board = board_of([*ours, *theirs], [*judged_alike(ours, 4, judge="ada"), *there])

        assert labels(board.unranked) == ["b × v1"]
        assert self.said(board) == []


class TestUndescribedRuns:
    def test_join_the_configuration_that_agrees(self) -> None:
        whole = a_run(scenario="s01", minutes=1)
        lost = a_run(scenario="s02", digest=None, outcome=Outcome.MISSING, minutes=2)

        board = board_of([whole, lost])

        row = only_row(board)
        assert (row.cells, row.unmeasured_cells, row.model_digest) == (2, 1, "digest-a")
        assert row.configuration_sha256 == whole.configuration_sha256
        assert board.older_rows == ()

    def test_do_not_replace_a_cell_that_is_there(self) -> None:
        whole = a_run(minutes=1)
        lost = a_run(digest=None, outcome=Outcome.MISSING, minutes=2)

        row = only_row(board_of([whole, lost]))

        assert (row.cells, row.unmeasured_cells) == (1, 0)

    def test_of_another_configuration_stand_for_themselves(self) -> None:
        whole = a_run(minutes=1)
        lost = a_run(n_tips=9, digest=None, outcome=Outcome.MISSING, minutes=2)
        lost_too = a_run(scenario="s02", n_tips=9, digest=None, outcome=Outcome.MISSING, minutes=3)

        board = board_of([whole, lost, lost_too])

        row = only_row(board)
        assert (row.cells, row.model_digest) == (2, None)
        assert [older.reason for older in board.older_rows] == [
            "the model could not be described, n_tips changed from 2 to 9"
        ]


class TestChangedScenarios:
    def test_count_in_their_newest_content(self) -> None:
        was = a_run("a", scenario="s01", task="Old task", minutes=1)
        now = a_run("b", scenario="s01", task="New task", minutes=2)
        rest = [a_run(model, scenario="s02", minutes=1) for model in "ab"]

        board = board_of([was, now, *rest], judged_alike([was, now, *rest], 4))

        assert board.scenarios["s01"] == a_scenario("s01", "New task").sha256
        rows = {row.model: row for row in board.rows}
        assert (rows["a"].cells, rows["b"].cells) == (1, 2)
        assert rows["a"].lacks == ("s01",)
        assert "1 cell left out, made on an older text of s01" in board.notices

    def test_leave_a_row_of_nothing_else_apart(self) -> None:
        was = a_run("a", task="Old task", minutes=1)
        now = a_run("b", task="New task", minutes=2)

        board = board_of([was, now], judged_alike([was, now], 4))

        assert labels(board.rows) == ["b × v1"]
        assert [(older.row.label, older.reason) for older in board.older_rows] == [
            ("a × v1", "its scenarios' texts have changed since")
        ]

    def test_are_not_mixed_in_an_older_row_either(self) -> None:
        old = [
            a_run(digest="old", task="First", minutes=1),
            a_run(digest="old", task="Second", minutes=2),
        ]
        new = a_run(digest="new", task="Third", minutes=3)

        board = board_of([*old, new])

        (older,) = board.older_rows
        assert older.row.run_ids == (old[1].run_id,)


class TestOtherRubrics:
    def test_scores_are_kept_apart_and_said(self) -> None:
        run = a_run(rubric=OTHER_RUBRIC)
        judgements = judged(run, (5, 3), (3, 3), rubric=OTHER_RUBRIC)

        board = board_of([run], judgements)

        assert only_row(board).composite is None
        assert board.judges == ()
        (other,) = board.other_rubrics
        assert (other.model, other.prompt_version) == ("small:1b", "v1")
        assert (other.rubric_version, other.rubric_sha256) == ("tip-v1", OTHER_RUBRIC.sha256)
        assert (other.judged_cells, other.cells_only_judged_there) == (1, 1)
        assert other.criterion_means == {"relevance": 4, "tone": 3}
        assert (
            f"1 cell judged only under another rubric (tip-v1, {OTHER_RUBRIC.sha256[:12]}): "
            "those scores are kept and not mixed in"
        ) in board.notices

    def test_are_quiet_where_all_is_judged_anew(self) -> None:
        run = a_run()

        board = board_of([run], judged(run, 5, 5, rubric=OTHER_RUBRIC) + judged(run, 2, 2))

        assert only_row(board).composite == 2
        (other,) = board.other_rubrics
        assert (other.cells_only_judged_there, other.rubric_version) == (0, None)
        assert not any("another rubric" in notice for notice in board.notices)

    def test_several_judges_of_one_tip_are_averaged_first(self) -> None:
        run = a_run()
        judgements = [
            *judged(run, 5, 1, judge="anna", rubric=OTHER_RUBRIC),
            *judged(run, 3, judge="ben", rubric=OTHER_RUBRIC),
        ]

        (other,) = board_of([run], judgements).other_rubrics

        # first tip (5 + 3) / 2, second 1
        assert other.criterion_means["tone"] == (4 + 1) / 2

    def test_of_tips_that_are_not_on_the_board_are_not_shown(self) -> None:
        gone = a_run(tips=["Another tip entirely", "And one more of them"])

        board = board_of([a_run()], judged(gone, 5, 5, rubric=OTHER_RUBRIC))

        assert board.other_rubrics == ()


class TestBoard:
    def test_is_empty_without_runs(self) -> None:
        board = board_of([])

        assert board.rows == ()
        assert (board.experiment, board.notices, board.scenarios) == ("", (), {})
        assert board.pending_cells == 0

    def test_survives_json(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 4)] * 3, ("b", "v1"): [(5, 5)] * 3})

        board = board_of([*runs, a_run("a\ud800", outcome=Outcome.TIMEOUT)], judgements)

        assert from_json(Board, to_json(board)) == board

    def test_names_models_of_others_in_memory(self) -> None:
        board = board_of([a_run(foreign_models=("llama:70b",))])

        assert (
            "1 cell ran beside models of others in memory: their latency and speed may suffer"
        ) in board.notices

    def test_is_the_same_whatever_the_order_of_judgements(self) -> None:
        generator = random.Random(5)
        runs, judgements = a_matrix(
            {
                (m, p): [(generator.randint(1, 5), 3) for _ in SIX]
                for m in "ab"
                for p in ("v1", "v2")
            }
        )
        shuffled = generator.sample(judgements, len(judgements))

        assert board_of(runs, shuffled) == board_of(runs, judgements)

    @pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.EMPTY])
    def test_with_nothing_judged_does_not_load_the_statistics(self, outcome: Outcome) -> None:
        program = f"""
import sys
from tests.unit.board_samples import RUBRIC, SIX, a_run
from pytest_tipbench.board import build_board
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.terminal import board_lines
runs = [a_run("floor", scenario=name, outcome=Outcome({outcome.value!r})) for name in SIX]
runs += [a_run("a", scenario=name) for name in SIX]
board = build_board(runs, [], RUBRIC)
assert board_lines(board, width=80, ascii_only=False)
assert not {{"scipy", "numpy", "pytest", "httpx"}} & set(sys.modules)
"""
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
