from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

from pytest_tipbench import __version__
from pytest_tipbench.board import build_board
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.markdown import code, escaped, percent, render_markdown
from tests.unit.board_samples import RUBRIC, SIX, a_matrix, a_run, judged
from tests.unit.report_samples import (
    MODELS,
    changed_report,
    lifelike_judgements,
    lifelike_report,
    lifelike_runs,
    lifelike_scenarios,
    report_of,
)

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

HOSTILE = [
    "a|b",
    "`tick` and ``two``",
    "a\\|b\\",
    "*bold* _it_ ~~gone~~ [link](http://evil.example) ![i](x.png)",
    "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "@everyone see #12 and me@evil.example at www.evil.example",
    "&lt;b&gt; $x^2$",
    "x\n\n# heading\n\n- item",
]


def as_html(markdown: str) -> str:
    html: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    return html


def without_version(markdown: str) -> str:
    return markdown.replace(f"pytest-tipbench {__version__}", "pytest-tipbench X.Y.Z")


def text_in(html: str, tag: str) -> str:
    (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return re.sub(
        "&(amp|lt|gt|quot);",
        lambda match: {"amp": "&", "lt": "<", "gt": ">", "quot": '"'}[match[1]],
        inside,
    )


class TestModelText:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_in_code_is_literal_in_a_table(self, text: str) -> None:
        html = as_html(f"| a |\n| -- |\n| {code(text)} |\n")
        assert text_in(html, "code") == " ".join(text.split())

    @pytest.mark.parametrize("text", ["qwen2.5:0.5b", "hf.co/user/repo:Q4_K_M", "v2-mentor"])
    def test_that_is_plain_reads_plainly(self, text: str) -> None:
        assert code(text) == f"`{text}`"

    @pytest.mark.parametrize("text", HOSTILE)
    def test_in_a_sentence_is_literal(self, text: str) -> None:
        html = as_html(f"- so {escaped(text)} it is")
        item = text_in(html, "li").replace("<span>", "").replace("</span>", "")
        assert item == f"so {' '.join(text.split())} it is"

    def test_in_a_sentence_mentions_nobody_and_links_nothing(self) -> None:
        # GitHub looks for these in the text between tags, where an entity is a character again.
        texts = re.split("<[^>]*>", as_html(escaped("@me #12 http://a.example www.a.example")))
        assert not any(re.search(r"@\w|#\d|://|www\.", text) for text in texts)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_is_text_everywhere_in_the_report(self, text: str) -> None:
        run = a_run(text, tips=[text])
        report = report_of([run], judged(run, 3, judge=text), rubric=RUBRIC, gates=())
        tags = set(re.findall(r"<(\w+)", as_html(render_markdown(report))))
        ours = {"h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}
        assert tags <= ours | {"ul", "li", "details", "summary", "sub", "span"}


class TestReport:
    def test_of_a_whole_board(self, snapshot: SnapshotAssertion) -> None:
        generator = random.Random(3)
        models = ["qwen2.5:0.5b", "llamacpp/gemma3-270m"]
        runs = lifelike_runs(lifelike_scenarios(4), models, generator)
        report = report_of(runs, lifelike_judgements(runs, "anna", generator))
        assert without_version(render_markdown(report)) == snapshot

    def test_of_an_unjudged_board(self, snapshot: SnapshotAssertion) -> None:
        runs = [a_run(scenario=name) for name in SIX]
        runs.append(a_run("other:1b", scenario="s01", outcome=Outcome.TIMEOUT))
        report = report_of(runs, [], rubric=RUBRIC, gates=["composite>=3"])
        assert without_version(render_markdown(report)) == snapshot

    def test_of_nothing(self) -> None:
        text = render_markdown(report_of([], [], gates=()))
        assert "There is no finished run on this board." in text
        assert "|" not in text

    def test_says_what_is_older_and_what_is_not_ranked(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 4, ("b", "v1"): [(3, 3)] * 4})
        lacking = [a_run("c", "v1", "s01")]
        older = a_run("a", "v1", "s01", digest="digest-old", minutes=-5)
        report = report_of(
            [*runs, *lacking, older],
            [*judgements, *judged(lacking[0], 3, 3)],
            rubric=RUBRIC,
            gates=(),
        )
        text = render_markdown(report)
        assert "- Not ranked, lacks 3 of 4 scenarios (s02, s03, s04): c × v1" in text
        assert "- Older configuration, apart: a × v1; the model&#39;s digest" not in text
        assert "- Older configuration, apart: a × v1; the model's digest changed" in text

    def test_fits_a_comment_even_where_the_examples_do_not(self) -> None:
        report = lifelike_report(scenarios=3)
        tips = [
            cell.model_copy(
                update={
                    "tips": tuple(tip.model_copy(update={"text": "|`" * 300}) for tip in cell.tips)
                }
            )
            for cell in report.cells
        ]
        many = report.model_copy(update={"cells": tuple(tips)})
        assert len(render_markdown(many)) < 65_536
        assert "<details>" in render_markdown(report)

    def test_fits_with_many_rows(self) -> None:
        assert len(render_markdown(lifelike_report(scenarios=36, models=tuple(MODELS)))) < 65_536


class TestBaseline:
    def test_of_a_comparison(self, snapshot: SnapshotAssertion) -> None:
        text = without_version(render_markdown(changed_report()))
        assert text[text.index("### ") : text.index("<details><summary>The highest")] == snapshot

    def test_is_not_there_without_one(self) -> None:
        assert "###" not in render_markdown(lifelike_report(scenarios=3))

    def test_has_its_numbers_by_arithmetic(self) -> None:
        after, judgements = a_matrix(
            {("a", "v1"): [(3, 3), (3, 3), (3, 4), (3, 3), (2, 2)], ("b", "v1"): [(1, 1)] * 5}
        )
        before = a_matrix({("a", "v1"): [(4, 4), (3, 4), (4, 5), (4, 4), (3, 3)]})
        baseline = build_board(*before, RUBRIC)
        report = report_of(after, judgements, rubric=RUBRIC, gates=(), baseline=baseline)
        lines = render_markdown(report).splitlines()
        # changes −1, −0.5, −1, −1, −1: mean −0.9, half of the interval 2.7764 · 0.2236 / √5 = 0.28,
        # p = 2 / 2⁵; the whole interval is below 0, so it is bold
        assert "| A | `a` | `v1` | 3.80 | 2.90 | **−0.90 ±0.28** | 0.062 | 5 |" in lines
        assert "| `s02` | −0.50 | −0.50 |" in lines
        assert "- not in tip-bench: b × v1" in lines

    def test_of_nothing_to_compare_has_no_table(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(3, 3)] * 3})
        baseline = build_board([], [], RUBRIC)
        report = report_of(runs, judgements, rubric=RUBRIC, gates=(), baseline=baseline)
        text = render_markdown(report).partition("### Compared with `the baseline`")[2]
        assert "no row can be compared." in text
        assert "|" not in text.partition("<details>")[0]
        assert "The change in each scenario" not in text

    @pytest.mark.parametrize("text", HOSTILE)
    def test_shows_every_name_as_text(self, text: str) -> None:
        runs = [a_run(text, f"{text} v", f"{text} {number}") for number in range(3)]
        said = [judgement for run in runs for judgement in judged(run, 3, 4)]
        gone = a_run(f"{text} gone", "v1")
        board = build_board([*runs, gone], said, RUBRIC).model_copy(
            update={"experiment": text, "judges": (text,)}
        )
        report = report_of(runs, said, rubric=RUBRIC, gates=(), baseline=board)
        html = as_html(render_markdown(report))
        tags = set(re.findall(r"<(\w+)", html))
        ours = {"h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code"}
        assert tags <= ours | {"ul", "li", "details", "summary", "sub", "span"}
        assert text_in(html, "h3").removeprefix("Compared with ") == (
            f"<code>{' '.join(text.split())}</code>"
        )

    def test_fits_a_comment_with_many_rows_and_scenarios(self) -> None:
        report = changed_report(scenarios=36, models=tuple(MODELS))
        assert len(render_markdown(report)) < 65_536
        assert "The change in each scenario" in render_markdown(report)

    def test_leaves_the_scenarios_out_where_they_do_not_fit(self) -> None:
        report = changed_report()
        assert report.comparison is not None
        rows = report.comparison.rows
        many = {f"{'x' * 200}-{number}": 0.0 for number in range(400)}
        comparison = report.comparison.model_copy(update={"scenario_means": many, "rows": rows})
        text = render_markdown(report.model_copy(update={"comparison": comparison}))
        assert len(text) < 65_536
        assert "The change in each scenario" not in text
        assert "The highest and the lowest" in text
        assert "### Compared with" in text


@pytest.mark.parametrize(
    ("rate", "shown"), [(0, "0%"), (0.001, "1%"), (0.5, "50%"), (0.999, "99%"), (1, "100%")]
)
def test_only_all_is_100_per_cent(rate: float, shown: str) -> None:
    assert percent(rate) == shown
