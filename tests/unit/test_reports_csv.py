from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import pandas as pd  # type: ignore[import-untyped]  # it ships no types
import pytest

from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.as_csv import (
    COLUMNS_AFTER_SCORES,
    COLUMNS_BEFORE_SCORES,
    render_csv,
)
from tests.unit.board_samples import RUBRIC, a_run, judged
from tests.unit.report_samples import lifelike_report, report_of

if TYPE_CHECKING:
    from pytest_tipbench.reports.report_records import Report


def plain_report(*args: object) -> Report:
    return report_of(*args, rubric=RUBRIC, gates=())  # type: ignore[arg-type]


def lines_of(report: Report) -> list[dict[str, str]]:
    text = render_csv(report).encode("utf-8").decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestLines:
    def test_are_one_per_tip_and_judge(self) -> None:
        run = a_run()
        judgements = judged(run, (4, 2), (5, 3)) + judged(run, (1, 1), judge="ben")
        lines = lines_of(plain_report([run], judgements))
        shown = [
            (line["tip_number"], line["judge"], line["relevance"], line["tone"], line["composite"])
            for line in lines
        ]
        assert shown == [
            ("1", "anna", "4", "2", "3.5"),  # (3 · 4 + 2) / 4
            ("1", "ben", "1", "1", "1.0"),
            ("2", "anna", "5", "3", "4.5"),
        ]
        assert lines[0]["judged_at"] == "2026-04-28T08:00:00+00:00"

    def test_of_an_unjudged_tip_have_an_empty_judge(self) -> None:
        (first, second) = lines_of(plain_report([a_run()], []))
        assert (first["tip"], first["judge"], first["relevance"], first["composite"]) == (
            "small:1b v1 s01 r1 tip 1",
            "",
            "",
            "",
        )
        assert second["tip_number"] == "2"

    def test_of_a_cell_without_a_tip_is_one(self) -> None:
        runs = [
            a_run(outcome=Outcome.MALFORMED),
            a_run(scenario="s02", outcome=Outcome.TIMEOUT),
        ]
        lines = lines_of(plain_report(runs, []))
        assert [(line["outcome"], line["tip_number"], line["tip"]) for line in lines] == [
            ("malformed", "", ""),
            ("timeout", "", ""),
        ]
        assert [line["latency_seconds"] for line in lines] == ["2.0", ""]

    def test_of_nothing_are_the_header_alone(self) -> None:
        assert render_csv(plain_report([], [])).count("\r\n") == 1

    def test_have_no_composite_where_a_criterion_is_not_scored(self) -> None:
        run = a_run(tips=["One good tip"])
        (said,) = judged(run, 4)
        partly = said.model_copy(update={"scores": {"tone": 3}})
        (line,) = lines_of(plain_report([run], [partly]))
        assert (line["relevance"], line["tone"], line["composite"]) == ("", "3", "")


class TestFile:
    def test_begins_with_a_byte_order_mark_and_ends_lines_as_rfc_4180_says(self) -> None:
        data = render_csv(lifelike_report(scenarios=3)).encode("utf-8")
        assert data.startswith(b"\xef\xbb\xbfexperiment,model,")
        assert data.count(b"\n") == data.count(b"\r\n")

    def test_columns_are_named_once(self) -> None:
        columns = [*COLUMNS_BEFORE_SCORES, *COLUMNS_AFTER_SCORES]
        assert len(set(columns)) == len(columns)

    def test_pandas_reads_it_with_no_option(self) -> None:
        report = lifelike_report(scenarios=3)
        table = pd.read_csv(io.BytesIO(render_csv(report).encode("utf-8")))
        assert list(table.columns[:3]) == ["experiment", "model", "prompt_version"]
        assert set(table["persona"]) == {"Maya Okafor", "Zoë de Vries", "Łukasz Wiśniewski"}
        # The composites of a row's tips, each judge-averaged, from the table alone.
        (row, *_) = report.rows
        of_row = table[
            (table["model"] == row.model) & (table["prompt_version"] == row.prompt_version)
        ]
        tips = of_row.groupby(["run_id", "tip_number"], sort=False)["composite"].mean()
        expected = [
            tip.composite
            for cell in report.cells
            if (cell.model, cell.prompt_version) == (row.model, row.prompt_version)
            for tip in cell.tips
        ]
        assert tips.tolist() == pytest.approx(expected)
        assert table["relevance"].dtype.kind in "if"
        assert table["judge"].isna().sum() == table["composite"].isna().sum()

    @pytest.mark.parametrize(
        "text",
        [
            '=HYPERLINK("http://evil.example","click")',
            "+1 glass of water",
            "-1 task",
            "@SUM(A1:A9)",
            "\tindented",
            "\rreturned",
            "\nbroken",
            "＝1+1",
        ],
    )
    def test_no_text_becomes_a_formula(self, text: str) -> None:
        run = a_run(tips=[text])
        (said,) = judged(run, 4, judge=text)
        (line,) = lines_of(plain_report([run], [said.model_copy(update={"note": text})]))
        for column in ("tip", "judge", "note"):
            assert line[column].startswith("'"), column
        assert line["tip"][1:] == text.replace("\r", "␍")

    def test_a_formula_sign_inside_a_text_or_a_number_stays(self) -> None:
        rubric = Rubric(
            version="signed",
            scale=(-2, 2),
            missing_tip_score=-2,
            criteria=(Criterion(name="worth", weight=1),),
            text="",
        )
        run = a_run(tips=["2+2=4, @noon"])
        report = report_of([run], judged(run, -1, rubric=rubric), rubric=rubric, gates=())
        (line,) = lines_of(report)
        assert (line["tip"], line["worth"], line["composite"]) == ("2+2=4, @noon", "-1", "-1.0")

    def test_text_of_any_kind_survives(self) -> None:
        text = 'two\nlines, a "quote", a ; and NUL \x00 and half \ud83d'
        (line,) = lines_of(plain_report([a_run(tips=[text])], []))
        assert line["tip"] == 'two\nlines, a "quote", a ; and NUL ␀ and half [U+D83D]'
