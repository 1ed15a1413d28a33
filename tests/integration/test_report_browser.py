from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import (  # type: ignore[import-untyped]  # no types
    Axe,
)

from pytest_tipbench.board import build_board
from pytest_tipbench.records import DroppedTip, Outcome
from pytest_tipbench.reports.as_html import render_html
from tests.unit.board_samples import RUBRIC, SIX, a_run, judged
from tests.unit.report_samples import changed_report, lifelike_report, report_of

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from pytest_tipbench.reports.report_records import Report
    from tests.integration.browser import OpenPage

pytest_plugins = ["tests.integration.browser"]

HOSTILE = (
    "</script><script>window.hacked = 1</script><img src=http://evil.example/x onerror=hacked=1>"
    "<b>bold</b> \u202egnp.exe\x1b[31m \x00 \ud800 {{ 7 * 7 }}"
)
HOSTILE_SHOWN = (
    "</script><script>window.hacked = 1</script><img src=http://evil.example/x onerror=hacked=1>"
    "<b>bold</b> [U+202E]gnp.exe␛[31m ␀ [U+D800] {{ 7 * 7 }}"
)


@pytest.fixture(scope="module")
def report() -> Report:
    return lifelike_report(scenarios=6)


@pytest.fixture(scope="module")
def report_path(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(report, tmp_path_factory.mktemp("report") / "report.html")


def written(report: Report, path: Path) -> Path:
    path.write_text(render_html(report), encoding="utf-8")
    return path


def unpacked(page: Page) -> Page:
    page.wait_for_selector("#tips-view:not([hidden])")
    return page


def column(page: Page, number: int) -> list[str]:
    cells = page.locator(f"#board-table tbody tr > :nth-child({number})")
    return [" ".join(text.split()) for text in cells.all_inner_texts()]


def order_of_rows(page: Page) -> str:
    return "".join(page.locator("#board-table tbody .letter").all_inner_texts())


def sort_by(page: Page, name: str) -> str | None:
    heading = page.locator("#board-table thead th", has_text=re.compile(f"^{re.escape(name)}$"))
    heading.get_by_role("button").click()
    return heading.get_attribute("aria-sort")


class TestSorting:
    def test_begins_where_the_eye_does_and_turns_round(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = open_page(report_path)
        board_order = "".join(chr(ord("A") + place) for place in range(len(report.rows)))
        assert order_of_rows(page) == board_order

        assert sort_by(page, "median s") == "ascending"
        fastest_first = [float(text) for text in column(page, 10)]
        assert fastest_first == sorted(fastest_first)
        assert sort_by(page, "median s") == "descending"
        assert [float(text) for text in column(page, 10)] == sorted(fastest_first, reverse=True)
        assert page.locator("th[aria-sort]").count() == 1
        assert page.locator("#announcer").inner_text() == "sorted by median s, descending"

        assert sort_by(page, "relevance") == "descending"
        assert sort_by(page, "tier") == "ascending"
        assert order_of_rows(page) == board_order

    def test_by_name_is_by_letters_and_numbers(
        self, report_path: Path, open_page: OpenPage
    ) -> None:
        page = open_page(report_path)
        sort_by(page, "row")
        names = [text[2:] for text in column(page, 2)]
        assert names[0] == "llama3.2:3b v1"
        assert names[-1] == "qwen2.5:1.5b v3-few-shot"

    def test_leaves_the_unknown_last_both_ways(self, tmp_path: Path, open_page: OpenPage) -> None:
        runs = [
            a_run(model, scenario=name, resident_bytes=size, tokens_per_second=None)
            for model, size in (("a", 2**30), ("b", None), ("c", 2**29))
            for name in SIX
        ]
        judgements = [said for run in runs for said in judged(run, 3, 4)]
        report = report_of(runs, judgements, rubric=RUBRIC, gates=())
        page = open_page(written(report, tmp_path / "report.html"))
        sort_by(page, "GiB")
        assert column(page, 12) == ["0.50", "1.00", "–"]
        sort_by(page, "GiB")
        assert column(page, 12) == ["1.00", "0.50", "–"]

    def test_works_by_keyboard(self, report_path: Path, open_page: OpenPage) -> None:
        page = open_page(report_path)
        page.locator("#board-table thead button", has_text="tok/s").focus()
        page.keyboard.press("Enter")
        speeds = [float(text) for text in column(page, 12)]
        assert speeds == sorted(speeds, reverse=True)


class TestDrillingDown:
    def test_from_a_cell_to_its_tips_with_scores_notes_prompt_and_completion(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = unpacked(open_page(report_path))
        row, scenario = report.rows[1], report.scenarios[3]
        (cell,) = [
            cell
            for cell in report.cells
            if (cell.model, cell.prompt_version) == (row.model, row.prompt_version)
            and cell.scenario == scenario.id
        ]
        page.locator(f'#map-table button[aria-label^="B, {scenario.id}:"]').click()

        assert page.locator("#scenario option:checked").inner_text() == scenario.id
        assert scenario.content.persona.name in page.locator("#situation").inner_text()
        assert page.locator(".card").count() == len(report.rows)
        card = page.locator(".card.chosen")
        assert page.evaluate("document.activeElement.className") == "card chosen"
        assert card.get_attribute("aria-label") == f"B, {row.model} × {row.prompt_version}"
        text = card.inner_text()
        for tip in cell.tips:
            assert tip.text in text
            for note in tip.notes.values():
                assert f"“{note}”" in text
        said = card.locator(".said", has_text="anna:").first
        scores = cell.tips[0].scores["anna"]
        assert " ".join(said.inner_text().split()) == "anna: " + " ".join(
            f"{name} {score}" for name, score in scores.items()
        )
        assert cell.outcome.value in text
        assert f"{cell.latency_seconds:.2f} s" in text

        card.get_by_text("Prompt", exact=True).click()
        assert cell.prompt.user in card.inner_text()
        card.get_by_text("Raw completion").click()
        assert cell.completion is not None
        assert cell.completion in card.inner_text()
        assert page.url.endswith(f"#tips={scenario.id}")

    def test_works_by_keyboard(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = unpacked(open_page(report_path))
        page.locator('#map-table button[tabindex="0"]').focus()
        for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "End", "ArrowLeft"):
            page.keyboard.press(key)
        place = page.evaluate("({...document.activeElement.dataset})")
        assert place == {"row": "1", "scenario": "4"}
        page.keyboard.press("Home")
        page.keyboard.press("ArrowLeft")  # the edge: nothing happens
        page.keyboard.press("Enter")
        assert page.locator("#scenario option:checked").inner_text() == report.scenarios[0].id
        assert page.locator(".card.chosen .letter").inner_text() == "B"
        assert page.locator('#map-table button[tabindex="0"]').count() == 1

    def test_walks_over_holes_in_the_map(self, tmp_path: Path, open_page: OpenPage) -> None:
        runs = [a_run("a", scenario=name) for name in SIX]
        runs += [a_run("b", scenario=name) for name in (SIX[0], SIX[5])]
        page = unpacked(
            open_page(written(report_of(runs, [], rubric=RUBRIC), tmp_path / "report.html"))
        )
        page.locator('#map-table button[data-row="1"][data-scenario="0"]').focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.dataset.scenario") == "5"

    def test_begins_with_the_scenario_that_a_link_names(
        self, report: Report, report_path: Path, open_page: OpenPage, problems: list[str]
    ) -> None:
        page = unpacked(open_page(report_path))
        chosen = report.scenarios[2].id
        page.goto(f"{report_path.as_uri()}#tips={chosen}")
        page.reload()
        unpacked(page)
        assert page.locator("#scenario option:checked").inner_text() == chosen
        # The address with its fragment is the file's own.
        problems[:] = [said for said in problems if f"#tips={chosen}" not in said]

    def test_goes_through_scenarios_and_chooses_rows_and_order(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = unpacked(open_page(report_path))
        page.locator("#scenario").select_option(label=report.scenarios[0].id)
        assert page.locator("#previous").is_disabled()
        for _ in report.scenarios[1:]:
            page.locator("#next").click()
        assert page.locator("#next").is_disabled()
        last = report.scenarios[-1].id
        assert page.locator("#scenario option:checked").inner_text() == last

        page.locator("#order").select_option("score")
        shown = page.locator(".card > .said b").all_inner_texts()
        scores = [row.scenario_composites[last] for row in report.rows]
        assert shown == [f"{score:.2f}" for score in sorted(scores, reverse=True)]

        page.locator(".chooser summary").click()
        page.locator("#rows label", has_text="A llama").locator("input").uncheck()
        assert page.locator("#chosen").inner_text() == "11 of 12"
        assert page.locator(".card").count() == 11
        # A cell of a hidden row brings the row back.
        page.locator('#map-table button[data-row="0"][data-scenario="1"]').click()
        assert page.locator(".card").count() == 12

    def test_shows_failures_repeats_and_what_was_dropped(
        self, tmp_path: Path, open_page: OpenPage
    ) -> None:
        short = a_run(outcome=Outcome.SHORT).model_copy(
            update={"dropped": (DroppedTip(text="30", reason="fewer than 8 letters"),)}
        )
        fault = a_run(repeat=2, outcome=Outcome.PROVIDER_ERROR).model_copy(
            update={"error": "nothing answers at 127.0.0.1"}
        )
        report = report_of([short, fault], judged(short, 4), rubric=RUBRIC, gates=())
        page = unpacked(open_page(written(report, tmp_path / "report.html")))
        card = page.locator(".card")
        card.get_by_text("Dropped (1)").click()
        text = card.inner_text()
        for said in (
            "Repeat 1",
            "1 tip did not come; each counts 1.",
            "fewer than 8 letters",
            "Repeat 2",
            "provider_error",
            "nothing answers at 127.0.0.1",
        ):
            assert said in text


class TestBudget:
    def test_names_the_best_that_fits(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = open_page(report_path)
        page.locator("#most-gibibytes").fill("1.4")
        page.locator("#most-seconds").fill("1.5")
        fitting = [
            row
            for row in report.rows
            if (row.resident_bytes or 0) <= 1.4 * 2**30 and (row.median_latency_seconds or 9) <= 1.5
        ]
        assert 0 < len(fitting) < len(report.rows)
        best = fitting[0]
        letter = chr(ord("A") + report.rows.index(best))
        assert page.locator("#fits").inner_text() == (
            f"{len(fitting)} of 12 rows fit. The highest among them: "
            f"{letter} {best.model} {best.prompt_version}, tier {best.tier}."
        )
        faded = page.locator("#board-table tr.over-budget").count()
        assert faded == len(report.rows) - len(fitting)
        assert page.locator(".scatter a.over-budget").count() == 2 * faded

        page.locator("#most-seconds").fill("0.01")
        assert page.locator("#fits").inner_text() == "0 of 12 rows fit."
        page.locator("#most-seconds").fill("")
        page.locator("#most-gibibytes").fill("")
        assert page.locator(".over-budget").count() == 0
        assert page.locator("#fits").inner_text() == ""

    def test_says_the_same_after_sorting(self, report_path: Path, open_page: OpenPage) -> None:
        page = open_page(report_path)
        sort_by(page, "composite")
        sort_by(page, "composite")
        page.locator("#most-gibibytes").fill("100")
        assert "12 of 12 rows fit. The highest among them: A " in page.locator("#fits").inner_text()

    def test_a_dot_leads_to_its_row(
        self, report_path: Path, open_page: OpenPage, problems: list[str]
    ) -> None:
        page = open_page(report_path)
        page.locator(".scatter a").nth(2).focus()
        page.keyboard.press("Enter")
        assert page.url.endswith("#row-C")
        problems[:] = [said for said in problems if "#row-C" not in said]


class TestHostileText:
    def test_is_text_everywhere(self, tmp_path: Path, open_page: OpenPage) -> None:
        run = a_run(HOSTILE, HOSTILE, tips=[HOSTILE])
        assert run.completion is not None
        content = run.scenario.model_copy(
            update={"persona": run.scenario.persona.model_copy(update={"name": HOSTILE})}
        )
        run = run.model_copy(
            update={
                "completion": run.completion.model_copy(update={"text": HOSTILE}),
                "dropped": (DroppedTip(text=HOSTILE, reason="no reason"),),
                "scenario": content,
                "scenario_sha256": content.sha256,
            }
        )
        said = [
            judgement.model_copy(update={"note": HOSTILE})
            for judgement in judged(run, 3, judge=HOSTILE)
        ]
        report = report_of([run], said, rubric=RUBRIC, gates=())
        page = unpacked(open_page(written(report, tmp_path / "report.html")))
        page.locator("#map-table button").click()
        for summary in page.locator(".card summary").all():
            summary.click()
        text = page.locator(".card").text_content() or ""
        # Model and prompt, tip, judge, note, dropped string, completion.
        assert text.count(HOSTILE_SHOWN) == 7
        assert HOSTILE_SHOWN in (page.locator("#situation").text_content() or "")
        assert page.evaluate("window.hacked") is None
        assert page.locator("img, #cards b:not(.chip b)").count() == 0

    def test_written_from_right_to_left_leaves_the_rest_alone(
        self, tmp_path: Path, open_page: OpenPage
    ) -> None:
        run = a_run(tips=["ابدأ الآن: عشر دقائق تكفي."])
        page = unpacked(
            open_page(
                written(report_of([run], judged(run, 3), rubric=RUBRIC), tmp_path / "report.html")
            )
        )
        tip = page.locator(".card .tip")
        assert tip.evaluate("element => getComputedStyle(element).direction") == "rtl"
        card = page.locator(".card")
        assert card.evaluate("element => getComputedStyle(element).direction") == "ltr"


class TestBaseline:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1440])
    def test_is_for_everybody(
        self, tmp_path: Path, open_page: OpenPage, scheme: Literal["light", "dark"], width: int
    ) -> None:
        report = changed_report()
        assert report.comparison is not None
        compared = [row for row in report.comparison.rows if row.standing == "compared"]
        # every shade: a map of changes from one end of the colours to the other
        first, *others = compared
        spread = [
            change.model_copy(update={"before": 3.0, "after": 3 + step, "difference": step})
            for change, step in zip(
                first.scenarios, (-2.0, -1.5, -1, 0.5, -0.5, 1, 1.5, 2), strict=True
            )
        ]
        rows = (first.model_copy(update={"scenarios": tuple(spread)}), *others)
        means = dict.fromkeys((change.scenario for change in spread), 0.0)
        comparison = report.comparison.model_copy(update={"rows": rows, "scenario_means": means})
        path = written(
            report.model_copy(update={"comparison": comparison}), tmp_path / "report.html"
        )
        page = unpacked(open_page(path, width=width, color_scheme=scheme))
        shades = page.locator("#baseline .map td").evaluate_all(
            "cells => [...new Set(cells.map((cell) => cell.className))].sort()"
        )
        assert set(shades) >= {f"d{shade}" for shade in range(9)}
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for summary in page.locator("#baseline summary").all():
            summary.evaluate("element => { element.parentElement.open = true; }")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    def test_is_reached_from_the_top_and_read_without_a_script(
        self, tmp_path: Path, open_page: OpenPage, problems: list[str]
    ) -> None:
        report = changed_report()
        path = written(report, tmp_path / "report.html")
        page = open_page(path, java_script_enabled=False)
        page.get_by_role("link", name="Change", exact=True).click()
        assert page.url.endswith("#baseline")
        problems[:] = [said for said in problems if "#baseline" not in said]
        assert report.comparison is not None
        rows = page.locator("#baseline .changes tbody tr")
        compared = [row for row in report.comparison.rows if row.standing == "compared"]
        assert rows.count() == len(compared)
        for place, row in enumerate(compared):
            assert row.difference is not None
            shown = f"{row.difference.mean:+.2f}".replace("-", "−")
            assert shown in rows.nth(place).inner_text()
        assert page.locator("#baseline .map thead th").count() == len(
            report.comparison.scenario_means
        )

    def test_fades_what_is_over_the_budget(self, tmp_path: Path, open_page: OpenPage) -> None:
        page = open_page(written(changed_report(), tmp_path / "report.html"))
        page.locator("#most-gibibytes").fill("1.4")
        faded = page.locator("#baseline .changes tr.over-budget .model").all_inner_texts()
        assert faded == ["llama3.2:3b", "llama3.2:3b"]

    def test_shows_hostile_names_as_text(self, tmp_path: Path, open_page: OpenPage) -> None:
        runs = [a_run(HOSTILE, HOSTILE, f"{HOSTILE}{number}") for number in range(3)]
        said = [judgement for run in runs for judgement in judged(run, 3, 4)]
        gone = a_run(f"{HOSTILE} gone")
        baseline = build_board([*runs, gone], said, RUBRIC).model_copy(
            update={"experiment": HOSTILE, "judges": (HOSTILE,)}
        )
        report = report_of(runs, said, rubric=RUBRIC, gates=(), baseline=baseline)
        page = open_page(written(report, tmp_path / "report.html"))
        section = page.locator("#baseline")
        text = section.text_content() or ""
        assert f"Compared with {HOSTILE_SHOWN}" in text
        assert f"only in {HOSTILE_SHOWN}: {HOSTILE_SHOWN} gone × v1" in text
        assert section.locator(".map thead th").first.text_content() == f"{HOSTILE_SHOWN}0"
        assert section.locator("img, b, script").count() == 0
        assert page.evaluate("window.hacked") is None


class TestEverybody:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [360, 1440])
    def test_can_use_the_page(
        self, report_path: Path, open_page: OpenPage, scheme: Literal["light", "dark"], width: int
    ) -> None:
        page = unpacked(open_page(report_path, width=width, color_scheme=scheme))
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for summary in page.locator("summary").all():
            summary.evaluate("element => { element.parentElement.open = true; }")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()

    def test_reads_the_board_without_a_script(
        self, report: Report, report_path: Path, open_page: OpenPage
    ) -> None:
        page = open_page(report_path, java_script_enabled=False)
        text = page.locator("body").inner_text()
        assert report.headline in text
        assert "The tips need a script to be shown" in text
        assert page.locator("#board-table tbody tr").count() == 12
        assert page.locator("#budget").is_hidden()

    def test_is_told_when_the_browser_is_too_old_for_the_tips(
        self, report_path: Path, open_page: OpenPage
    ) -> None:
        page = open_page(report_path)
        page.context.add_init_script("delete window.DecompressionStream")
        page.reload()
        page.wait_for_selector("#tips-failed:not([hidden])")
        assert page.locator("#tips-view").is_hidden()

    def test_prints_the_whole_board(self, report_path: Path, open_page: OpenPage) -> None:
        page = unpacked(open_page(report_path, color_scheme="dark"))
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator("nav").is_hidden()
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        overflow = page.locator("#board .scroll").first.evaluate(
            "element => getComputedStyle(element).overflowX"
        )
        assert overflow == "visible"

    def test_finds_an_empty_board_in_order(self, tmp_path: Path, open_page: OpenPage) -> None:
        page = open_page(written(report_of([], [], gates=()), tmp_path / "report.html"))
        assert "There is no finished run" in page.locator("h1").inner_text()
