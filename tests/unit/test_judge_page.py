from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.judge.export import write_export
from pytest_tipbench.judge.files import Sheet, SheetCriterion, sheet_json
from pytest_tipbench.judge.page import is_untouched_page, page_html
from pytest_tipbench.judge.page_rubric import LONGEST_LEVEL_NAME, CriterionProse, rubric_prose
from pytest_tipbench.judge.reading import read_sheet
from tests.unit.judge_samples import (
    document_of,
    export,
    make_anchor,
    make_run,
    make_scenario,
    score,
    to_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_tipbench.judge.files import SheetRubric

SCENARIO = make_scenario("zoe-dawn")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<!-- <script> & co",
    "line\u2028separator, \x1b[31mred\x1b[0m, \u202eesrever, zero\u200bwidth",
)


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""


@dataclass
class Document(HTMLParser):
    """A page's elements in order, each with the text that it begins with."""

    elements: list[Element] = field(default_factory=list)
    is_inside: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, dict(attrs)))
        self.is_inside = True

    def handle_endtag(self, tag: str) -> None:
        self.is_inside = False

    def handle_data(self, data: str) -> None:
        if self.is_inside:
            self.elements[-1].text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def parsed(html: str) -> Document:
    document = Document()
    document.feed(html)
    return document


def sheet_of(*tips: str) -> Sheet:
    return export([make_run(SCENARIO, tips)])


def with_rubric(
    text: str, *names: str, scale: tuple[int, int] = (1, 5), sheet: Sheet | None = None
) -> Sheet:
    sheet = sheet or sheet_of("Call the pharmacy before nine.")
    criteria = tuple(SheetCriterion(name=name, weight=1.0) for name in names)
    rubric = sheet.rubric.model_copy(update={"text": text, "criteria": criteria, "scale": scale})
    return sheet.model_copy(update={"rubric": rubric})


def rubric_of(text: str, *names: str, scale: tuple[int, int] = (1, 5)) -> SheetRubric:
    return with_rubric(text, *names, scale=scale).rubric


class TestPage:
    def test_the_sheet_in_it_is_the_sheet(self) -> None:
        sheet = sheet_of("Trink erst ein Glas Wasser, Zoë.", *HOSTILE)
        page = parsed(page_html(sheet))
        embedded, script = page.all("script")
        assert embedded.attributes == {"type": "application/json", "id": "sheet"}
        assert json.loads(embedded.text) == json.loads(sheet_json(sheet))
        reading = read_sheet(embedded.text.encode())
        assert reading.faults == ()
        assert reading.checksum_matches
        assert script.attributes == {"type": "module"}

    def test_nothing_in_a_tip_is_markup(self) -> None:
        plain = parsed(page_html(sheet_of("one", "two", "three")))
        hostile = parsed(page_html(sheet_of(*HOSTILE)))
        assert [e.tag for e in hostile.elements] == [e.tag for e in plain.elements]

    def test_no_element_asks_for_anything_from_elsewhere(self) -> None:
        page = parsed(page_html(sheet_of("one")))
        asking = {"src", "srcset", "href", "action", "formaction", "data", "poster", "style"}
        asked = [
            (element.tag, name, value)
            for element in page.elements
            for name, value in element.attributes.items()
            if name in asking or name.startswith("on")
        ]
        assert asked == [("a", "href", "#judging")]
        (style,) = page.all("style")
        assert "url(" not in style.text
        assert "@import" not in style.text

    def test_nothing_in_it_moves_by_itself(self) -> None:
        (style,) = parsed(page_html(sheet_of("one"))).all("style")
        rules = style.text.split("*/", 1)[1]
        assert not re.search(r"transition|animation|smooth", rules)

    def test_the_policy_admits_its_own_script_and_style_and_nothing_else(self) -> None:
        page = parsed(page_html(sheet_of("one")))
        (policy,) = [
            meta.attributes["content"]
            for meta in page.all("meta")
            if meta.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policy is not None
        directives = dict(part.split(" ", 1) for part in policy.split("; "))

        def source(text: str) -> str:
            digest = hashlib.sha256(text.encode()).digest()
            return f"'sha256-{base64.b64encode(digest).decode()}'"

        assert directives == {
            "default-src": "'none'",
            "script-src": source(page.all("script")[1].text),
            "style-src": source(page.all("style")[0].text),
            "base-uri": "'none'",
            "form-action": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }

    def test_a_page_is_as_blind_as_its_sheet(self) -> None:
        anchor = make_anchor(SCENARIO, "Leave the plants alone until noon.", (2, 4, 3))
        runs = [make_run(SCENARIO, ["Call before nine."], model="secretmodel:0.5b")]
        html = page_html(export(runs, anchors=[anchor], anchor_count=1))
        # What the sample run and the sample anchor are made of.
        secrets = ("secretmodel", "hush", "whisper", "cafecafe", "hidden reason", "3.1415")
        assert [secret for secret in secrets if secret in html.casefold()] == []
        assert "anchor" not in html.casefold()

    @pytest.mark.parametrize(
        ("scale", "keys"),
        [
            ((1, 5), ["1", "2", "3", "4", "5"]),
            ((0, 3), ["0", "1", "2", "3"]),
            # One digit cannot name these, so they are typed.
            ((1, 10), []),
            ((-2, 2), []),
        ],
    )
    def test_the_rubrics_scale_is_what_can_be_pressed(
        self, scale: tuple[int, int], keys: list[str]
    ) -> None:
        page = parsed(page_html(with_rubric("# kindness", "kindness", "wit", scale=scale)))
        pressed = [
            b.attributes["data-score"] for b in page.all("button") if "data-score" in b.attributes
        ]
        assert pressed == keys * 2
        typed = [i for i in page.all("input") if i.attributes.get("inputmode") == "numeric"]
        assert len(typed) == (0 if keys else 2)

    def test_a_button_says_what_its_level_is_called(self) -> None:
        text = "# good_sense\n- **1: none.** Not a trace.\n- 2: <some>\n"
        page = parsed(page_html(with_rubric(text, "good_sense", scale=(1, 3))))
        labels = [
            (button.attributes["aria-label"], button.attributes.get("title"))
            for button in page.all("button")
            if "data-score" in button.attributes
        ]
        assert labels == [
            ("good sense 1: none", "none"),
            ("good sense 2: <some>", "<some>"),
            ("good sense 3", None),
        ]

    def test_it_says_its_language_and_leaves_the_contents_open(self) -> None:
        page = parsed(page_html(sheet_of("one")))
        assert page.all("html")[0].attributes == {"lang": "en"}
        (tip,) = page.all("blockquote")
        assert (tip.attributes["lang"], tip.attributes["dir"]) == ("", "auto")


class TestUntouched:
    def test_a_page_of_ours_is(self) -> None:
        assert is_untouched_page(page_html(sheet_of(*HOSTILE)).encode())

    def test_changed_anywhere_it_is_not(self) -> None:
        data = page_html(sheet_of("one")).encode()
        for place in (0, data.index(b"Judge tips"), data.index(b'"tip"'), len(data) - 70):
            changed = data[:place] + b"x" + data[place + 1 :]
            assert not is_untouched_page(changed), place
        assert not is_untouched_page(data + b"\n")

    def test_one_that_was_made_of_a_judged_sheet_is_not(self) -> None:
        document = document_of(sheet_of("one"))
        score(document, lambda _: (3, 3, 3))
        judged = read_sheet(to_bytes(document)).sheet
        assert judged is not None
        assert not is_untouched_page(page_html(judged).encode())

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"<!doctype html><p>mine</p>",
            b"\xff\xfe\x00",
            sheet_json(sheet_of("one")).encode(),
            b"<!-- tipbench-page sha256:" + hashlib.sha256(b"").hexdigest().encode() + b" -->\n",
        ],
    )
    def test_anything_else_is_not(self, data: bytes) -> None:
        assert not is_untouched_page(data)

    def test_an_export_goes_over_it_and_over_nothing_else(self, tmp_path: Path) -> None:
        page = tmp_path / "sheet.html"
        for tip in ("one", "two"):
            write_export(page, page_html(sheet_of(tip)), is_untouched=is_untouched_page)
        assert page.read_text(encoding="utf-8") == page_html(sheet_of("two"))
        page.write_text("<p>mine</p>", encoding="utf-8")
        with pytest.raises(UserMistakeError, match="not an untouched export"):
            write_export(page, page_html(sheet_of("one")), is_untouched=is_untouched_page)


class TestRubric:
    def test_html_links_and_images_are_text(self) -> None:
        text = (
            "<script>alert(1)</script>\n\n<b onclick=x>bold</b> &amp; [link](https://a.example) "
            "![image](https://b.example/i.png) <https://c.example>\n\n"
            "[reference][1] and `<code>`\n\n[1]: https://d.example\n"
        )
        html = rubric_prose(rubric_of(text)).whole
        assert set(re.findall(r"<(\w+)", html)) <= {"p", "code"}
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "[link](https://a.example) ![image](https://b.example/i.png)" in html

    def test_markdown_is_rendered_below_the_pages_own_headings(self) -> None:
        text = "# One\n###### Six\n- *a*\n\n| x |\n|---|\n| y |\n"
        html = rubric_prose(rubric_of(text)).whole
        assert "<h3>One</h3>" in html
        assert "<h6>Six</h6>" in html
        assert "<li><em>a</em></li>" in html
        assert "<td>y</td>" in html

    def test_a_criterion_has_the_section_that_its_heading_begins(self) -> None:
        text = (
            "# How to score\nAll of it.\n## Tone of voice\nTone.\n### More\nOf tone.\n"
            "## relevance: does it fit?\nFit.\n# End\nFin.\n"
        )
        prose = rubric_prose(rubric_of(text, "relevance", "tone"))
        relevance, tone = (criterion.section for criterion in prose.criteria)
        assert relevance == ('<h4 data-criterion="0">relevance: does it fit?</h4>\n<p>Fit.</p>\n')
        assert tone == (
            '<h4 data-criterion="1">Tone of voice</h4>\n<p>Tone.</p>\n'
            "<h5>More</h5>\n<p>Of tone.</p>\n"
        )
        assert 'data-criterion="1"' in prose.whole

    @pytest.mark.parametrize(
        ("heading", "name"),
        [("Good Sense", "good_sense"), ("`good_sense`", "good_sense"), ("Güte (1-5)", "güte")],
    )
    def test_a_heading_names_a_criterion_in_any_writing(self, heading: str, name: str) -> None:
        (criterion,) = rubric_prose(rubric_of(f"# {heading}\nText.", name)).criteria
        assert criterion.section is not None

    @pytest.mark.parametrize("heading", ["Toneless", "On tone", "Stone"])
    def test_without_a_heading_of_its_own_there_is_no_section(self, heading: str) -> None:
        prose = rubric_prose(rubric_of(f"# {heading}\n- 1: text", "tone"))
        assert prose.criteria == (CriterionProse("tone", None, {}),)

    def test_the_pages_rubric_is_whole_where_a_criterion_has_no_section(self) -> None:
        html = page_html(with_rubric("# wit\nSharp.\n# Other\nElse.", "wit", "tone"))
        places = [
            e.attributes["data-place"]
            for e in parsed(html).elements
            if "data-place" in e.attributes
        ]
        assert places == ["0", "whole"]
        assert html.count("<p>Else.</p>") == 2  # beside the tip, and on demand

    def test_levels_are_called_by_the_words_in_bold_or_the_first_ones(self) -> None:
        text = (
            "# tone\n- **1: hurtful.** It blames.\n- 2 - off-putting\n- **3** – neutral;\n  or so\n"
            "- 4 = shows *care*\n- **Score 5**: an example\n- 7: off the scale\n- 1: again\n"
            "- 5 " + "long " * 20
        )
        (tone,) = rubric_prose(rubric_of(text, "tone")).criteria
        # 79 of the 100 characters, and the sign that says so.
        long_name = ("long " * 20)[: LONGEST_LEVEL_NAME - 1] + "…"
        assert tone.level_names == {
            1: "hurtful",
            2: "off-putting",
            3: "neutral; or so",
            4: "shows care",
            5: long_name,
        }
        assert tone.section is not None
        assert re.findall(r'<li data-level="(\d)">', tone.section) == ["1", "2", "3", "4", "5"]

    def test_levels_of_a_scale_below_zero(self) -> None:
        text = "# wit\n* -1: dull\n* 0: some\n* 1: sharp\n"
        (wit,) = rubric_prose(rubric_of(text, "wit", scale=(-1, 1))).criteria
        assert wit.level_names == {-1: "dull", 0: "some", 1: "sharp"}
