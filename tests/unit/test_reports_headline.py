from __future__ import annotations

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.board_records import Board, Comparison, Group
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.headline import findings, headline
from tests.unit.board_samples import RUBRIC, SIX, a_matrix, a_run, judged, judged_alike

# The same scores in every scenario: no residual, so that every difference counts.
THREE = {("a", "v1"): [(4, 4)] * 3, ("b", "v1"): [(3, 3)] * 3, ("c", "v1"): [(2, 2)] * 3}


def board_with(composites: list[float], tiers: list[int], difference: float) -> Board:
    """A ranked board with these numbers and nothing else to say; rows are called a, b, c, …"""
    runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 3})
    (row,) = build_board(runs, judgements, RUBRIC).ranked
    board = build_board(*a_matrix(THREE), RUBRIC)
    ranked = tuple(
        row.model_copy(update={"model": name, "shared_composite": composite, "tier": tier})
        for name, composite, tier in zip("abcdefgh", composites, tiers, strict=False)
    )
    return board.model_copy(
        update={"ranked": ranked, "least_significant_difference": difference, "models": None}
    )


class TestHeadline:
    def test_of_an_empty_board(self) -> None:
        assert headline(build_board([], [], RUBRIC)) == "There is no finished run on this board."

    def test_with_nothing_judged(self) -> None:
        board = build_board([a_run(scenario=name) for name in SIX], [], RUBRIC)
        assert headline(board) == "Nothing can be ranked yet: 6 cells (12 tips) to be judged."

    def test_with_nothing_measured(self) -> None:
        board = build_board([a_run(outcome=Outcome.TIMEOUT)], [], RUBRIC)
        assert headline(board) == "No row can be ranked; each says why."

    def test_of_one_row(self) -> None:
        # Scenario means 3, 4, 5: mean 4, s = 1, t(0.975; 2) = 4.3027, half width 4.3027/√3 = 2.48.
        board = build_board(*a_matrix({("a", "v1"): [(3, 3), (4, 4), (5, 5)]}), RUBRIC)
        assert headline(board) == (
            "a × v1 scores 4.00 (95 %: 1.52 to 6.48); no other row is ranked."
        )

    def test_of_one_row_in_one_scenario(self) -> None:
        board = build_board(*a_matrix({("a", "v1"): [(3, 4)]}), RUBRIC)
        assert headline(board) == "a × v1 scores 3.50; no other row is ranked."

    def test_with_too_few_shared_scenarios(self) -> None:
        scores = {("a", "v1"): [(4, 4)] * 2, ("b", "v1"): [(3, 3)] * 2}
        assert headline(build_board(*a_matrix(scores), RUBRIC)) == (
            "2 rows are judged, but share only 2 scenarios: too few to tell them apart."
        )

    @pytest.mark.parametrize(
        ("composites", "tiers", "said"),
        [
            ([4.0, 3.2], [1, 2], "a × v1 beats b × v1 by 0.80."),
            ([4.0, 3.2, 2.0], [1, 2, 3], "a × v1 beats the other 2 rows by 0.80 or more."),
            (
                [4.0, 3.9],
                [1, 1],
                (
                    "a × v1 and b × v1 cannot be told apart: "
                    "they lie within 0.10, and only more than 0.50 would tell."
                ),
            ),
            (
                [4.0, 3.9, 3.6],
                [1, 1, 1],
                (
                    "3 rows cannot be told apart: "
                    "they lie within 0.40, and only more than 0.50 would tell."
                ),
            ),
            (
                [4.0, 3.9, 3.1],
                [1, 1, 2],
                "a × v1 and b × v1 cannot be told apart; both beat c × v1 by 0.80 or more.",
            ),
            (
                [4.0, 3.9, 3.8, 3.0, 2.0],
                [1, 1, 1, 2, 3],
                (
                    "a × v1, b × v1 and c × v1 cannot be told apart; "
                    "all 3 beat the other 2 rows by 0.80 or more."
                ),
            ),
            # b is only 0.4 above c: of the two leaders a alone is far enough above it.
            (
                [4.0, 3.7, 3.3],
                [1, 1, 2],
                "a × v1 and b × v1 cannot be told apart; the first beats c × v1 by 0.70.",
            ),
            (
                [4.0, 3.9, 3.8, 3.7, 3.0],
                [1, 1, 1, 1, 2],
                (
                    "4 rows (a × v1, b × v1, c × v1 and 1 more) lead and cannot be told apart; "
                    "all 4 beat e × v1 by 0.70 or more."
                ),
            ),
        ],
    )
    def test_claims_what_lies_further_apart_than_the_least_significant_difference(
        self, composites: list[float], tiers: list[int], said: str
    ) -> None:
        assert headline(board_with(composites, tiers, 0.5)) == said

    def test_is_provisional_while_cells_are_pending(self) -> None:
        runs, judgements = a_matrix(THREE)
        waiting = a_run("a", "v1", "s04")
        board = build_board([*runs, waiting], judgements, RUBRIC)
        assert headline(board) == ("So far, a × v1 beats the other 2 rows by 1.00 or more.")


class TestFindings:
    def test_of_an_empty_board(self) -> None:
        assert findings(build_board([], [], RUBRIC)) == ()

    def test_say_what_it_takes_to_tell_rows_apart(self) -> None:
        assert findings(board_with([4.0, 3.0, 2.0], [1, 2, 3], 0.456)) == (
            (
                "Rows less than 0.46 apart cannot be told apart "
                "(Tukey's least significant difference, 95 %, 3 scenarios)."
            ),
        )

    def test_say_which_models_and_prompts_differ(self) -> None:
        models = Comparison(
            groups=(
                Group(name="a", composite=4.0, tier=1),
                Group(name="b", composite=3.0, tier=2),
            ),
            averaged_over=("v1", "v2"),
            least_significant_difference=0.5,
        )
        prompts = Comparison(
            groups=(
                Group(name="v1", composite=3.6, tier=1),
                Group(name="v2", composite=3.5, tier=1),
            ),
            averaged_over=("a", "b"),
            least_significant_difference=0.4,
        )
        board = board_with([4.0, 3.0, 2.0], [1, 2, 3], 0.5)
        other = board.ranked[2].model_copy(update={"prompt_version": "v2"})
        compared = board.model_copy(
            update={"models": models, "prompts": prompts, "ranked": (*board.ranked[:2], other)}
        )
        assert findings(compared)[1:] == (
            "Models, averaged over v1, v2: a beats b by 1.00.",
            (
                "Prompts, averaged over a, b: v1 and v2 cannot be told apart: "
                "they lie within 0.10, and only more than 0.40 would tell."
            ),
        )

    def test_of_two_rows_give_the_paired_difference(self) -> None:
        # Differences 2, 1, 0: mean 1, s = 1, half width 4.3027/√3 = 2.48. Of the 4 ways to sign
        # 2 and 1, two reach a sum of 3 either way: p = 0.5.
        runs = [a_run(model, "v1", name) for model in "ab" for name in SIX[:3]]
        judgements = judged_alike(runs[3:], 2)
        for run, score in zip(runs, (4, 3, 2), strict=False):
            judgements += judged(run, score, score)
        board = build_board(runs, judgements, RUBRIC)
        assert findings(board)[-1] == (
            "a × v1 minus b × v1, paired by scenario: +1.00 "
            "(95 %: −1.48 to +3.48; sign-flip p = 0.500)."
        )
