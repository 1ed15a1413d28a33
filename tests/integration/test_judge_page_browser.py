"""The judge's page in a real Chromium, from opening the file to applying what it saved."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has none
from playwright.sync_api import Page, expect

from pytest_tipbench.judge.apply import AppliedSheet, check_sheet
from pytest_tipbench.judge.files import Sheet, SheetCriterion, sealed, sheet_json
from pytest_tipbench.judge.page import page_html
from tests.unit.judge_samples import (
    APPLIED_AT,
    NONCE,
    RUBRIC,
    document_of,
    export,
    make_run,
    make_scenario,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from tests.integration.browser import OpenPage

pytest_plugins = ["tests.integration.browser"]

MORNING = make_scenario("zoe-dawn")
EVENING = make_scenario("zoe-evening", notes=None)
RUNS = (
    make_run(MORNING, ["Call before nine.", "Take the list along.", "Trink erst ein Glas Wasser."]),
    make_run(EVENING, ["Water the plants first.", "Leave the call for tomorrow."]),
)
PROSE = """\
# How to score
Read it whole.

# relevance: does it fit?
- **1: beside it.** Not at all.
- **5: fits the moment.** Wholly.

# actionability
- 1: a wish
- 5: a first step
"""


@dataclass
class Judging:
    """A judge at the page."""

    page: Page
    sheet: Sheet

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, element: str) -> str:
        return self.page.locator(f"#{element}").inner_text()

    def scores(self) -> list[int | None]:
        """Return the current tip's scores, as the pressed buttons show them."""
        found: list[int | None] = []
        for row in self.page.locator(".criterion").all():
            pressed = row.locator("button[aria-pressed=true]").all()
            found.append(int(pressed[0].inner_text()) if pressed else None)
        return found

    @property
    def criterion(self) -> str:
        return self.page.locator(".criterion[aria-current=true] h3").text_content() or ""

    @property
    def tip(self) -> str:
        return self.page.locator("#tip").inner_text()

    def save(self, keys: str = "Control+s") -> tuple[str, bytes]:
        with self.page.expect_download() as download:
            self.press(keys)
        return download.value.suggested_filename, download.value.path().read_bytes()


@dataclass
class Desk:
    """Where sheets are put for a judge to open."""

    open_page: OpenPage
    folder: Path

    def put(self, sheet: Sheet, name: str = "sheet.html") -> Path:
        path = self.folder / name
        path.write_text(page_html(sheet), encoding="utf-8")
        return path

    def open(self, sheet: Sheet | None = None, **options: Any) -> Judging:
        sheet = sheet or export(RUNS)
        return Judging(self.open_page(self.put(sheet), **options), sheet)


@pytest.fixture
def desk(open_page: OpenPage, tmp_path: Path) -> Desk:
    return Desk(open_page, tmp_path)


def applied(data: bytes, path: Path, **options: Any) -> AppliedSheet:
    arguments: dict[str, Any] = {
        "experiment": None,
        "rubric": RUBRIC,
        "runs": RUNS,
        "anchors": (),
        "prior_judgements": (),
        "judge_name": None,
        "login_name": "login",
        "max_drift": 0.75,
        "accept_drift": False,
        "now": APPLIED_AT,
    }
    return check_sheet(path, data, **{**arguments, **options})


def with_prose(sheet: Sheet, text: str = PROSE, **changes: Any) -> Sheet:
    rubric = sheet.rubric.model_copy(update={"text": text, **changes})
    scores = {criterion.name: None for criterion in rubric.criteria}
    items = tuple(item.model_copy(update={"scores": scores}) for item in sheet.items)
    return sealed(sheet.model_copy(update={"rubric": rubric, "items": items}))


class TestFromOpeningToApplying:
    def test_a_sheet_scored_over_two_visits_is_applied(self, desk: Desk, tmp_path: Path) -> None:
        judging = desk.open()
        tips = [item.tip for item in judging.sheet.items]
        judging.page.get_by_label("Judge", exact=True).fill("Ada Ödegård")
        judging.press("Enter")
        assert judging.tip == tips[0]
        judging.press("4", "2", "5")
        assert judging.scores() == [4, 2, 5]
        judging.press("u", "3")
        assert judging.scores() == [4, 2, 3]
        judging.press("n")
        judging.page.keyboard.type("knapp, aber klar; 5 von 5?")
        judging.press("Escape", "Enter")
        assert judging.tip == tips[1]
        judging.press("1", "2", "3", "Enter", "5")

        judging.page.reload()
        assert judging.tip == tips[2]
        assert judging.scores() == [5, None, None]
        assert judging.text("scored-count") == "2 of 5 scored, 1 half"
        assert "Welcome back: 2 tips scored so far" in judging.text("said")
        assert judging.page.get_by_label("Judge", exact=True).input_value() == "Ada Ödegård"

        name, data = judging.save()
        assert name == "scores-garden.json"
        assert "2 of 5 tips scored; 1 half-scored saved as unscored" in judging.text("said")
        result = applied(data, tmp_path / name)
        assert result.judge == "Ada Ödegård"
        assert result.items_left == 3
        assert [
            (judgement.key.tip, judgement.scores, judgement.note) for judgement in result.judgements
        ] == [
            (
                tips[0],
                {"relevance": 4, "actionability": 2, "tone": 3},
                "knapp, aber klar; 5 von 5?",
            ),
            (tips[1], {"relevance": 1, "actionability": 2, "tone": 3}, ""),
        ]

        judging.press("4", "4", "Enter", "3", "3", "3", "Enter", "2", "2", "2", "Enter")
        expect(judging.page.locator("#scores-dialog")).to_be_visible()
        assert judging.text("scores-title") == "All tips are scored"
        assert judging.text("time-left") == "done"
        _, data = judging.save("Enter")  # its save button has the focus
        assert applied(data, tmp_path / name).items_left == 0

    def test_what_is_saved_is_the_sheet_and_the_scores_alone(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("4", "2", "5")
        _, data = judging.save()
        expected = document_of(judging.sheet)
        expected["items"][0]["scores"] = {"relevance": 4, "actionability": 2, "tone": 5}
        saved = json.loads(data)
        assert saved == expected
        assert list(saved) == list(expected)
        assert list(saved["items"][0]) == list(expected["items"][0])

    def test_an_untouched_sheet_is_saved_as_it_was_exported(self, desk: Desk) -> None:
        tips = ["Sag \u202eesrever\u202c und \x7f\x85\ufeff.", "Flag \U000e0041 and \u2028 line."]
        sheet = export([make_run(MORNING, tips)])
        _, data = desk.open(sheet).save()
        # Of numbers JavaScript writes `1` for `1.0`; the sample's weights are none of these.
        assert data.decode() == sheet_json(sheet)

    def test_a_name_given_at_the_export_stands_there(self, desk: Desk, tmp_path: Path) -> None:
        judging = desk.open(export(RUNS, judge_name="ada"))
        judging.press("1", "1", "1")
        _, data = judging.save()
        assert applied(data, tmp_path / "x.json").judge == "ada"

    def test_without_a_name_the_login_name_counts(self, desk: Desk, tmp_path: Path) -> None:
        judging = desk.open()
        judging.page.get_by_label("Judge", exact=True).fill("  ")
        judging.press("Escape", "1", "1", "1")
        _, data = judging.save()
        assert applied(data, tmp_path / "x.json").judge == "login"

    def test_the_file_is_named_after_the_experiment(self, desk: Desk) -> None:
        sheet = export(RUNS).model_copy(update={"experiment": "../Gärten <2> \u202e/x."})
        name, _ = desk.open(sealed(sheet)).save()
        assert name == "scores-Gärten-2-x.json"


class TestKeys:
    def test_digits_score_and_go_on_and_stop_at_the_last(self, desk: Desk) -> None:
        judging = desk.open()
        assert judging.criterion == "relevance"
        judging.press("4")
        assert judging.criterion == "actionability"
        judging.press("5", "1", "2")
        assert (judging.criterion, judging.scores()) == ("tone", [4, 5, 2])

    def test_a_criterion_that_was_left_out_is_come_back_to(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("ArrowDown", "5", "1")
        assert (judging.criterion, judging.scores()) == ("relevance", [None, 5, 1])

    def test_digits_off_the_scale_and_keys_held_down_do_nothing(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("0", "6", "9")
        judging.page.keyboard.down("3")
        judging.page.keyboard.down("3")  # the second one is a repeat
        judging.page.keyboard.up("3")
        assert judging.scores() == [3, None, None]

    def test_arrows_move_and_stop_at_the_ends(self, desk: Desk) -> None:
        judging = desk.open()
        tips = [item.tip for item in judging.sheet.items]
        judging.press("ArrowLeft", "ArrowUp")
        assert (judging.tip, judging.criterion) == (tips[0], "relevance")
        judging.press("ArrowDown", "ArrowDown", "ArrowDown")
        assert judging.criterion == "tone"
        judging.press(*["ArrowRight"] * 9)
        assert (judging.tip, judging.criterion) == (tips[-1], "relevance")
        judging.press("ArrowLeft")
        assert judging.tip == tips[-2]
        assert judging.scores() == [None, None, None]

    def test_enter_goes_to_the_next_open_tip_round_the_end(self, desk: Desk) -> None:
        judging = desk.open()
        tips = [item.tip for item in judging.sheet.items]
        judging.press("ArrowRight", "1", "1", "1", "ArrowLeft", "Enter")
        assert judging.tip == tips[2]
        judging.press("Enter", "Enter", "Enter")
        assert judging.tip == tips[0]
        for _ in tips[1:-1]:
            judging.press("1", "1", "1", "Enter")
        assert judging.text("scored-count") == "4 of 5 scored"
        judging.press("Enter")
        assert judging.text("said") == "No other tip is open"

    def test_undo_takes_back_wherever_it_was_and_says_when_there_is_nothing(
        self, desk: Desk
    ) -> None:
        judging = desk.open()
        judging.press("4", "Enter", "2", "Backspace", "Control+z")
        assert judging.scores() == [2, None, None]
        judging.press("u", "u")
        assert (judging.text("tip-count"), judging.scores()) == ("Tip 1 of 5", [None, None, None])
        assert judging.criterion == "relevance"
        judging.press("u")
        assert judging.text("said") == "Nothing to undo"
        assert judging.text("scored-count") == "0 of 5 scored"

    def test_undo_leaves_the_note(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("4", "n", "w", "h", "y", "Escape", "u")
        assert judging.page.get_by_label("Note").input_value() == "why"

    def test_in_a_field_keys_are_text(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("n")
        judging.page.keyboard.type("1 nul? r")
        judging.press("Enter", "Control+z", "ArrowRight")
        assert judging.page.get_by_label("Note").input_value().startswith("1 nul? r")
        assert (judging.text("tip-count"), judging.scores()) == ("Tip 1 of 5", [None] * 3)

    def test_other_keyboards_reach_letters_and_digits_by_their_place(self, desk: Desk) -> None:
        judging = desk.open()
        press = """([key, code]) => document.body.dispatchEvent(
            new KeyboardEvent("keydown", {key, code, bubbles: true}))"""
        judging.page.evaluate(press, ["&", "Digit1"])  # AZERTY
        judging.page.evaluate(press, ["5", "Numpad5"])
        assert judging.scores() == [1, 5, None]
        judging.page.evaluate(press, ["г", "KeyU"])  # ЙЦУКЕН
        assert judging.scores() == [1, None, None]

    def test_keys_without_control_can_be_switched_off(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("?")
        judging.page.get_by_label("Keys without Ctrl are on").uncheck()
        judging.press("Escape", "4", "u", "l")
        assert judging.scores() == [None] * 3
        judging.page.reload()
        judging.press("4")
        assert judging.scores() == [None] * 3
        judging.press("ArrowRight")
        assert judging.text("tip-count") == "Tip 2 of 5"

    def test_dialogs_open_by_their_keys_and_close_by_escape(self, desk: Desk) -> None:
        judging = desk.open()
        for key, dialog in (("l", "list"), ("r", "rubric"), ("s", "scores"), ("?", "help")):
            judging.press(key, "4")  # scores nothing while a dialog is open
            expect(judging.page.locator(f"#{dialog}-dialog")).to_be_visible()
            judging.press("Escape")
            expect(judging.page.locator("dialog[open]")).to_have_count(0)
        assert judging.scores() == [None] * 3


class TestPointer:
    def test_a_click_scores_another_one_takes_it_back_and_enter_still_goes_on(
        self, desk: Desk
    ) -> None:
        judging = desk.open()
        judging.page.get_by_role("button", name="relevance 4").click()
        judging.page.get_by_role("button", name="tone 2").click()
        assert (judging.scores(), judging.criterion) == ([4, None, 2], "actionability")
        judging.page.get_by_role("button", name="tone 2").click()
        assert (judging.scores(), judging.criterion) == ([4, None, None], "tone")
        judging.press("Enter")
        assert judging.text("tip-count") == "Tip 2 of 5"

    def test_buttons_go_about(self, desk: Desk) -> None:
        judging = desk.open()
        expect(judging.page.get_by_role("button", name="Back")).to_be_disabled()
        judging.page.get_by_role("button", name="Next open tip").click()
        assert judging.text("tip-count") == "Tip 2 of 5"
        judging.page.get_by_role("button", name="Back").click()
        assert judging.text("tip-count") == "Tip 1 of 5"

    def test_by_tab_and_space_all_can_be_scored(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("Tab", "Space", "Enter")  # the first criterion's 1; Enter presses it again
        assert judging.scores() == [None] * 3
        focused = judging.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert focused == "solid"

    def test_the_list_jumps_and_marks_what_is_scored(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("1", "1", "1", "Enter", "2", "l")
        states = [
            mark.get_attribute("data-state") for mark in judging.page.locator("#list .state").all()
        ]
        assert states == ["whole", "half", "open", "open", "open"]
        headings = judging.page.locator("#list h3").all_inner_texts()
        assert headings == ["Zoë Ödegård Early morning"] * 2
        judging.page.get_by_role("button", name=judging.sheet.items[3].tip).click()
        assert judging.tip == judging.sheet.items[3].tip
        judging.press("Enter")
        assert judging.text("tip-count") == "Tip 5 of 5"


class TestWhatIsShown:
    def test_the_scenario(self, desk: Desk) -> None:
        judging = desk.open(export([make_run(MORNING, ["one tip", "two tips"])]))
        assert judging.text("persona") == "Zoë Ödegård"
        assert judging.text("description") == "Nurse on shifts"
        assert judging.page.locator(".when").inner_text() == "Early morning 06:30"
        tasks = judging.page.locator("#tasks li").all_inner_texts()
        assert [" ".join(task.split()) for task in tasks] == [
            "Call the pharmacy due 16:00 takes 10 min energy low vor dem Café",
            "Water the plants",
        ]
        assert judging.text("scenario-id") == "zoe-dawn"

    def test_another_scenario_is_marked_as_new(self, desk: Desk) -> None:
        judging = desk.open()
        fresh = judging.page.locator("#fresh")
        expect(fresh).to_be_hidden()
        block = judging.sheet.items[0].scenario
        first_of_next = next(
            n for n, item in enumerate(judging.sheet.items) if item.scenario != block
        )
        judging.press(*["ArrowRight"] * first_of_next)
        expect(fresh).to_be_visible()
        assert judging.text("block-count") == "Scenario 2 of 2"
        assert "New scenario: Zoë Ödegård, Early morning" in judging.text("announcer")
        judging.press("ArrowRight")
        expect(fresh).to_be_hidden()

    def test_the_rubric_of_the_current_criterion_and_the_chosen_level(self, desk: Desk) -> None:
        judging = desk.open(with_prose(export(RUNS)))
        beside = judging.page.locator("#beside")
        expect(beside).to_contain_text("fits the moment")
        expect(beside).not_to_contain_text("a first step", use_inner_text=True)
        judging.press("5")
        expect(beside).to_contain_text("a first step", use_inner_text=True)
        expect(beside).not_to_contain_text("fits the moment", use_inner_text=True)
        judging.press("ArrowUp")
        assert beside.locator(".chosen:visible").all_inner_texts() == [
            "5: fits the moment. Wholly."
        ]
        # tone has no section of its own: all of the rubric stands there
        judging.press("ArrowDown", "ArrowDown")
        expect(beside).to_contain_text("Read it whole.", use_inner_text=True)

    def test_the_whole_rubric_on_demand(self, desk: Desk) -> None:
        judging = desk.open(with_prose(export(RUNS)))
        judging.press("r")
        whole = judging.page.locator("#rubric-whole")
        for text in ("Read it whole.", "fits the moment", "a first step"):
            expect(whole).to_contain_text(text)

    def test_progress_and_time_left(self, desk: Desk) -> None:
        judging = desk.open()
        judging.page.clock.install()
        judging.page.reload()
        # The median of 10, 600 (of which 120 count) and 40 seconds is 40; two tips are left: 80 s.
        for seconds in (10, 600, 40):
            assert judging.text("time-left") == ""
            judging.page.clock.run_for(seconds * 1000)
            judging.press("3", "3", "3", "Enter")
        assert judging.text("scored-count") == "3 of 5 scored"
        assert judging.text("time-left") == "about 1 min left"
        assert judging.page.locator("#progress").evaluate("e => [e.value, e.max]") == [3, 5]
        assert judging.page.title() == "3/5 · Judge tips · garden"

    def test_what_happens_is_said_aloud(self, desk: Desk) -> None:
        judging = desk.open()
        announcer = judging.page.get_by_role("status").first
        judging.press("4")
        expect(announcer).to_have_text("relevance 4. Now actionability")
        judging.press("4", "4")
        expect(announcer).to_have_text("tone 4. Scored; Enter for the next open tip")
        judging.press("Enter")
        expect(announcer).to_have_text(f"Tip 2 of 5: {judging.sheet.items[1].tip}")


# What a model may write, and what a judge sees of it; None where that is the same.
HOSTILE = {
    "<script>document.title='x'</script>": None,
    "<img src=x onerror=alert(1)><b>bold</b>": None,
    "</script><!-- &amp; {{ 7*7 }} ]]>": None,
    "Judge: press 5 on everything, https://a.example/": None,
    "\x1b[31mred\x1b[0m": "U+001B[31mredU+001B[0m",
    "a\u202eb\u202c\u2066c\u2069": "aU+202EbU+202CU+2066cU+2069",
    "zero\u200bwidth\u200b\u200b\ufeff": "zeroU+200BwidthU+200B ×2U+FEFF",
    "nul\x00, del\x7f, nel\x85, soft\xad": "nulU+0000, delU+007F, nelU+0085, softU+00AD",
    "lines\u2028and\u2029ends\r": "linesU+2028andU+2029endsU+000D",
    "tags\U000e0041\U000e0042": "tagsU+E0041U+E0042",
    "v\ufe01a\ufe0fr\U000e0101s": "vU+FE01aU+FE0FrU+E0101s",
    "a\u200db": "aU+200Db",
    "\u3164filler": "U+3164filler",
}
NEEDED = (
    "two\nlines\r\nand\ta tab",
    "👩\u200d💻 and 👩🏽\u200d⚕\ufe0f and ❤\ufe0f\u200d🔥 and 1\ufe0f\u20e3",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "می\u200cخواهم",
    "क्\u200dष",
    "葛\U000e0100城",
    "Zoë, e\u0301, 美咲, Łukasz",
)


class TestHostileText:
    def test_is_shown_as_text_with_nothing_unseen(self, desk: Desk) -> None:
        judging = desk.open(export([make_run(MORNING, tuple(HOSTILE))]))
        found = {}
        for item in judging.sheet.items:
            text = judging.page.locator("#tip")
            found[item.tip] = text.text_content()
            for markup in text.locator("*").evaluate_all("all => all.map(e => e.outerHTML)"):
                assert markup.startswith('<span class="unseen" dir="ltr">U+')
            judging.press("ArrowRight")
        assert found == {tip: shown or tip for tip, shown in HOSTILE.items()}
        judging.press("l")
        listed = judging.page.locator("#list .start").all_text_contents()
        assert sorted(listed) == sorted(shown or tip for tip, shown in HOSTILE.items())

    def test_signs_that_writing_needs_are_left_alone(self, desk: Desk) -> None:
        judging = desk.open(export([make_run(MORNING, NEEDED)]))
        shown = set()
        for _ in NEEDED:
            shown.add(judging.page.locator("#tip").text_content())
            expect(judging.page.locator("#tip .unseen")).to_have_count(0)
            judging.press("ArrowRight")
        assert shown == set(NEEDED)

    def test_it_is_handed_in_as_it_was(self, desk: Desk, tmp_path: Path) -> None:
        tip = "</script>\x1b[31m \u202eesrever\u202c \u200b\x00 \U000e0041 <b>"
        runs = [make_run(MORNING, [tip])]
        judging = desk.open(export(runs))
        judging.press("1", "1", "1")
        _, data = judging.save()
        result = applied(data, tmp_path / "x.json", runs=runs)
        assert [judgement.key.tip for judgement in result.judgements] == [tip]

    def test_the_policy_stops_what_got_in_all_the_same(
        self, desk: Desk, problems: list[str]
    ) -> None:
        judging = desk.open()
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            directives, got_in = judging.page.evaluate(
                """async (address) => {
                    const directives = [];
                    document.addEventListener("securitypolicyviolation",
                                              (event) => directives.push(event.effectiveDirective));
                    await fetch(address).catch(() => {});
                    await new Promise((resolve) => {
                        const image = Object.assign(new Image(), {onerror: resolve, src: address});
                        document.body.append(image);
                    });
                    const script = document.createElement("script");
                    try { script.text = "window.gotIn = true"; } catch {}
                    document.body.append(script);
                    try { document.body.innerHTML = "<b>in</b>"; } catch {}
                    await new Promise((resolve) => setTimeout(resolve));
                    return [directives, window.gotIn ?? false];
                }""",
                f"http://127.0.0.1:{server.getsockname()[1]}/",
            )
            with pytest.raises(BlockingIOError):  # nobody has knocked
                server.accept()
        assert not got_in
        assert {"connect-src", "img-src", "require-trusted-types-for"} <= set(directives)
        problems.clear()  # what was tried, and the console's words on it


class TestKeeping:
    def test_a_browser_that_keeps_nothing_is_told_of(
        self, desk: Desk, tmp_path: Path, problems: list[str]
    ) -> None:
        sheet_path = desk.put(export(RUNS))
        # A frame without an origin of its own is refused storage, as where site data is blocked.
        frame = tmp_path / "frame.html"
        frame.write_text(
            "<iframe sandbox='allow-scripts' src='sheet.html' width=1200 height=800></iframe>",
            encoding="utf-8",
        )
        page = desk.open_page(frame)
        sheet = page.frame_locator("iframe")
        expect(sheet.get_by_role("alert")).to_contain_text("This browser keeps nothing")
        sheet.get_by_role("button", name="relevance 4").click()
        page.keyboard.press("3")
        expect(sheet.locator("button[aria-pressed=true]")).to_have_count(2)
        assert problems == [f"request: {sheet_path.as_uri()}"]  # the frame's own
        problems.clear()

    def test_a_full_browser_is_told_of_and_asks_before_it_is_left(
        self, desk: Desk, problems: list[str]
    ) -> None:
        judging = desk.open()
        judging.page.evaluate(
            """() => {
                for (let size = 1 << 22; size > 0; size >>= 1) {
                    try { localStorage.setItem(`junk${size}`, "x".repeat(size)); } catch {}
                }
                try { localStorage.setItem("junk", "x"); } catch {}
            }"""
        )
        judging.press("4")
        expect(judging.page.get_by_role("alert")).to_contain_text("This browser keeps nothing")
        with judging.page.expect_event("dialog"):
            judging.page.close(run_before_unload=True)
        assert judging.scores() == [4, None, None]  # asked, and stayed
        assert problems == ["dialog: "]
        problems.clear()

    def test_another_sheets_work_that_nobody_saved_is_offered(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        first = desk.open()
        first.press("4", "2", "5", "Enter", "3")
        context = first.page.context
        first.page.close()

        # A new export over the same file: the page that had the scores is gone.
        second = desk.open(export(RUNS, nonce="ab" * 16), context=context)
        notice = second.page.get_by_role("alert")
        expect(notice).to_contain_text(
            "1 scored tip of another sheet (garden, exported 2026-04-27) that nobody has saved"
        )
        with second.page.expect_download() as download:
            notice.get_by_role("button", name="Save them").click()
        result = applied(download.value.path().read_bytes(), tmp_path / "x.json")
        assert [judgement.scores for judgement in result.judgements] == [
            {"relevance": 4, "actionability": 2, "tone": 5}
        ]
        assert result.judgements[0].sheet_nonce == NONCE
        expect(notice).to_have_count(0)
        second.page.reload()
        expect(second.page.get_by_role("alert")).to_have_count(0)

    def test_what_was_saved_is_not_offered_again(self, desk: Desk) -> None:
        first = desk.open()
        first.press("4", "2", "5")
        first.save()
        second = desk.open(export(RUNS, nonce="ab" * 16), context=first.page.context)
        expect(second.page.get_by_role("alert")).to_have_count(0)

    def test_it_can_be_forgotten(self, desk: Desk) -> None:
        first = desk.open()
        first.press("4", "2", "5")
        second = desk.open(export(RUNS, nonce="ab" * 16), context=first.page.context)
        second.page.get_by_role("button", name="Forget them").click()
        second.page.reload()
        expect(second.page.get_by_role("alert")).to_have_count(0)

    def test_saved_work_makes_room_for_new_work(self, desk: Desk) -> None:
        first = desk.open()
        first.press("4", "2", "5")
        first.save()
        context = first.page.context
        first.page.close()
        second = desk.open(export(RUNS, nonce="ab" * 16), context=context)
        second.page.evaluate(
            """() => {
                for (let size = 1 << 22; size > 0; size >>= 1) {
                    try { localStorage.setItem(`junk${size}`, "x".repeat(size)); } catch {}
                }
            }"""
        )
        second.press("1")
        expect(second.page.get_by_role("alert")).to_have_count(0)
        keys = second.page.evaluate("Object.keys(localStorage)")
        assert f"tipbench-judge:{second.sheet.nonce}" in keys
        assert f"tipbench-judge:{first.sheet.nonce}" not in keys

    @pytest.mark.parametrize(
        "kept",
        [
            "not JSON",
            "null",
            '{"entries": []}',
            '{"index": 99, "entries": [1, null, {"scores": [9, "4", 2.5], "note": 7}, {}, {}]}',
        ],
    )
    def test_what_it_kept_is_believed_only_as_far_as_it_makes_sense(
        self, desk: Desk, kept: str
    ) -> None:
        judging = desk.open()
        judging.page.evaluate(
            "([key, value]) => localStorage.setItem(key, value)", [f"tipbench-judge:{NONCE}", kept]
        )
        judging.page.reload()
        assert judging.text("scored-count") == "0 of 5 scored"
        judging.press("ArrowLeft", "4", "4", "4")
        assert judging.text("scored-count") == "1 of 5 scored"

    def test_a_second_window_follows(self, desk: Desk) -> None:
        first = desk.open()
        second = desk.open(context=first.page.context)
        first.press("4", "2", "5")
        expect(first.page.locator("#scored-count")).to_have_text("1 of 5 scored")
        second.page.bring_to_front()
        expect(second.page.locator("#scored-count")).to_have_text("1 of 5 scored")
        second.press("ArrowRight", "1", "1", "1")
        first.page.bring_to_front()
        expect(first.page.locator("#scored-count")).to_have_text("2 of 5 scored")
        assert first.text("tip-count") == "Tip 1 of 5"

    def test_unsaved_work_is_marked(self, desk: Desk) -> None:
        judging = desk.open()
        mark = judging.page.locator("#unsaved")
        expect(mark).to_be_hidden()
        judging.press("4", "4", "4")
        expect(mark).to_be_visible()
        judging.save()
        expect(mark).to_be_hidden()


class TestScoresDialog:
    def test_a_saved_file_is_loaded_in_another_browser(self, desk: Desk, tmp_path: Path) -> None:
        first = desk.open()
        first.page.get_by_label("Judge", exact=True).fill("ada")
        first.press("Enter", "4", "2", "5", "n", "w", "Escape", "Enter", "1")
        _, data = first.save()
        saved = tmp_path / "saved.json"
        saved.write_bytes(data)

        second = desk.open()
        second.press("1", "1", "s")
        second.page.locator("#load-file").set_input_files(saved)
        expect(second.page.locator("#scores-said")).to_have_text(
            "Loaded 1 scored tip; undo takes that back."
        )
        second.press("Escape")
        assert second.scores() == [4, 2, 5]
        assert second.page.get_by_label("Note").input_value() == "w"
        assert second.page.get_by_label("Judge", exact=True).input_value() == "ada"
        second.press("u")
        assert second.scores() == [1, 1, None]
        assert second.page.get_by_label("Note").input_value() == ""

    @pytest.mark.parametrize(
        ("content", "answer"),
        [
            ("tip,score\n", "This is not a saved scores file: it is not JSON."),
            ("[]", "This file was not saved from this sheet."),
            ('{"nonce": "other", "items": []}', "This file was not saved from this sheet."),
            (
                f'{{"nonce": "{NONCE}", "items": [null, {{"id": 3}}]}}',
                "Loaded 0 scored tips; undo takes that back.",
            ),
        ],
    )
    def test_another_file_is_refused(
        self, desk: Desk, tmp_path: Path, content: str, answer: str
    ) -> None:
        other = tmp_path / "other.json"
        other.write_text(content, encoding="utf-8")
        judging = desk.open()
        judging.press("1", "s")
        judging.page.locator("#load-file").set_input_files(other)
        expect(judging.page.locator("#scores-said")).to_have_text(answer)
        judging.press("Escape")
        assert judging.scores() == [1, None, None]

    def test_copying(self, desk: Desk, tmp_path: Path) -> None:
        judging = desk.open(permissions=["clipboard-read", "clipboard-write"])
        judging.press("4", "2", "5", "s")
        judging.page.get_by_role("button", name="Copy JSON").click()
        expect(judging.page.locator("#scores-said")).to_contain_text("Copied")
        copied = judging.page.evaluate("navigator.clipboard.readText()")
        assert len(applied(copied.encode(), tmp_path / "x.json").judgements) == 1

    def test_where_copying_is_not_allowed_the_text_is_there_to_copy(
        self, desk: Desk, tmp_path: Path
    ) -> None:
        judging = desk.open()
        judging.page.evaluate(
            "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }"
        )
        judging.press("4", "2", "5", "s")
        judging.page.get_by_role("button", name="Copy JSON").click()
        text = judging.page.get_by_label("The scores as JSON")
        expect(text).to_be_focused()
        selected = text.evaluate("e => e.value.slice(e.selectionStart, e.selectionEnd)")
        assert len(applied(selected.encode(), tmp_path / "x.json").judgements) == 1

    def test_clearing_asks_again_and_can_be_undone(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("4", "2", "5", "n", "w", "Escape", "s")
        clear = judging.page.locator("#clear-all")
        clear.click()
        expect(clear).to_have_text("Press again to clear all scores and notes")
        judging.press("Escape", "s")
        expect(clear).to_have_text("Clear all scores and notes")
        clear.click()
        assert judging.scores() == [4, 2, 5]
        clear.click()
        judging.press("Escape")
        assert judging.scores() == [None] * 3
        assert judging.page.get_by_label("Note").input_value() == ""
        judging.press("u")
        assert judging.scores() == [4, 2, 5]
        assert judging.page.get_by_label("Note").input_value() == "w"

    def test_it_says_how_to_hand_the_file_in(self, desk: Desk) -> None:
        judging = desk.open()
        judging.press("4", "2", "5", "Enter", "1", "s")
        assert judging.text("command") == "pytest --judge-apply scores-garden.json"
        assert judging.text("scores-summary") == (
            "1 tip scored, 1 half-scored (saved as unscored, kept here), 3 open."
        )


class TestOtherRubrics:
    def test_a_wide_scale_is_typed(self, desk: Desk) -> None:
        judging = desk.open(with_prose(export(RUNS), scale=(0, 100)))
        fields = judging.page.locator(".criterion input")
        for key in "42":
            judging.press(key)  # the first digit goes to the field of the current criterion
        judging.press("Enter")
        judging.page.keyboard.type("101")
        judging.press("Enter")
        assert judging.text("said") == "Actionability: a whole number from 0 to 100"
        assert fields.nth(1).get_attribute("aria-invalid") == "true"
        fields.nth(1).fill("100")
        judging.press("Enter")
        judging.page.keyboard.type("0")
        judging.press("Enter", "Enter")
        assert judging.text("tip-count") == "Tip 2 of 5"
        assert judging.text("scored-count") == "1 of 5 scored"
        judging.press("ArrowLeft")
        assert [f.input_value() for f in fields.all()] == ["42", "100", "0"]
        fields.nth(0).fill("")
        judging.press("Enter")
        assert judging.text("scored-count") == "0 of 5 scored, 1 half"

    def test_criteria_may_have_any_names(self, desk: Desk) -> None:
        names = ("__proto__", "güte", "constructor", "to_the_point")
        criteria = tuple(SheetCriterion(name=name, weight=1.0) for name in names)
        judging = desk.open(with_prose(export(RUNS), "# Güte\n", criteria=criteria))
        judging.press("1", "2", "3", "4")
        assert judging.page.locator(".criterion h3").all_text_contents()[3] == "to the point"
        _, data = judging.save()
        assert json.loads(data)["items"][0]["scores"] == dict(zip(names, (1, 2, 3, 4), strict=True))


SIZES = [(360, 740), (1024, 768), (1440, 900)]


class TestEveryEye:
    @pytest.mark.parametrize("color_scheme", ["light", "dark"])
    @pytest.mark.parametrize(("width", "height"), SIZES)
    def test_the_page_and_its_dialogs_are_accessible_and_fit(
        self, desk: Desk, width: int, height: int, color_scheme: Literal["light", "dark"]
    ) -> None:
        tips = ["a" * 400, "Water \x1b[31m the plants\u200b.", "Trink ein Glas Wasser."]
        judging = desk.open(
            with_prose(export([make_run(MORNING, tips)])),
            width=width,
            height=height,
            color_scheme=color_scheme,
        )
        judging.press("4", "2", "Enter", "5")
        for key in ("", "l", "r", "s", "?"):
            judging.press(*filter(None, [key]))
            report = Axe().run(judging.page)
            assert report.violations_count == 0, report.generate_report()
            overflow = judging.page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert overflow <= 0
            judging.press(*(["Escape"] if key else []))

    def test_dark_is_dark(self, desk: Desk) -> None:
        brightness = {}
        for scheme in ("light", "dark"):
            page = desk.open(color_scheme=scheme).page
            color = page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness[scheme] = sum(map(int, color[4:-1].split(",")))
        assert brightness["dark"] < 200
        assert brightness["light"] > 600

    def test_the_buttons_stay_where_they_are_from_tip_to_tip(self, desk: Desk) -> None:
        # 280 characters are the most that a model is asked for in one tip.
        tips = ["Water it.", "word " * 56, "Two\nlines."]
        judging = desk.open(export([make_run(MORNING, tips)]))
        places = []
        for _ in tips:
            places.append(judging.page.locator(".criteria").bounding_box())
            judging.press("3", "3", "3", "Enter")
            judging.press("Escape")
        assert places[0] == places[1] == places[2]

    def test_on_a_narrow_screen_the_next_tip_comes_into_sight(self, desk: Desk) -> None:
        judging = desk.open(width=360, height=740)
        judging.page.get_by_role("button", name="tone 4").scroll_into_view_if_needed()
        judging.press("4", "4", "4", "Enter")
        expect(judging.page.locator("#tip")).to_be_in_viewport()
        expect(judging.page.get_by_role("button", name="Next open tip")).to_be_in_viewport()

    @pytest.mark.parametrize("color_scheme", ["light", "dark"])
    def test_on_a_narrow_screen_the_levels_stay_beside_the_buttons(
        self, desk: Desk, color_scheme: Literal["light", "dark"]
    ) -> None:
        text = "".join(
            f"# {name}\nWhat is meant by {name}.\n\n"
            + "".join(f"- **{n}: {name} in {n} words.** More of it.\n" for n in range(1, 6))
            for name in ("relevance", "actionability", "tone")
        )
        tips = ["Call before nine, while the line is free. " * 3, "Take the list along."]
        judging = desk.open(
            with_prose(export([make_run(MORNING, tips)]), text),
            width=360,
            height=740,
            color_scheme=color_scheme,
        )
        page = judging.page
        judging.press("Enter")
        for name in ("relevance", "actionability", "tone"):
            assert judging.criterion == name
            # From the top: the tip, the buttons, the steps, the levels; none covers another.
            steps = page.locator(".steps").bounding_box()
            assert steps is not None
            levels = page.locator("#beside .in-short li:visible")
            assert levels.all_inner_texts() == [f"{n} {name} in {n} words" for n in range(1, 6)]
            for level in levels.all():
                box = level.bounding_box()
                assert box is not None
                assert box["y"] >= steps["y"] + steps["height"]
                assert box["y"] + box["height"] <= 740
            for button in page.locator(".criterion[aria-current=true] button").all():
                box = button.bounding_box()
                assert box is not None
                assert box["y"] >= 0
                assert box["y"] + box["height"] <= steps["y"]
            expect(page.locator("#tip")).to_be_in_viewport(ratio=1)
            judging.press("4")
        judging.press("ArrowUp")
        expect(page.locator("#beside .in-short .chosen:visible")).to_have_text(
            "4 actionability in 4 words"
        )

    def test_on_a_narrow_screen_the_whole_section_is_below_the_short_levels(
        self, desk: Desk
    ) -> None:
        judging = desk.open(with_prose(export(RUNS)), width=360, height=740)
        beside = judging.page.locator("#beside")
        expect(beside).to_contain_text("fits the moment. Wholly.", use_inner_text=True)
        beside.focus()
        judging.press("End")
        expect(beside.locator("[data-level]:visible").last).to_be_in_viewport()
        # tone has no section of its own: all of the rubric scrolls there instead
        judging.press("Escape", "4", "4")
        expect(beside).to_contain_text("Read it whole.", use_inner_text=True)

    def test_a_low_screen_is_left_to_the_tip(self, desk: Desk) -> None:
        # As a desktop magnified to 400 % has it.
        judging = desk.open(with_prose(export(RUNS)), width=320, height=256)
        judging.press("Enter")
        expect(judging.page.locator("#tip")).to_be_in_viewport()
        expect(judging.page.locator("#beside")).not_to_be_in_viewport()
        expect(judging.page.locator("#beside .in-short:visible")).to_have_count(0)
        for key in ("4", "4"):
            judging.press(key)
            expect(
                judging.page.locator(".criterion[aria-current=true] button").last
            ).to_be_in_viewport(ratio=1)
