from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.errors import UnknownNameError, UserMistakeError
from pytest_tipbench.gates import (
    Gate,
    Pending,
    Verdict,
    baseline_verdicts,
    evaluate_gates,
    minimum_composite,
    parse_gate,
)
from pytest_tipbench.records import Outcome
from tests.unit.board_samples import RUBRIC, SIX, a_matrix, a_run, judged_alike

if TYPE_CHECKING:
    from pytest_tipbench.board_records import Board
    from pytest_tipbench.judgement_records import Judgement
    from pytest_tipbench.records import RunRecord

CRITERIA = RUBRIC.criterion_names


def a_board(
    runs: list[RunRecord], judgements: list[Judgement] | None = None, *, diversity: bool = False
) -> Board:
    return build_board(runs, judgements or [], RUBRIC, diversity=diversity)


def two_rows() -> Board:
    """Row a has composite 4 in each scenario; row b 3, 3.5 and 4 (relevance and tone alike)."""
    return a_board(*a_matrix({("a", "v1"): [(4, 4)] * 3, ("b", "v1"): [(3, 3), (3, 4), (4, 4)]}))


def verdict(text: str, board: Board, pending: str = "fail") -> Verdict:
    (result,) = evaluate_gates(
        [parse_gate(text, CRITERIA)],
        board,
        pending="ignore" if pending == "ignore" else "fail",
    )
    return result


def verdicts_against(
    board: Board, baseline: Board, max_drop: float, pending: Pending = "fail"
) -> tuple[Verdict, ...]:
    return baseline_verdicts(compare_with_baseline(board, baseline), max_drop, pending=pending)


class TestGrammar:
    @pytest.mark.parametrize(
        ("text", "scope", "metric", "operator", "number"),
        [
            ("composite>=3.5", "every", "composite", ">=", 3.5),
            ("lower:composite>=3.3", "lower", "composite", ">=", 3.3),
            ("best:relevance>=4", "best", "relevance", ">=", 4),
            ("usable_rate>=0.95", "every", "usable_rate", ">=", 0.95),
            ("p95_latency_seconds<=20", "every", "p95_latency_seconds", "<=", 20),
            ("worst_scenario_composite>=2.5", "every", "worst_scenario_composite", ">=", 2.5),
            ("  best : tone > 4.  ", "best", "tone", ">", 4),
            ("resident_bytes < 4e9", "every", "resident_bytes", "<", 4e9),
            ("usable_rate == 1", "every", "usable_rate", "==", 1),
            ("lower:tone>=-.5", "lower", "tone", ">=", -0.5),
        ],
    )
    def test_reads(self, text: str, scope: str, metric: str, operator: str, number: float) -> None:
        gate = parse_gate(text, CRITERIA)

        assert (gate.scope, gate.metric, gate.operator, gate.number) == (
            scope,
            metric,
            operator,
            number,
        )
        assert gate.text == text.strip()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "composite",
            "composite>=",
            "composite>=high",
            "composite=3",
            "composite=>3",
            "composite!=3",
            "composite>=nan",
            "composite>=inf",
            "composite>=3 and tone>=3",
            ">=3",
            "composite>=1e999999",
        ],
    )
    def test_refuses_what_is_not_of_it(self, text: str) -> None:
        with pytest.raises(UserMistakeError, match=r"is not \[best:\|lower:\]METRIC OP NUMBER"):
            parse_gate(text, CRITERIA)

    @pytest.mark.parametrize(
        ("text", "offer"),
        [
            ("relevence>=4", "relevance"),
            ("best:usable>=1", "usable_rate"),
            ("worst:composite>=3", "composite"),
            ("latency<=3", "median_latency_seconds"),
        ],
    )
    def test_offers_the_nearest_metric(self, text: str, offer: str) -> None:
        with pytest.raises(UnknownNameError, match=f"unknown gate metric .*{offer}"):
            parse_gate(text, CRITERIA)

    def test_refuses_a_number_that_no_computer_holds(self) -> None:
        with pytest.raises(UserMistakeError, match="1e999 is too large a number"):
            parse_gate("composite<=1e999", CRITERIA)

    @pytest.mark.parametrize("text", ["best:lower:composite>=3", "lower: best : tone>=3"])
    def test_takes_one_prefix(self, text: str) -> None:
        with pytest.raises(UserMistakeError, match="has two prefixes"):
            parse_gate(text, CRITERIA)

    def test_knows_the_criteria_of_any_rubric(self) -> None:
        assert parse_gate("task fit>=3", ["task fit"]).is_judged
        with pytest.raises(UnknownNameError):
            parse_gate("relevance>=3", ["task fit"])

    def test_has_lower_ends_only_where_there_are_intervals(self) -> None:
        with pytest.raises(UserMistakeError, match=r"interval \(composite, relevance, tone\)"):
            parse_gate("lower:usable_rate>=0.9", CRITERIA)

    def test_tells_what_a_gate_needs(self) -> None:
        assert parse_gate("specificity>=0.4", CRITERIA).needs_diversity
        assert not parse_gate("composite>=3", CRITERIA).needs_diversity
        assert parse_gate("composite>=3", CRITERIA).is_judged
        assert not parse_gate("tokens_per_second>=3", CRITERIA).is_judged

    def test_minimum_composite_is_a_gate_as_any(self) -> None:
        assert minimum_composite(3.5) == parse_gate("composite>=3.5", CRITERIA)


class TestEveryRow:
    def test_passes_where_all_hold_and_names_the_closest(self) -> None:
        result = verdict("composite>=3.5", two_rows())

        assert (result.status, result.fails) == ("PASS", False)
        assert result.line == "PASS composite>=3.5: 2 rows, the closest b × v1 3.50"

    def test_fails_where_one_is_short_and_names_it(self) -> None:
        result = verdict("composite>=3.75", two_rows())

        assert (result.status, result.fails) == ("FAIL", True)
        assert result.line == "FAIL composite>=3.75: 1 of 2 rows short of it: b × v1 3.50"

    @pytest.mark.parametrize(
        ("text", "status"),
        [
            ("relevance>=3.5", "PASS"),
            ("tone>3.5", "FAIL"),
            ("worst_scenario_composite>=3", "PASS"),
            ("worst_scenario_composite>=3.1", "FAIL"),
            ("usable_rate==1", "PASS"),
            ("usable_rate<1", "FAIL"),
            ("median_latency_seconds<=2", "PASS"),
            ("p95_latency_seconds<2", "FAIL"),
            ("tokens_per_second>=50", "PASS"),
        ],
    )
    def test_compares_each_metric(self, text: str, status: str) -> None:
        assert verdict(text, two_rows()).status == status

    def test_lower_takes_the_intervals_end(self) -> None:
        # row b: mean 3.5, s = 0.5, t(0.975; 2) = 4.3027: low end 3.5 − 4.3027 · 0.5 / √3 = 2.258
        assert verdict("lower:composite>=2.25", two_rows()).status == "PASS"
        assert verdict("lower:composite>=2.26", two_rows()).status == "FAIL"
        assert verdict("lower:relevance>=2.26", two_rows()).status == "FAIL"

    def test_a_mean_of_integers_is_not_a_near_miss(self) -> None:
        gate = parse_gate("composite>=0.3", CRITERIA)

        assert gate.holds(0.1 + 0.1 + 0.1)
        assert not gate.holds(0.29999)

    def test_shows_as_many_decimals_as_the_verdict_needs(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 2 + [(3, 3)]})

        # composite 11 / 3 = 3.66667: both 3.67 and 3.667 would seem to hold
        result = verdict("composite>=3.667", a_board(runs, judgements))

        assert result.detail == "1 of 1 row short of it: a × v1 3.6667"

    def test_writes_large_numbers_whole(self) -> None:
        runs = [a_run("a", resident_bytes=806_354_944)]

        assert verdict("resident_bytes<=8e8", a_board(runs)).detail == (
            "1 of 1 row short of it: a × v1 806,354,944"
        )

    @pytest.mark.parametrize("text", ["composite==3.5", "best:composite==4"])
    def test_equality_is_a_condition_too(self, text: str) -> None:
        result = verdict(text, two_rows())

        assert result.status == ("PASS" if text.startswith("best") else "FAIL")


class TestBestRow:
    def test_passes_with_one_row(self) -> None:
        result = verdict("best:composite>=4", two_rows())

        assert result.line == "PASS best:composite>=4: the best of 2 rows is a × v1 4.00"

    def test_fails_with_none(self) -> None:
        result = verdict("best:composite>=4.5", two_rows())

        assert result.line == "FAIL best:composite>=4.5: the best of 2 rows is a × v1 4.00"

    def test_is_the_smallest_where_less_is_better(self) -> None:
        runs = [a_run("slow", latency_seconds=9), a_run("fast", latency_seconds=1)]

        result = verdict("best:median_latency_seconds<=2", a_board(runs))

        assert result.line.endswith("the best of 2 rows is fast × v1 1.00")

    def test_passes_beside_rows_that_wait(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 3})
        waiting = [a_run("b", "v1", name) for name in SIX[:3]]
        board = a_board([*runs, *waiting], judgements)

        assert verdict("best:composite>=4", board).status == "PASS"
        assert verdict("best:composite>=5", board).status == "UNDECIDED"


class TestUndecided:
    def test_with_pending_cells_for_a_judged_metric(self) -> None:
        runs = [a_run("a", "v1", name) for name in SIX]
        board = a_board(runs, judged_alike(runs[:4], 4))

        result = verdict("composite>=3", board)

        assert (result.status, result.fails) == ("UNDECIDED", True)
        assert result.detail == "2 cells pending (a × v1)"

    def test_not_by_pending_cells_for_another_metric(self) -> None:
        assert verdict("usable_rate>=0.9", a_board([a_run()])).status == "PASS"

    def test_not_by_pending_cells_that_are_ignored(self) -> None:
        runs = [a_run("a", "v1", name) for name in SIX]
        board = a_board(runs, judged_alike(runs[:4], 4))

        passed = verdict("composite>=4", board, pending="ignore")
        assert passed.status == "PASS"
        assert passed.detail.endswith("; 2 cells pending and left out")
        failed = verdict("composite>=4.5", board, pending="ignore")
        assert failed.status == "FAIL"
        assert failed.detail.endswith("; 2 cells pending and left out")

    @pytest.mark.parametrize("text", ["best:composite>=4", "composite>=4", "usable_rate>=0.1"])
    def test_by_a_row_made_with_an_older_text_of_its_prompt(self, text: str) -> None:
        older = [a_run("a", "v1", name, prompt_text="Old.", minutes=1) for name in SIX]
        newer = [a_run("b", "v1", name, prompt_text="New.", minutes=2) for name in SIX]
        board = a_board([*older, *newer], judged_alike(older, 5))
        assert [row.has_older_prompt for row in board.rows if row.model == "a"] == [True]

        result = verdict(text, board)

        assert result.status == "UNDECIDED"
        assert "made with an older text of prompt v1 (a × v1)" in result.detail

    def test_with_nothing_judged_even_where_pending_is_ignored(self) -> None:
        failed = a_run("a", "v1", "s01", outcome=Outcome.EMPTY)
        board = a_board([failed, a_run("a", "v1", "s02")])

        result = verdict("composite>=3", board, pending="ignore")

        assert (result.status, result.fails) == ("UNDECIDED", True)
        assert result.detail == "nothing judged (a × v1)"

    @pytest.mark.parametrize("text", ["composite>=3", "usable_rate>=0.5"])
    @pytest.mark.parametrize("pending", ["fail", "ignore"])
    def test_with_unmeasured_cells_for_any_metric(self, text: str, pending: str) -> None:
        whole = a_run("a", "v1", "s01")
        lost = a_run("a", "v1", "s02", outcome=Outcome.PROVIDER_ERROR)
        board = a_board([whole, lost], judged_alike([whole], 4))

        result = verdict(text, board, pending)

        assert (result.status, result.fails) == ("UNDECIDED", True)
        assert result.detail == "1 cell not measured (a × v1)"

    def test_where_a_row_lacks_scenarios_the_others_have(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 3, ("b", "v1"): [(4, 4)] * 2})

        result = verdict("composite>=3", a_board(runs, judgements))

        assert result.detail == "lacks s03 (b × v1)"

    def test_but_a_row_that_is_surely_short_fails(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(2, 2)] * 3})
        waiting = [a_run("b", "v1", name) for name in SIX[:3]]

        result = verdict("composite>=3", a_board([*runs, *waiting], judgements))

        assert result.line == "FAIL composite>=3: 1 of 2 rows short of it: a × v1 2.00"

    def test_groups_rows_by_reason(self) -> None:
        runs = [a_run(model, "v1", "s01") for model in "abcdefgh"]
        lost = a_run("z", "v1", "s01", outcome=Outcome.TIMEOUT)

        result = verdict("composite>=3", a_board([*runs, lost]))

        assert result.detail == (
            "1 cell pending (a × v1, b × v1, c × v1, d × v1, e × v1, f × v1 and 2 more); "
            "1 cell not measured, lacks s01 (z × v1)"
        )

    @pytest.mark.parametrize(
        ("text", "detail"),
        [
            ("specificity>=0.1", "no diversity is known (--diversity) (small:1b × v1)"),
            ("resident_bytes<=1e9", "not known (small:1b × v1)"),
            ("lower:composite>=1", "no interval with one judged scenario (small:1b × v1)"),
            ("best:resident_bytes<=1e9", "not known (small:1b × v1)"),
        ],
    )
    def test_where_the_value_is_not_known(self, text: str, detail: str) -> None:
        run = a_run()

        result = verdict(text, a_board([run], judged_alike([run], 4)))

        assert (result.status, result.detail) == ("UNDECIDED", detail)

    def test_specificity_of_one_scenario_is_not_known(self) -> None:
        board = a_board([a_run()], diversity=True)

        assert verdict("specificity>=0", board).detail == "not known (small:1b × v1)"
        assert verdict("distinct_2>=0", board).status == "PASS"

    def test_without_rows(self) -> None:
        result = verdict("usable_rate>=0", a_board([]))

        assert (result.status, result.detail) == ("UNDECIDED", "the board has no rows")

    def test_every_gate_has_its_verdict(self) -> None:
        gates = [parse_gate("composite>=3", CRITERIA), minimum_composite(5)]

        verdicts = evaluate_gates(gates, two_rows(), pending="fail")

        assert [(v.name, v.status) for v in verdicts] == [
            ("composite>=3", "PASS"),
            ("composite>=5", "FAIL"),
        ]


class TestBaseline:
    BEFORE = ((4, 4), (3, 4), (4, 5), (4, 4), (3, 3))
    """Scenario composites 4, 3.5, 4.5, 4, 3."""

    def boards(
        self, *now: tuple[int, int], before: tuple[tuple[int, int], ...] = BEFORE
    ) -> tuple[Board, Board]:
        return (
            a_board(*a_matrix({("a", "v1"): now})),
            a_board(*a_matrix({("a", "v1"): before})),
        )

    def test_passes_where_nothing_changed(self) -> None:
        board, baseline = self.boards(*self.BEFORE)

        (result,) = verdicts_against(board, baseline, 0.0)

        assert result.line == (
            "PASS change from tip-bench, a × v1: +0.00 [+0.00, +0.00], sign-flip p = 1.000, "
            "5 scenarios, a drop of 0 is allowed"
        )

    def test_fails_only_where_the_whole_interval_is_below(self) -> None:
        # changes −1, −0.5, −1, −1, −1: mean −0.9, s = √(0.2 / 4) = 0.2236, t(0.975; 4) = 2.7764,
        # half-width 0.2776: [−1.18, −0.62]
        board, baseline = self.boards((3, 3), (3, 3), (3, 4), (3, 3), (2, 2))

        assert verdicts_against(board, baseline, 0.6)[0].status == "FAIL"
        assert verdicts_against(board, baseline, 0.7)[0].status == "PASS"
        assert "-0.90 [-1.18, -0.62]" in verdicts_against(board, baseline, 0.0)[0].detail

    def test_noise_does_not_flip_it(self) -> None:
        # changes −1, +1, −1, +0.5, −0.5 have mean −0.2 and an interval far across zero
        board, baseline = self.boards((3, 3), (4, 5), (3, 4), (4, 5), (2, 3))

        assert verdicts_against(board, baseline, 0.0)[0].status == "PASS"

    def test_a_drop_of_exactly_what_is_allowed_passes(self) -> None:
        board, baseline = self.boards((3, 3), (2, 3), (3, 4), (3, 3), (2, 2))

        # each scenario falls by exactly 1
        assert verdicts_against(board, baseline, 1.0)[0].status == "PASS"
        assert verdicts_against(board, baseline, 0.99)[0].status == "FAIL"

    def test_each_row_is_held_against_its_like(self) -> None:
        now = a_board(*a_matrix({("a", "v1"): [(2, 2)] * 3, ("a", "v2"): [(4, 4)] * 3}))
        before = a_board(*a_matrix({("a", "v1"): [(4, 4)] * 3, ("a", "v2"): [(4, 4)] * 3}))

        verdicts = verdicts_against(now, before, 0.5)

        assert {v.name.split(", ")[1]: v.status for v in verdicts} == {
            "a × v1": "FAIL",
            "a × v2": "PASS",
        }

    def test_changed_scenarios_are_not_paired_and_said(self) -> None:
        names = SIX[:5]
        now = [a_run("a", "v1", name, task="New" if name == "s02" else "Same") for name in names]
        before = [a_run("a", "v1", name, task="Same") for name in names]

        (result,) = verdicts_against(
            a_board(now, judged_alike(now, 4)), a_board(before, judged_alike(before, 3)), 0.0
        )

        assert result.status == "PASS"
        assert result.detail == (
            "+1.00 [+1.00, +1.00], sign-flip p = 0.125, 4 scenarios, a drop of 0 is allowed; "
            "not paired, their text differs: s02"
        )

    def test_is_undecided_with_fewer_than_three_in_common(self) -> None:
        board, baseline = self.boards(*self.BEFORE, before=self.BEFORE[:2])

        (result,) = verdicts_against(board, baseline, 0.0)

        assert (result.status, result.fails) == ("UNDECIDED", True)
        assert result.detail == "2 judged scenarios in common, 3 are needed"

    def test_is_undecided_where_the_prompts_text_differs(self) -> None:
        now = [a_run("a", "v1", name, prompt_text="New") for name in SIX]
        before = [a_run("a", "v1", name, prompt_text="Old") for name in SIX]

        (result,) = verdicts_against(
            a_board(now, judged_alike(now, 4)), a_board(before, judged_alike(before, 4)), 0.0
        )

        assert (result.status, result.detail) == (
            "UNDECIDED",
            "prompt v1 has another text in the baseline",
        )

    def test_is_undecided_where_the_baseline_has_no_such_row(self) -> None:
        now = a_board(*a_matrix({("new", "v1"): self.BEFORE}))
        before = a_board(*a_matrix({("a", "v1"): self.BEFORE}))

        (result,) = verdicts_against(now, before, 0.0)

        assert (result.status, result.detail) == ("UNDECIDED", "the baseline has no such row")

    def test_is_undecided_without_rows_or_without_a_baseline(self) -> None:
        board, _ = self.boards(*self.BEFORE)
        empty = a_board([])

        assert verdicts_against(empty, board, 0.0)[0].detail == "the board has no rows"
        (result,) = verdicts_against(board, empty, 0.0)
        assert result.name == "change from the baseline, a × v1"
        assert result.status == "UNDECIDED"

    def test_is_undecided_with_pending_cells_unless_they_are_ignored(self) -> None:
        runs = [a_run("a", "v1", name) for name in SIX]
        part = a_board(runs, judged_alike(runs[:3], 4))
        whole = a_board(runs, judged_alike(runs, 4))

        assert verdicts_against(part, whole, 0.0)[0].detail == "3 cells pending"
        assert verdicts_against(whole, part, 0.0)[0].detail == "3 cells pending in the baseline"
        assert verdicts_against(part, whole, 0.0, pending="ignore")[0].status == "PASS"
        assert "3 scenarios" in verdicts_against(part, whole, 0.0, pending="ignore")[0].detail

    def test_is_undecided_with_unmeasured_cells(self) -> None:
        runs = [a_run("a", "v1", name) for name in SIX]
        lost = [*runs[:5], a_run("a", "v1", "s06", outcome=Outcome.TIMEOUT)]
        judgements = judged_alike(runs, 4)

        (result,) = verdicts_against(
            a_board(lost, judgements), a_board(runs, judgements), 0.0, pending="ignore"
        )
        (other,) = verdicts_against(a_board(runs, judgements), a_board(lost, judgements), 0.0)

        assert (result.status, result.detail) == ("UNDECIDED", "1 cell not measured")
        # what the baseline lacks is merely not paired
        assert other.status == "PASS"


def test_a_gate_is_plain_data() -> None:
    gate = parse_gate("best:tone>=4", CRITERIA)

    assert Gate.model_validate(gate.model_dump()) == gate
