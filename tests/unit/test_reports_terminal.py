from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.gates import evaluate_gates, parse_gate
from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.printable import printable, readable
from pytest_tipbench.reports.terminal import board_lines
from tests.unit.board_samples import (
    OTHER_RUBRIC,
    RUBRIC,
    SIX,
    TWELVE,
    a_matrix,
    a_run,
    judged,
    judged_alike,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from syrupy.assertion import SnapshotAssertion

    from pytest_tipbench.board_records import Board
    from pytest_tipbench.gates import Verdict
    from pytest_tipbench.judgement_records import Judgement
    from pytest_tipbench.records import RunRecord

DOCUMENTATION = Path(__file__).parents[2] / "docs"

TIP_RUBRIC = Rubric(
    version="tip-v1",
    scale=(1, 5),
    missing_tip_score=1,
    criteria=(
        Criterion(name="relevance", weight=0.4),
        Criterion(name="actionability", weight=0.4),
        Criterion(name="tone", weight=0.2),
    ),
    text="What the numbers mean.",
)
SAMPLE_VERDICTS = ("composite>=2.5", "best:relevance>=3.5", "p95_latency_seconds<=20")


def whole_board(*, diversity: bool = False) -> Board:
    """Three models, one of them a floor, by three prompts over twelve scenarios, all judged."""
    generator = random.Random(9)
    bases = {"qwen2.5:0.5b": 2, "llama3.2:1b": 3, "llamacpp/gemma3-270m": 1}
    runs: list[RunRecord] = []
    judgements: list[Judgement] = []
    for number, (model, base) in enumerate(bases.items(), start=1):
        for lift, prompt in enumerate(("v1", "v2-mentor", "v3-few-shot")):
            for scenario in TWELVE:
                floor = base == 1
                run = a_run(
                    model,
                    prompt,
                    scenario,
                    outcome=Outcome.EMPTY if floor and scenario in SIX[:2] else Outcome.OK,
                    latency_seconds=number + generator.random(),
                    tokens_per_second=90 / number,
                    resident_bytes=number * 300_000_000,
                )
                runs.append(run)
                for tip in range(len(run.tips)):
                    low, high = (1, 2) if floor else (base, min(base + 1 + lift // 2, 5))
                    scores = {c: generator.randint(low, high) for c in TIP_RUBRIC.criterion_names}
                    (said, *_) = judged(
                        run.model_copy(update={"tips": run.tips[tip:]}), 1, rubric=TIP_RUBRIC
                    )
                    judgements.append(said.model_copy(update={"scores": scores}))
    return build_board(runs, judgements, TIP_RUBRIC, diversity=diversity)


def unjudged_board() -> Board:
    runs = [
        a_run(
            model,
            "v1",
            scenario,
            outcome=Outcome.EMPTY if model == "floor:1b" and scenario != "s01" else Outcome.OK,
            latency_seconds=2.5 if model == "floor:1b" else 1.25,
        )
        for model in ("floor:1b", "better:1b")
        for scenario in SIX
    ]
    return build_board(runs, [], RUBRIC)


def mixed_board() -> Board:
    """Everything that has to be said: lacking, older, pending, other rubric, machine faults."""
    runs, judgements = a_matrix(
        {
            ("a:1b", "v1"): [(4, 4), (4, 5), (3, 4), (4, 4), (5, 4), (4, 4)],
            ("b:1b", "v1"): [(2, 3), (3, 3), (3, 3), (2, 2), (3, 4), (2, 3)],
            ("c:1b", "v1"): [(3, 3)] * 4,
        }
    )
    older = [
        a_run("a:1b", "v1", scenario, prompt_text="An older text.", minutes=-60, tips=["Old tip"])
        for scenario in SIX
    ]
    new = [a_run("d:1b", "v1", scenario, rubric=OTHER_RUBRIC) for scenario in SIX]
    lost = [a_run("c:1b", "v1", scenario, outcome=Outcome.TIMEOUT) for scenario in SIX[4:]]
    judgements += judged_alike(older, 2)
    judgements += [said for run in new[:2] for said in judged(run, 5, 4, rubric=OTHER_RUBRIC)]
    return build_board([*older, *runs, *new, *lost], judgements, RUBRIC)


def verdicts_of(board: Board, texts: Sequence[str]) -> tuple[Verdict, ...]:
    gates = [parse_gate(text, board.criteria) for text in texts]
    return evaluate_gates(gates, board, pending="fail")


def lines_of(board: Board, width: int = 200, *, ascii_only: bool = False) -> list[str]:
    return board_lines(board, width=width, ascii_only=ascii_only)


class TestSnapshots:
    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_whole_board(self, width: int, snapshot: SnapshotAssertion) -> None:
        board = whole_board()

        lines = board_lines(
            board, width=width, ascii_only=False, verdicts=verdicts_of(board, SAMPLE_VERDICTS)
        )

        assert "\n".join(lines) == snapshot

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_board_with_diversity(self, width: int, snapshot: SnapshotAssertion) -> None:
        board = whole_board(diversity=True)

        assert "\n".join(lines_of(board, width)) == snapshot

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_unjudged_board(self, width: int, snapshot: SnapshotAssertion) -> None:
        assert "\n".join(lines_of(unjudged_board(), width)) == snapshot

    @pytest.mark.parametrize("width", [80, 120, 200])
    def test_mixed_board(self, width: int, snapshot: SnapshotAssertion) -> None:
        board = mixed_board()

        lines = board_lines(
            board,
            width=width,
            ascii_only=False,
            verdicts=verdicts_of(board, SAMPLE_VERDICTS[:1]),
            verbose=True,
        )

        assert "\n".join(lines) == snapshot

    def test_ascii_board(self, snapshot: SnapshotAssertion) -> None:
        board = mixed_board()

        lines = board_lines(
            board,
            width=100,
            ascii_only=True,
            verdicts=verdicts_of(board, SAMPLE_VERDICTS[:1]),
            verbose=True,
        )

        assert "\n".join(lines) == snapshot


class TestWidth:
    @pytest.mark.parametrize("ascii_only", [False, True])
    @pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 120, 200])
    def test_no_line_is_longer(self, width: int, ascii_only: bool) -> None:
        for board in (whole_board(diversity=True), unjudged_board(), mixed_board()):
            lines = board_lines(
                board,
                width=width,
                ascii_only=ascii_only,
                verdicts=verdicts_of(board, ("composite>=3",)),
                verbose=True,
            )
            assert max(map(len, lines)) <= width
            assert all(line.isascii() for line in lines) or not ascii_only

    def test_columns_leave_in_their_order(self) -> None:
        board = whole_board(diversity=True)

        left_out = [_left_out(lines_of(board, width)) for width in range(200, 39, -1)]

        order = (
            "tokens/s, p95 latency, relevance, actionability, tone, distinct_2, self_similarity, "
            "specificity, median latency, usable rate, judged"
        )
        assert all(order.startswith(names) for names in left_out)
        assert left_out[0] == ""
        assert left_out[-1] == order

        page = (DOCUMENTATION / "statistics.md").read_text(encoding="utf-8")
        told = order.replace("relevance, actionability, tone", "the criteria").replace(
            "distinct_2, self_similarity, specificity", "the diversity metrics"
        )
        assert f"in this order, and a line below it names them: {told} cells." in " ".join(
            page.split()
        )

    def test_tier_model_prompt_and_composite_always_stay(self) -> None:
        header = lines_of(whole_board(), 40)[3:8]

        assert any(line.split() == ["tier", "model", "prompt", "composite"] for line in header)

    def test_long_names_keep_both_ends(self) -> None:
        long = "hf.co/somebody/Very-Long-Model-Name-Instruct-GGUF:Q4_K_M"
        runs, judgements = a_matrix({(long, "v1"): [(3, 4)] * 3})
        board = build_board(runs, judgements, RUBRIC)

        assert any(long in line for line in lines_of(board, 120))
        (shown,) = [line for line in lines_of(board, 60) if "…" in line]
        assert "hf.co/" in shown
        assert "Q4_K_M" in shown
        assert any(
            "hf.co/" in line and "..." in line for line in lines_of(board, 60, ascii_only=True)
        )

    def test_an_absurd_width_is_taken_for_forty(self) -> None:
        assert lines_of(mixed_board(), 0) == lines_of(mixed_board(), 40)


def _left_out(lines: Sequence[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    _, found, rest = text.partition("columns: ")
    return rest if found else ""


class TestTable:
    def test_marks_what_is_not_there(self) -> None:
        run = a_run("m:1b", outcome=Outcome.TIMEOUT)

        (row,) = [
            line for line in lines_of(build_board([run], [], RUBRIC)) if line.startswith("m:")
        ]

        assert row.split() == ["m:1b", "v1", "0/1", "-", "-", "-", "-", "-"]

    def test_shows_a_composite_without_an_interval(self) -> None:
        run = a_run("m:1b")

        lines = lines_of(build_board([run], judged(run, 4, 5), RUBRIC))

        (row,) = [line for line in lines if "m:1b" in line and "1/1" in line]
        assert row.split()[4:8] == ["100%", "4.50", "4.50", "4.50"]
        assert not any("±" in line for line in lines)

    @pytest.mark.parametrize(
        ("failing", "cells", "shown"), [(0, 300, "100%"), (1, 300, "99%"), (299, 300, "1%")]
    )
    def test_shows_all_only_for_all(self, failing: int, cells: int, shown: str) -> None:
        runs = [
            a_run(repeat=number, outcome=Outcome.EMPTY if number <= failing else Outcome.OK)
            for number in range(1, cells + 1)
        ]

        assert any(shown in line.split() for line in lines_of(build_board(runs, [], RUBRIC)))

    def test_has_a_column_for_each_criterion_of_any_rubric(self) -> None:
        rubric = Rubric(
            version="own",
            scale=(1, 5),
            missing_tip_score=1,
            criteria=tuple(
                Criterion(name=name, weight=1) for name in ("helpfulness", "helpfulness-now", "wit")
            ),
            text="Own.",
        )
        runs = [a_run(scenario=name, rubric=rubric) for name in SIX]
        judgements = [said for run in runs for said in judged(run, 3, 4, rubric=rubric)]

        board = build_board(runs, judgements, rubric)

        assert lines_of(board)[2].split()[5:8] == ["helpfulness", "helpfulness-now", "wit"]
        # "helpf." would stand for two of them: dropped, not confused
        assert not any("helpf." in line for line in lines_of(board, 90))

    def test_shortens_the_criteria_before_it_drops_a_column(self) -> None:
        runs, judgements = a_matrix({("somewhat-long:1b", "v2-mentor"): [(3, 4)] * 3})

        header = lines_of(build_board(runs, judgements, RUBRIC), 100)[2]

        assert header.split()[5:7] == ["relev.", "tone"]
        assert header.endswith("tok/s")

    def test_gathers_rows_that_are_unranked_for_one_reason(self) -> None:
        runs = [a_run(f"m{number}:1b") for number in range(8)]

        lines = lines_of(build_board(runs, [], RUBRIC))

        (told,) = [line for line in lines if line.startswith("not ranked")]
        assert told.startswith("not ranked, not judged yet: m0:1b × v1, m1:1b × v1, ")
        assert told.endswith("m5:1b × v1 and 2 more")

    def test_of_two_rows_shows_their_paired_difference(self) -> None:
        runs, judgements = a_matrix(
            {
                ("a", "v1"): [(5, 5), (4, 4), (5, 4), (5, 5), (4, 5)],
                ("b", "v1"): [(4, 4), (4, 4), (3, 4), (4, 4), (3, 4)],
            }
        )

        text = " ".join(lines_of(build_board(runs, judgements, RUBRIC)))

        # differences 1, 0, 1, 1, 1: s = √0.2, t(0.975; 4) = 2.7764, half-width 0.555
        assert "a × v1 − b × v1: +0.80 [+0.24, +1.36], paired over 5 shared scenarios" in text
        assert "sign-flip p = 0.125" in text

    def test_is_followed_by_what_is_known_of_the_model_when_verbose(self) -> None:
        run = a_run("m:1b", resident_bytes=2**29)
        assert run.model is not None
        model = run.model.model_copy(
            update={"parameter_count": 494_032_768, "quantization": "Q4_K_M"}
        )
        board = build_board([run.model_copy(update={"model": model})], [], RUBRIC)

        (details,) = [
            line
            for line in board_lines(board, width=200, ascii_only=False, verbose=True)
            if line.startswith("m:1b × v1:")
        ]

        assert details.endswith(
            "1 ok, 494,032,768 parameters, Q4_K_M, largest resident size 0.50 GiB"
        )
        assert not any(line.startswith("m:1b × v1:") for line in lines_of(board))

    def test_of_an_empty_experiment_says_so(self) -> None:
        assert lines_of(build_board([], [], RUBRIC)) == [
            "the board is empty: no finished run is selected"
        ]

    def test_of_older_rows_only_still_shows_them(self) -> None:
        was = a_run("a", task="Old task", minutes=1)
        now = a_run("b", task="New task", minutes=2)
        board = build_board([was, now], [], RUBRIC)
        older_only = board.model_copy(update={"ranked": (), "unranked": ()})

        assert any(line.startswith("older configuration, apart") for line in lines_of(older_only))


class TestPrintable:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("qwen2.5:0.5b", "qwen2.5:0.5b"),
            ("réveil × ±", "réveil × ±"),
            ("red\x1b[31m", "red\\x1b[31m"),
            ("two\nlines\t", "two\\nlines\\t"),
            ("nul\0", "nul\\x00"),
            ("\u202etxet", "\\u202etxet"),
            ("zero\u200bwidth", "zero\\u200bwidth"),
            ("שלום", "\\u05e9\\u05dc\\u05d5\\u05dd"),
            ("模型 🙂", "模型 🙂"),
            ("heart\u2764\ufe0f \u200d", "heart❤\\ufe0f \\u200d"),
            ("lone\ud800", "lone\\ud800"),
            ("re\u0301veil", "réveil"),
            ("q\u0301", "q\\u0301"),
            ("soft\u00adhyphen", "soft\\xadhyphen"),
        ],
    )
    def test_escapes_what_disturbs_a_line(self, text: str, shown: str) -> None:
        assert printable(text, ascii_only=False) == shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a × b", "a x b"),
            ("3.50 ±0.25", "3.50 +/-0.25"),
            ("≥ ≤ … −", ">= <= ... -"),
            ("Zoë", "Zo\\xeb"),
            ("“a” – ‘b’ — c’s", "\"a\" - 'b' - c's"),
        ],
    )
    def test_has_ascii_forms(self, text: str, shown: str) -> None:
        assert printable(text, ascii_only=True) == shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("שלום 模型 q\u0301", "שלום 模型 q\u0301"),
            ("می\u200cخواهم 👩\u200d⚕️", "می\u200cخواهم 👩\u200d⚕️"),  # written with joiners
            ("\u202etxet\x1b[m\ud800\u200b", "\\u202etxet\\x1b[m\\ud800\\u200b"),
        ],
    )
    def test_running_text_keeps_every_script(self, text: str, shown: str) -> None:
        assert readable(text) == shown

    def test_holds_wherever_a_name_is_shown(self) -> None:
        odd = "bad\x1b]0;title\x07\n\u202e模\ud800"
        runs, judgements = a_matrix({(odd, "v\x1b1"): [(3, 4)] * 3, ("b", "v\x1b1"): [(4, 4)] * 2})
        board = build_board([*runs, a_run(odd, "w\n", "s\r9")], judgements, RUBRIC)

        lines = board_lines(
            board,
            width=120,
            ascii_only=False,
            verdicts=verdicts_of(board, ("composite>=5",)),
            verbose=True,
        )

        assert all(line.isprintable() for line in lines)
        "\n".join(lines).encode("utf-8")
        assert any("bad\\x1b]0;title\\x07\\n\\u202e模\\ud800" in line for line in lines)
