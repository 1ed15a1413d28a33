from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.board import build_board
from pytest_tipbench.judgement_records import Criterion, Rubric
from pytest_tipbench.records import Outcome
from pytest_tipbench.reports.as_html import render_html
from tests.unit.board_samples import OTHER_RUBRIC, RUBRIC, SIX, a_matrix, a_run, judged
from tests.unit.report_samples import MODELS, changed_report, lifelike_report, report_of

if TYPE_CHECKING:
    from pytest_tipbench.reports.report_records import Report

LIMIT_BYTES = 2_000_000
EMPTY_ELEMENTS = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """What a page holds: its tags, attributes, and the text of its body and of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.ids: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.texts: list[str] = []
        self.open: list[str] = []
        self.is_word_broken = False
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # breaks a word over lines, not over texts
            self.is_word_broken = True
            return
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in EMPTY_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        if tag in self.raw:
            self.raw[tag].append(data)
        elif self.is_word_broken:
            self.texts[-1] += data
            self.is_word_broken = False
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def page_of(report: Report) -> Page:
    return Page(render_html(report))


def plain_page(*args: object) -> Page:
    return page_of(report_of(*args, rubric=RUBRIC, gates=()))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def lifelike() -> Page:
    return page_of(lifelike_report(scenarios=4))


class TestPage:
    def test_says_first_what_the_board_supports(self, lifelike: Page) -> None:
        report = lifelike_report(scenarios=4)
        assert report.headline in lifelike.text
        assert lifelike.text.index(report.headline) < lifelike.text.index("Scenarios")

    def test_shows_every_row_gate_judge_and_hash(self, lifelike: Page) -> None:
        report = lifelike_report(scenarios=4)
        for row in report.rows:
            assert f"{row.model} {row.prompt_version}" in lifelike.text
            assert row.configuration_sha256 in lifelike.text
            assert row.model_digest is not None
            assert row.model_digest in lifelike.text
        for gate in report.gates:
            assert f"{gate.status} {gate.name} {gate.detail}" in lifelike.text
        for scenario in report.scenarios:
            assert scenario.sha256 in lifelike.text
        assert report.rubric.sha256 in lifelike.text
        assert report.environment["git_commit"] in lifelike.text
        assert "2026-04-29 08:00 ben" in lifelike.text

    def test_has_no_name_twice_and_every_inner_link_has_its_target(self, lifelike: Page) -> None:
        assert len(lifelike.ids) == len(set(lifelike.ids))
        targets = [link.removeprefix("#") for link in lifelike.values("href")]
        assert set(targets) <= set(lifelike.ids)
        assert set(lifelike.values("aria-labelledby")) <= set(lifelike.ids)

    def test_of_nothing_is_a_page(self) -> None:
        page = page_of(report_of([], [], gates=()))
        assert "There is no finished run on this board." in page.text
        assert "No finished run is selected." in page.text
        assert page.tags["table"] == 0

    def test_of_an_unjudged_board_says_what_is_next(self) -> None:
        page = page_of(lifelike_report(scenarios=3, judged=False))
        assert "Nothing can be ranked yet" in page.text
        assert "pytest --judge-export scores.json" in page.text
        assert "Nobody has scored a tip yet." in page.text
        assert "No tip has been scored by two judges" in page.text
        assert "No judged sheet has been applied." in page.text

    def test_tells_signs_where_there_is_no_score(self) -> None:
        runs = [
            a_run(scenario="s01"),
            a_run(scenario="s02", outcome=Outcome.TIMEOUT),
            a_run(scenario="s03", outcome=Outcome.MALFORMED),
            a_run(scenario="s04"),
            a_run("other:1b", scenario="s01"),
        ]
        page = plain_page(runs, judged(runs[0], 4, 4))
        labels = [label for label in page.values("aria-label") if label.startswith("A, s0")]
        # The malformed cell counts at once, beside a judged one: 1 on every criterion.
        assert labels == [
            "A, s01: 4.00, ok",
            "A, s02: not measured: timeout",
            "A, s03: 1.00, no usable tip: malformed",
            "A, s04: not judged yet, ok",
        ]
        assert "no cell" in page.text

    def test_of_a_tipless_cell_waits_with_the_others(self) -> None:
        runs = [a_run(scenario="s01"), a_run(scenario="s02", outcome=Outcome.EMPTY)]
        page = plain_page(runs, [])
        assert "A, s02: no usable tip: empty; counts once others are judged" in page.values(
            "aria-label"
        )

    def test_keeps_older_rows_and_other_rubrics_apart(self) -> None:
        old, new = a_run(digest="digest-old"), a_run(minutes=5)
        page = plain_page([old, new], judged(new, 5, 5, rubric=OTHER_RUBRIC))
        assert "1 older configuration, apart" in page.text
        assert "the model's digest changed from digest-old to digest-a" in page.text
        assert "relevance 5.00, tone 5.00" in page.text

    @pytest.mark.parametrize("scale", [(0, 1), (-3, 3), (1, 100)])
    def test_takes_any_scale(self, scale: tuple[int, int]) -> None:
        rubric = Rubric(
            version="own",
            scale=scale,
            missing_tip_score=scale[0],
            criteria=(Criterion(name="worth", weight=1),),
            text="",
        )
        runs = [a_run(model, scenario=name) for model in "ab" for name in SIX]
        judgements = [
            said
            for place, run in enumerate(runs)
            for said in judged(run, scale[place % 2], scale[1], rubric=rubric)
        ]
        page = page_of(report_of(runs, judgements, rubric=rubric, gates=()))
        assert f"Axis of the composite from {scale[0]} to {scale[1]}" in page.values("aria-label")

    def test_with_few_scenarios_has_no_band_of_the_leader(self) -> None:
        few = plain_page(*a_matrix({("a", "v1"): [(4, 4)] * 2, ("b", "v1"): [(3, 3)] * 2}))
        assert "shaded band" not in few.text
        assert (
            "shaded band"
            in plain_page(*a_matrix({("a", "v1"): [(4, 5)] * 3, ("b", "v1"): [(3, 3)] * 3})).text
        )

    def test_has_no_chart_without_something_to_plot(self) -> None:
        page = plain_page([a_run(outcome=Outcome.TIMEOUT)], [])
        assert "Nothing with a score and a latency or a size in memory" in page.text

    def test_has_columns_of_diversity_where_there_is_any(self) -> None:
        report = lifelike_report(scenarios=3)
        first, *others = report.rows
        diverse = first.model_copy(update={"diversity": {"distinct_2": 0.87}})
        page = page_of(report.model_copy(update={"rows": (diverse, *others)}))
        assert "distinct_2" in page.text
        assert "0.87" in page.text


class TestBaseline:
    def test_is_a_section_only_where_there_is_one(self, lifelike: Page) -> None:
        assert "baseline" not in lifelike.ids
        assert "#baseline" not in lifelike.values("href")
        page = page_of(changed_report())
        assert "baseline" in page.ids
        assert "#baseline" in page.values("href")
        assert "Compared with last-week" in page.text

    def test_tells_each_rows_change_and_each_scenarios(self) -> None:
        report = changed_report()
        page = page_of(report)
        assert report.comparison is not None
        assert report.comparison.outcome in page.text
        for notice in report.comparison.notices:
            assert notice in page.text
        compared = [row for row in report.comparison.rows if row.standing == "compared"]
        assert compared
        for row in compared:
            assert row.difference is not None
            half = (row.difference.high or 0) - row.difference.mean
            shown = f"{row.difference.mean:+.2f} ±{half:.2f}".replace("-", "−")
            assert f"{row.composite_before:.2f} {row.composite_after:.2f} {shown}" in page.text
            for change in row.scenarios:
                if change.left_out_because:
                    assert f"– {change.left_out_because}" in page.text
                else:
                    told = (
                        f"{change.scenario}: {change.before:.2f} before, {change.after:.2f} after"
                    )
                    assert any(title.endswith(told) for title in page.values("title"))

    def test_has_unique_names_and_targets_too(self) -> None:
        page = page_of(changed_report())
        assert len(page.ids) == len(set(page.ids))
        assert {link.removeprefix("#") for link in page.values("href")} <= set(page.ids)

    def test_with_nothing_to_compare_says_why(self) -> None:
        now, before = [a_run(scenario=name) for name in SIX], [a_run("other:1b")]
        baseline = build_board(before, judged(before[0], 3, 3), RUBRIC)
        page = page_of(report_of(now, [], rubric=RUBRIC, gates=(), baseline=baseline))
        assert "After − before, paired by scenario: no row can be compared." in page.text
        assert "only in tip-bench: other:1b × v1" in page.text
        assert page.tags["tr"] == page_of(report_of(now, [], rubric=RUBRIC, gates=())).tags["tr"]

    def test_with_too_few_pairs_has_no_whiskers(self) -> None:
        runs, judgements = a_matrix({("a", "v1"): [(4, 4)] * 2})
        board = build_board(runs, judgements, RUBRIC)
        page = page_of(report_of(runs, judgements, rubric=RUBRIC, gates=(), baseline=board))
        assert "2 paired scenarios, and 3 are needed" in page.text
        without = page_of(report_of(runs, judgements, rubric=RUBRIC, gates=()))
        assert page.tags["circle"] == without.tags["circle"]

    @pytest.mark.parametrize("scale", [(0, 1), (1, 100)])
    def test_takes_any_scale(self, scale: tuple[int, int]) -> None:
        rubric = RUBRIC.model_copy(update={"scale": scale, "missing_tip_score": scale[0]})
        runs = [a_run(scenario=name) for name in SIX]
        low, high = (
            [said for run in runs for said in judged(run, score, score, rubric=rubric)]
            for score in scale
        )
        baseline = build_board(runs, low, rubric)
        page = page_of(report_of(runs, high, rubric=rubric, gates=(), baseline=baseline))
        # each scenario from one end of the scale to the other: the strongest shade
        assert page.values("class").count("d8") == 1 + len(SIX)

    def test_makes_no_markup_of_any_name(self) -> None:
        def page_with(name: str) -> Page:
            runs = [a_run(name, name, f"{name}{number}") for number in range(3)]
            said = [judgement for run in runs for judgement in judged(run, 3, 4)]
            board = build_board(runs, said, RUBRIC).model_copy(
                update={"experiment": name, "judges": (name,)}
            )
            return page_of(report_of(runs, said, rubric=RUBRIC, gates=(), baseline=board))

        hostile = (
            "</h2></table><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
        )
        page = page_with(hostile)
        assert page.tags == page_with("plain").tags
        assert f"Compared with {hostile}" in page.text


class TestSafety:
    def test_policy_admits_our_style_and_script_and_nothing_else(self, lifelike: Page) -> None:
        (policy,) = [value for value in lifelike.values("content") if "default-src" in value]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        # The first script holds data; a browser does not run it.
        _, script = lifelike.raw["script"]
        (style,) = lifelike.raw["style"]
        for rule, text in (("script-src", script), ("style-src", style)):
            digest = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
            assert rules[rule] == f"'sha256-{digest}'"

    def test_asks_nothing_of_a_network(self, lifelike: Page) -> None:
        assert all(link.startswith("#") for link in lifelike.values("href"))
        for forbidden in ("src", "srcset", "action", "style", "onclick", "onerror", "poster"):
            assert lifelike.values(forbidden) == []
        assert lifelike.tags.keys().isdisjoint({"link", "img", "iframe", "object", "embed", "base"})
        for text in (*lifelike.raw["style"], lifelike.raw["script"][1]):
            for word in ("url(", "@import", "http:", "https:", "fetch(", "innerHTML", "eval("):
                assert word not in text

    def test_makes_no_markup_of_any_text(self) -> None:
        def page_with(text: str) -> Page:
            run = a_run(text, text, text, tips=[text])
            content = run.scenario.model_copy(
                update={
                    "id": text,
                    "persona": run.scenario.persona.model_copy(update={"name": text}),
                }
            )
            run = run.model_copy(update={"scenario": content, "scenario_sha256": content.sha256})
            said = judged(run, 3, judge=text)
            return page_of(report_of([run], said, rubric=RUBRIC, gates=()))

        hostile = (
            "</script></style><img src=x onerror=alert(1)>\"'><script>alert(1)</script>"
            "{{ 7 * 7 }} \u202e\x00 \ud800"
        )
        page = page_with(hostile)
        assert page.tags == page_with("plain text").tags
        assert "{{ 7 * 7 }} [U+202E]␀ [U+D800]" in page.text

    def test_is_the_same_each_time(self) -> None:
        report = lifelike_report(scenarios=3)
        assert render_html(report) == render_html(report)


def test_twelve_rows_by_36_scenarios_with_five_tips_stay_below_two_megabytes() -> None:
    report = lifelike_report(scenarios=36)
    assert len(report.rows) == 12
    assert len(report.cells) == 12 * 36
    # Nothing like real text compresses as badly: completions, tips and notes of random letters.
    generator = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz "

    def noise(length: int) -> str:
        return "".join(generator.choices(letters, k=length))

    cells = [
        cell.model_copy(
            update={
                "completion": noise(1_600),
                "tips": tuple(
                    tip.model_copy(update={"text": noise(280), "notes": {"anna": noise(80)}})
                    for tip in cell.tips
                ),
            }
        )
        for cell in report.cells
    ]
    tips = sum(len(cell.tips) for cell in cells)
    assert tips > 1900
    noisy = report.model_copy(update={"cells": tuple(cells)})
    for made in (report, noisy):
        assert len(render_html(made).encode("utf-8")) < LIMIT_BYTES


def test_the_changes_of_twelve_rows_in_36_scenarios_take_little() -> None:
    report = changed_report(scenarios=36, models=tuple(MODELS))
    without = report.model_copy(update={"comparison": None})
    assert len(render_html(report).encode()) - len(render_html(without).encode()) < 150_000
