from __future__ import annotations

import json
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pytest_tipbench.tip_parsing import (
    LONGEST_DECODED,
    LONGEST_LIST,
    Candidate,
    Reading,
    read_json,
    read_list,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)
"""Lone surrogates, control characters and all."""


def strings(reading: Reading) -> list[str]:
    assert all(candidate.whole for candidate in reading.candidates)
    return [candidate.text for candidate in reading.candidates]


def from_json(text: str, limit: int = 100) -> list[str]:
    return strings(read_json(text, limit))


def from_list(text: str) -> list[str]:
    return [" ".join(item.split()) for item in strings(read_list(text, 100, cut=False))]


# --- JSON: well-formed ------------------------------------------------------------------------


@pytest.mark.parametrize("ensure_ascii", [True, False])
@settings(deadline=None)
@given(texts=st.lists(ANY_TEXT, min_size=2), indent=st.sampled_from([None, 0, 2]))
def test_well_formed_json_is_read_as_it_says(
    *, texts: list[str], indent: int | None, ensure_ascii: bool
) -> None:
    # Two escaped halves in a row are one character to any JSON reader.
    assume(not any("\ud800" <= c <= "\udfff" for text in texts for c in text) or not ensure_ascii)
    text = json.dumps({"tips": texts}, indent=indent, ensure_ascii=ensure_ascii)
    assert from_json(text) == texts


@pytest.mark.parametrize(
    "text",
    [
        '{"tips": ["one", "two"]}',
        '["one", "two"]',
        '{"response": {"tips": ["one", "two"]}}',
        '{"title": "for Ana", "tips": ["one", "two"], "note": "good luck"}',
        '[{"tip": "one"}, {"tip": "two"}]',
        '{"tips": [{"title": "A", "text": "one"}, {"id": 2, "text": "two", "tags": ["x"]}]}',
        '{"tips": [{"title": "A", "description": "one"}, {"title": "B", "description": "two"}]}',
        '{"tips": [["one"], ["two"]]}',
        '{"tip_1": "one", "tip_2": "two"}',
        '{"Tip 1": "one", "Tip 2": "two"}',
        '{"1": "one", "2": "two"}',
        '{"tips": {"1": "one", "2": "two"}}',
        '{"morning": ["one"], "evening": ["two"]}',
        '{"tip": "one"}\n{"tip": "two"}\n',
        '{"TIPS": ["one", "two"]}',
        '{"tips": ["one", null, 3, true, "two"]}',
        '{"tips": "1. one\\n2. two"}',
        '["- one\\n- two"]',
    ],
)
def test_shapes_of_json(text: str) -> None:
    assert from_json(text) == ["one", "two"]


@pytest.mark.parametrize(
    "text", ["", "plain prose", "{}", "[]", '{"tips": []}', '{"tips": null}', "[1, 2]", "{", "["]
)
def test_json_without_a_string(text: str) -> None:
    assert from_json(text) == []


@pytest.mark.parametrize(
    "text", ["[Name], a word", "- [ ] one\n- [x] two", "see [here](there)", "f(x) { return x }"]
)
def test_brackets_of_prose_are_not_json(text: str) -> None:
    assert from_json(text) == []


# --- JSON: damaged ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"tips": ["one", "two"]}\n```',
        '```\n["one", "two"]\n```\nThese should help.',
        'Sure! Here are [2] tips for {Ana}:\n\n{"tips": ["one", "two"]}\n\nDon\'t "worry"!',
        '{"tips": ["one", "two",]}',
        '{"tips": ["one", "two",],}',
        '{"tips": ["one" "two"]}',
        '{"tips": [\n  "one"\n  "two"\n]}',
        '{"tips": ["one", "two"}',
        '{"tips": ["one", "two"',
        '{"tips": ["one", "two"]',
        '{"tips": ["one", "two"]]}}',
        "{'tips': ['one', 'two']}",
        "tips = ['one', \"two\"]",
        "{“tips”: [“one”, “two”]}",
        '{tips: ["one", "two"]}',
        '[{tip: "one"}, {tip: "two"}]',
        '{"tips": ["one", // the first\n "two"]}',
        '{"tips": ["one"; "two"]}',
        '{"tips": ["tips": "one", "two"]}',
        '{"tips": ["one", "two"], "no',
        '{"tips": ["one", "two"], "note": "and so',
    ],
)
def test_damaged_json(text: str) -> None:
    assert from_json(text) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'["a \"b\" c", "\u00e9\n\t\/\\"]', ['a "b" c', "é\n\t/\\"]),
        (r'["\ud83d\ude00", "x \ud83d"]', ["😀", "x \ud83d"]),
        (r"['Don\'t', 'Don't go']", ["Don't", "Don't go"]),
        (r'["\*bold\*", "\d"]', ["*bold*", "d"]),
        (
            '["Say "no" to it", "Read "Deep Work"", "x"]',
            ['Say "no" to it', 'Read "Deep Work"', "x"],
        ),
        ('["over\ntwo lines", "b"]', ["over\ntwo lines", "b"]),
        ('["[1] and {2}: it, all", "b"]', ["[1] and {2}: it, all", "b"]),
        ('["“quoted”", "b"]', ["“quoted”", "b"]),
    ],
)
def test_what_stands_in_a_string(text: str, expected: list[str]) -> None:
    assert from_json(text) == expected


@pytest.mark.parametrize(
    "text", ['{"tips": ["one", "and th', "['one', 'and th", '["one", "and th\\', "[“one”, “and th"]
)
def test_a_string_that_is_cut_off_is_not_whole(text: str) -> None:
    first, half = read_json(text, 100).candidates
    assert first == Candidate("one")
    assert half.text.rstrip("\\") == "and th"
    assert not half.whole


def test_a_cut_off_list_in_a_string() -> None:
    reading = read_json('{"tips": "1. one\\n2. and th', 100)
    assert reading.candidates == (Candidate("one"), Candidate("and th", whole=False))


def test_past_the_limit_the_rest_is_kept() -> None:
    reading = read_json('["a", "b", "c", "d"]', 2)
    assert strings(reading) == ["a", "b"]
    assert reading.rest == ', "c", "d"]'


def test_brackets_without_strings_reach_the_limit_too() -> None:
    text = "[]" * 1_000
    reading = read_json(text, 1)
    assert reading.candidates == ()
    assert reading.rest
    assert text.endswith(reading.rest)


def test_a_very_long_string_keeps_its_escapes() -> None:
    long = r"\n" * (LONGEST_DECODED // 2 + 1)
    assert from_json(f'["{long}", "b"]') == [long, "b"]


# --- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1. one\n2. two",
        "1) one\n2) two",
        "(1) one\n(2) two",
        "1: one\n2: two",
        "1 - one\n2 – two",
        "1.one\n2.two",
        "  1. one\n  2. two",
        "> 1. one\n> 2. two",
        "１. one\n２． two",
        "1、one\n2、two",
        "① one\n② two",
        "1️⃣ one\n2️⃣ two",
        "a) one\nb) two",
        "Tip 1: one\nTip 2: two",
        "TIP #1 - one\nTIP #2 - two",
        "Step 1.\none\nStep 2.\ntwo",
        "### Tip 1\none\n\n### Tip 2\ntwo",
        "- one\n- two",
        "* one\n* two",
        "+ one\n+ two",
        "• one\n• two",
        "•one\n•two",
        "– one\n— two",
        "- [ ] one\n- [x] two",
        "✅ one\n✅ two",
        "Here are two:\n\n1. one\n\n2. two\n\nHope this helps!",
        "1. one\n2. two\n```",
        "1. one\n2. two\n</tips>",
        "- one\n### Evening\n- two",
        "Sure: 1. one 2. two",
        "1. one 2. two",
        "tips:\n  - one\n  - two\n",
        "1. one\r\n2. two\r\n",
    ],
)
def test_marks_of_lists(text: str) -> None:
    assert from_list(text) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1. one\n   goes on\n2. two", ["one goes on", "two"]),
        ("1. one\n   - part\n   - part\n2. two", ["one - part - part", "two"]),
        ("1. one\n\nwhy: because\n\n2. two", ["one", "two"]),
        (
            "1. **One**\n\nDo it.\n\n2. **Two**\n\nAnd this.\n\nBye!",
            ["**One** Do it.", "**Two** And this."],
        ),
        ("**1. One**\n\nDo it.\n\n**2. Two**\n\nThat.", ["One** Do it.", "Two** That."]),
        ("1. One:\n\nDo it.\n\n2. Two:\n\nThat.", ["One: Do it.", "Two: That."]),
        ("**One**: do it.\n\n**Two**: that.\n\nBye!", ["**One**: do it.", "**Two**: that."]),
        ("1. only one", ["only one"]),
        ("Tip #1: only one\n\nBye!", ["only one"]),
        ("1. one 1. two 2. three", ["one 1. two", "three"]),
    ],
)
def test_items(text: str, expected: list[str]) -> None:
    assert from_list(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Drink some water. Then take a walk.",
        "Drink some water.\n\nThen take a walk.",
        "I'm sorry, but I can't help with that.",
        "**Note**: this is one paragraph",
        "1.5 litres of water",
        "12:30 is a good time",
        "5 - 10 minutes",
        "2024. a year",
        "-5 degrees",
        "---",
    ],
)
def test_prose_holds_no_item(text: str) -> None:
    assert from_list(text) == []


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("1. one\n2. and th", False),
        ("1. one 2. and th", False),
        ("1. one\n2. and th\n", True),
        ("1. one\n2. and th\n\nBye", True),
        ("1. one\n2. **Title**\n\nand th", False),
    ],
)
def test_the_last_item_of_a_cut_off_list(text: str, *, whole: bool) -> None:
    first, last = read_list(text, 100, cut=True).candidates
    assert first.whole
    assert last.whole is whole


def test_past_the_limit_the_rest_of_the_list_is_kept() -> None:
    reading = read_list("1. a\n2. b\n3. c\n4. d", 2, cut=True)
    assert strings(reading) == ["a", "b"]
    assert reading.rest == "\n3. c\n4. d"


def test_a_list_is_not_looked_for_very_far_down() -> None:
    filler = "x" * LONGEST_LIST
    assert read_list(f"{filler}\n1. one", 100, cut=False) == Reading(())
    reading = read_list(f"1. one\n2. {filler}", 100, cut=False)
    assert [candidate.whole for candidate in reading.candidates] == [True, False]
    assert reading.rest == "x" * len("1. one\n2. ")


# --- any text ---------------------------------------------------------------------------------

SCRAPS = st.sampled_from(
    [
        *(
            '{"tips": [',
            "[",
            "]",
            "{",
            "}",
            '"',
            "'",
            "“",
            "”",
            ",",
            ":",
            "\\",
            "\n",
            "  ",
            "//",
            "#",
        ),
        *(
            "```json\n",
            "1. ",
            "2. ",
            "- ",
            "**",
            "Tip 3:",
            "tips",
            "Drink water",
            "é",
            "\ud800",
            "\0",
        ),
    ]
)


@settings(deadline=None)
@given(text=st.one_of(ANY_TEXT, st.lists(SCRAPS).map("".join)), cut=st.booleans())
def test_no_text_makes_a_reading_fail(*, text: str, cut: bool) -> None:
    for reading in (read_json(text, 5), read_list(text, 5, cut=cut)):
        assert len(reading.candidates) <= 5
        assert reading.rest in text or text.startswith(reading.rest.removeprefix("\n"))


@pytest.mark.parametrize("bracket", ["[", "{", '{"a":', "[{", '["'])
def test_deep_nesting_is_no_recursion(bracket: str) -> None:
    text = bracket * 100_000
    started = time.process_time()
    read_json(text, 200)
    read_list(text, 200, cut=True)
    assert time.process_time() - started < 1
