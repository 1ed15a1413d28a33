from __future__ import annotations

import json
import random
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tipbench.records import Outcome, ParsedTips
from pytest_tipbench.tips import (
    FEWEST_LETTERS,
    MOST_CANDIDATES,
    MOST_CHARACTERS,
    clean_tip,
    parse_tips,
)

FIVE = (
    "Drink a glass of water before the call",
    "Put the phone in another room until ten",
    "Prends l'air cinq minutes à midi",
    "水を一杯飲んでから始めましょう",
    "हर घंटे पानी पियो और थोड़ा चलो",
)


def parse(
    text: str, *, n_tips: int = 5, stop_reason: str | None = "stop", thinking: str | None = None
) -> ParsedTips:
    return parse_tips(text, n_tips=n_tips, stop_reason=stop_reason, thinking=thinking)


def as_json(*tips: str) -> str:
    return json.dumps({"tips": tips})


def reasons(parsed: ParsedTips) -> list[tuple[str, str]]:
    return [(one.text, one.reason) for one in parsed.dropped]


# --- usable tips ------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_reason", ["stop", "length", None])
def test_all_tips_that_were_asked_for(stop_reason: str | None) -> None:
    parsed = parse(as_json(*FIVE), stop_reason=stop_reason)
    assert parsed == ParsedTips(outcome=Outcome.OK, tips=FIVE, dropped=(), thinking_stripped=False)


@pytest.mark.parametrize(
    "text",
    [
        "```json\n" + json.dumps({"tips": FIVE}, indent=2, ensure_ascii=False) + "\n```",
        "Here you go:\n" + "\n".join(f"{n}. **{tip}**" for n, tip in enumerate(FIVE, 1)),
        "\n\n".join(f"- {tip}" for tip in FIVE) + "\n\nHope this helps!",
        "{'tips': [" + ", ".join(f'"{tip}"' for tip in FIVE) + ",],}<|im_end|>",
    ],
)
def test_tolerant_of_the_form(text: str) -> None:
    assert parse(text).tips == FIVE


def test_some_are_short() -> None:
    parsed = parse(as_json(*FIVE[:2]))
    assert parsed.outcome is Outcome.SHORT
    assert parsed.tips == FIVE[:2]


def test_whole_strings_of_a_cut_off_answer_are_tips() -> None:
    parsed = parse(as_json(*FIVE)[:62], stop_reason="length")
    assert parsed.outcome is Outcome.SHORT
    assert parsed.tips == FIVE[:1]
    assert reasons(parsed) == [("Put the p", "cut off")]


def test_the_last_item_of_a_cut_off_list_is_no_tip() -> None:
    parsed = parse(f"1. {FIVE[0]}\n2. {FIVE[1]}", stop_reason="length")
    assert parsed.tips == FIVE[:1]
    assert reasons(parsed) == [(FIVE[1], "cut off")]


def test_what_is_dropped_and_why() -> None:
    long = "word " * 121
    parsed = parse(
        as_json(
            "tip",
            "30",
            "|im_end|> ",
            long,
            FIVE[0],
            FIVE[0].upper() + " !",
            *FIVE[1:],
            "Sleep well tonight",
        )
    )
    assert parsed.tips == FIVE
    assert reasons(parsed) == [
        ("tip", "fewer than 8 letters"),
        ("30", "fewer than 8 letters"),
        ("|im_end|> ", "fewer than 8 letters"),
        (long, "longer than 600 characters"),
        (FIVE[0].upper() + " !", "a duplicate"),
        ("Sleep well tonight", "more than the 5 asked for"),
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Drink it", 7),
        ("Drink now", 8),
        ("水を一杯飲んで始", 8),
        ("1234 5678 90", 0),
        ("हर घंटे पानी पियो", 8),
        ("हर घंटे पानी", 6),
    ],
)
def test_eight_letters_of_any_script(text: str, count: int) -> None:
    assert sum(map(str.isalpha, text)) == count
    assert bool(parse(as_json(text)).tips) is (count >= FEWEST_LETTERS)


@pytest.mark.parametrize(("length", "usable"), [(600, True), (601, False), (20_001, False)])
def test_six_hundred_characters_at_most(length: int, *, usable: bool) -> None:
    parsed = parse(as_json("a" * length))
    assert bool(parsed.tips) is usable
    assert [len(text) for text, _ in reasons(parsed)] == ([] if usable else [length])


def test_length_counts_after_cleaning() -> None:
    decomposed = "e\u0301" * MOST_CHARACTERS
    assert parse(as_json(decomposed)).tips == ("é" * MOST_CHARACTERS,)


@pytest.mark.parametrize(
    "again",
    [
        "drink a GLASS of water before the call.",
        "  Drink a glass  of water before the call?!",
        "Drink a glass of water before the call…",
    ],
)
def test_duplicates_but_for_case_and_final_punctuation(again: str) -> None:
    assert parse(as_json(FIVE[0], again)).tips == FIVE[:1]


def test_a_final_vowel_sign_is_not_punctuation() -> None:
    assert len(parse(as_json("सुबह थोड़ा पानी पीना", "सुबह थोड़ा पानी पीने")).tips) == 2


def test_json_without_a_usable_tip_gives_way_to_a_list() -> None:
    parsed = parse(f'["short"]\n\n1. {FIVE[0]}')
    assert parsed.tips == FIVE[:1]
    assert reasons(parsed) == [("short", "fewer than 8 letters")]


def test_a_refusal_is_no_tip() -> None:
    refusal = "I’m sorry, but I can't help with that."
    parsed = parse(as_json(refusal, FIVE[0]))
    assert parsed.outcome is Outcome.SHORT
    assert reasons(parsed) == [(refusal, "a refusal")]


@pytest.mark.parametrize(
    "tip",
    [
        "Tell your boss that you can't do it today",
        "Write back: \"I'm sorry, but I can't make it.\"",
        "If you are unable to sleep, get up and read",
        "Ask Hawaii can't wait",
    ],
)
def test_advice_that_sounds_a_little_like_a_refusal(tip: str) -> None:
    assert parse(as_json(tip)).tips == (tip,)


def test_what_lies_past_the_limit_is_recorded_whole() -> None:
    scraps = ["x"] * (MOST_CANDIDATES + 3)
    parsed = parse(json.dumps(scraps))
    assert reasons(parsed)[-1] == (', "x", "x", "x"]', f"past the first {MOST_CANDIDATES} strings")


def test_many_tips_may_be_asked_for() -> None:
    tips = tuple(f"Take a walk in the {'very ' * n}early morning" for n in range(100))
    assert parse(as_json(*tips), n_tips=100).outcome is Outcome.OK


# --- cleaning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Drink\n some\twater \r\n", "Drink some water"),
        ("Cafe\u0301 at ten", "Café at ten"),
        ("Drink\u2028some\u00a0water", "Drink some water"),
        # chat templates
        ("Drink some water<|im_end|>", "Drink some water"),
        ("Drink some water|im_end|>", "Drink some water"),
        ("Drink some water <|im_end", "Drink some water"),
        ("Drink some water im_end|> ", "Drink some water"),
        ("Drink some water im_endassistant", "Drink some water assistant"),
        ("Set a claim_end date", "Set a claim_end date"),
        ("Drink some water<|eot_id|><|end_of_text|>", "Drink some water"),
        ("<|im_start|>assistant\nDrink some water", "Drink some water"),
        ("<start_of_turn>model Drink some water<end_of_turn>", "Drink some water"),
        ("<|start_header_id|>assistant<|end_header_id|>Drink some water", "Drink some water"),
        ("<s>[INST] <<SYS>> Drink some water [/INST]</s>", "Drink some water"),
        ("Drink some water<｜end▁of▁sentence｜>", "Drink some water"),
        ("Drink some water<|im_<|im_end|>end|>", "Drink some water"),
        ("Drink some water<eos><pad><unused12>", "Drink some water"),
        ("Drink <some> water & a|b < 3", "Drink <some> water & a|b < 3"),
        # Markdown
        ("**Hydrate:** drink *some* water", "Hydrate: drink some water"),
        ("__Hydrate__ with _some_ `water`", "Hydrate with some water"),
        ("***Hydrate*** ~~now~~", "Hydrate now"),
        ("2 * 3 or 2*3 glasses of snake_case", "2 * 3 or 2*3 glasses of snake_case"),
        ("## Drink some water", "Drink some water"),
        ("> Drink some water", "Drink some water"),
        # list marks
        ("1. Drink some water", "Drink some water"),
        ("2) - [ ] Drink some water", "Drink some water"),
        ("**Tip 3:** Drink some water", "Drink some water"),
        ("Tip: Drink some water", "Drink some water"),
        ("• Drink some water", "Drink some water"),
        ("- - - Drink some water", "Drink some water"),
        ("7:30 is the time", "7:30 is the time"),
        ("1.5 litres of water", "1.5 litres of water"),
        ("5 - 10 minutes of air", "5 - 10 minutes of air"),
        ("-5 degrees is cold", "-5 degrees is cold"),
        # quotes
        ('"Drink some water"', "Drink some water"),
        ('"Drink some water",', "Drink some water"),
        ("“Drink some water”", "Drink some water"),
        ("«Drink some water»", "Drink some water"),
        ("'Drink some water'", "Drink some water"),
        ('"- **Drink** some water"', "Drink some water"),
        ('"Now" and "Never"', '"Now" and "Never"'),
        ("'Tis the season", "'Tis the season"),
        # what cannot be seen
        ("Drink\0 some\x07 water\x7f", "Drink some water"),
        ("\x1b[31mDrink\x1b[0m some water", "Drink some water"),
        ("Drink \u202esome\u202c \ufeffwater\u200b", "Drink some water"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),
        ("Drink \ud800some water", "Drink \ufffdsome water"),
        ("Drink \ud83d\ude00 some water", "Drink 😀 some water"),
        ("<b>Drink</b> some water", "<b>Drink</b> some water"),
    ],
)
def test_cleaning(text: str, expected: str) -> None:
    assert clean_tip(text) == expected
    assert clean_tip(expected) == expected


def test_every_layer_comes_off() -> None:
    layered = "*_*_Drink some water_*_*"
    for opening, closing in ("''", "「」", "『』", "«»", "‘’", "“”", '""'):
        layered = f"{opening}- 1. **{layered}**{closing}"
    assert clean_tip(layered) == "Drink some water"


# --- thinking ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm, [1] or [2]?</think>" + as_json(*FIVE),
        'Hm, {"tips": ["not this one here"]}</think>\n\n' + as_json(*FIVE),
        "<think>one</think>no</think>" + as_json(*FIVE),
        "<THINKING>hm</THINKING>" + as_json(*FIVE),
        "[THINK]hm[/THINK]" + as_json(*FIVE),
        as_json(*FIVE) + "<think>was that enough?",
    ],
)
def test_thinking_is_stripped_and_flagged(text: str) -> None:
    parsed = parse(text)
    assert parsed.thinking_stripped
    assert parsed.tips == FIVE
    assert parsed.dropped == ()


def test_thinking_that_never_ends_is_all_thinking() -> None:
    parsed = parse("<think>Maybe " + as_json(*FIVE))
    assert parsed.thinking_stripped
    assert parsed.tips == ()
    assert parsed.outcome is Outcome.EMPTY


def test_thinking_that_the_provider_separated_was_not_stripped_here() -> None:
    parsed = parse(as_json(*FIVE), thinking="Hm.")
    assert not parsed.thinking_stripped
    assert parsed.outcome is Outcome.OK


# --- outcomes ---------------------------------------------------------------------------------

LOOP = "and then and then and then and then and then and then"
PROSE = "Life is short, so think about what you would like to do with it."


@pytest.mark.parametrize(
    ("text", "stop_reason", "thinking", "outcome"),
    [
        # refused comes first, cut off or not
        ("I'm sorry, but I can't help with that.", "stop", None, Outcome.REFUSED),
        ("I cannot assist with this request", "length", None, Outcome.REFUSED),
        ("As an AI language model, I have no tips.", "stop", None, Outcome.REFUSED),
        ("Sorry, I am unable to give advice.", "stop", None, Outcome.REFUSED),
        ("I’m not able to do that.", "stop", None, Outcome.REFUSED),
        ("I must respectfully decline.", "stop", None, Outcome.REFUSED),
        ('{"error": "I am unable to provide tips"}', "stop", None, Outcome.REFUSED),
        ('{"tips": []}\n\nI won\'t be able to help.', "stop", None, Outcome.REFUSED),
        ("Es tut mir leid, aber ich kann das nicht.", "stop", None, Outcome.REFUSED),
        ("Ich kann dir dabei leider nicht helfen.", "stop", None, Outcome.REFUSED),
        ("Je suis désolé, mais je ne peux pas.", "stop", None, Outcome.REFUSED),
        ("Lo siento, no puedo ayudar con eso.", "stop", None, Outcome.REFUSED),
        ("Desculpe, mas não posso.", "stop", None, Outcome.REFUSED),
        ("Mi dispiace, ma non posso aiutarti.", "stop", None, Outcome.REFUSED),
        ("Извините, но я не могу помочь.", "stop", None, Outcome.REFUSED),
        ("抱歉，我无法提供帮助。", "stop", None, Outcome.REFUSED),
        ("大変申し訳ありませんが、できません。", "stop", None, Outcome.REFUSED),
        ("I can't help with that. " * 40, "length", None, Outcome.REFUSED),
        # looping
        (LOOP, "stop", None, Outcome.LOOPING),
        (LOOP, "length", None, Outcome.LOOPING),
        ("a" * 500, "length", None, Outcome.LOOPING),
        ("好" * 40, "stop", None, Outcome.LOOPING),
        ("".join(f"Tip {n} Tip {n + 1} " for n in range(20)), "stop", None, Outcome.LOOPING),
        ("Hello\nHello\nHello\n", "stop", None, Outcome.LOOPING),
        (as_json("tip", "tip", "tip", "tip", "tip"), "stop", None, Outcome.LOOPING),
        (as_json("tip", "Tip "), "stop", None, Outcome.LOOPING),
        (as_json("tip", "30", "tip", "tip", "no"), "stop", None, Outcome.LOOPING),
        ('{"tips": [' + "\n" * 300, "length", None, Outcome.LOOPING),
        ('{"tips": [' + " " * 100 + "]}", "stop", None, Outcome.LOOPING),
        ("\n" * 1000, "length", None, Outcome.LOOPING),
        ("\n", "length", None, Outcome.LOOPING),
        ("\n" * 1000, "length", "Hm.", Outcome.LOOPING),
        # truncated
        (PROSE, "length", None, Outcome.TRUNCATED),
        ('{"tips": ["Drink a glass of wa', "length", None, Outcome.TRUNCATED),
        ("1. Drink a glass of wa", "length", None, Outcome.TRUNCATED),
        ("", "length", None, Outcome.TRUNCATED),
        ("", "length", "Hm, what would", Outcome.TRUNCATED),
        ("\n\n", "length", "Hm, what would", Outcome.TRUNCATED),
        ("<think>Hm, what would", "length", None, Outcome.TRUNCATED),
        ("<think>Hm</think>\n\n", "length", None, Outcome.TRUNCATED),
        # empty
        ("", "stop", None, Outcome.EMPTY),
        ("", None, None, Outcome.EMPTY),
        ("", "stop", "Hm.", Outcome.EMPTY),
        (" \n\t\u3000", "stop", None, Outcome.EMPTY),
        ("\n" * 1000, "stop", None, Outcome.EMPTY),
        ("<think>Hm</think>\n", "stop", None, Outcome.EMPTY),
        ("<think>Hm", "stop", None, Outcome.EMPTY),
        ("<|im_end|>\n", "stop", None, Outcome.EMPTY),
        # malformed
        (PROSE, "stop", None, Outcome.MALFORMED),
        (PROSE, None, None, Outcome.MALFORMED),
        ('{"tips": []}', "stop", None, Outcome.MALFORMED),
        ("[]", "stop", None, Outcome.MALFORMED),
        (as_json("", "", "", "", ""), "stop", None, Outcome.MALFORMED),
        (as_json("tip", "30", "no"), "stop", None, Outcome.MALFORMED),
        (as_json("a" * 400 + PROSE * 9), "stop", None, Outcome.LOOPING),
        ('{"tips": ["Drink a glass of wa', "stop", None, Outcome.MALFORMED),
        ("\0\0", "stop", None, Outcome.MALFORMED),
        ("<html><body>404</body></html>", "stop", None, Outcome.MALFORMED),
    ],
)
def test_why_there_is_no_tip(
    text: str, stop_reason: str | None, thinking: str | None, outcome: Outcome
) -> None:
    parsed = parse(text, stop_reason=stop_reason, thinking=thinking)
    assert parsed.tips == ()
    assert parsed.outcome is outcome


def test_a_long_answer_in_prose_is_not_looping() -> None:
    prose = unicodedata.__doc__ or ""
    assert len(prose) > 300
    assert parse(" ".join(prose.split())).outcome is Outcome.MALFORMED


@pytest.mark.parametrize("text", ["yes " * 50, as_json(FIVE[0], *["no"] * 9), "\n" * 500])
def test_with_a_usable_tip_nothing_else_counts(text: str) -> None:
    parsed = parse(f"{as_json(FIVE[0])}\n{text}", stop_reason="length")
    assert parsed.outcome is Outcome.SHORT


# --- any text ---------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)
SCRAPS = st.sampled_from(
    [
        *('{"tips": [', "[", "]", "}", '"', "'", "“", "”", "‘", "«", "»", ",", ":", "\\", "\\u"),
        *("\n", "  ", "```json\n", "1. ", "2)", "- ", "* ", "**", "_", "`", "#", ">", "[ ]", "("),
        *("Tip 3:", "①", "2", "!", ".", "~~", "<think>", "</think>", "<|im_end|>", "<|", "|>"),
        *(
            "im_end",
            "[INST]",
            "</s>",
            "\x1b[31m",
            "\ud800",
            "\0",
            "\u200b",
            "\u202e",
            "I can't help",
        ),
        *("drink some water", "é", "e\u0301", "ß", "水を飲む", "\u1100\u1161", "\u0958", "x" * 300),
    ]
)
MADE_UP = st.lists(SCRAPS, max_size=20).map("".join)
HOSTILE = st.one_of(ANY_TEXT, MADE_UP, st.lists(st.one_of(ANY_TEXT, MADE_UP)).map(json.dumps))
STOP_REASONS = st.sampled_from(["stop", "length", "load", None])


@settings(deadline=None)
@given(HOSTILE, st.integers(1, 6), STOP_REASONS, st.sampled_from([None, "", "hm"]))
def test_any_text_comes_to_strict_tips_and_an_outcome(
    text: str, n_tips: int, stop_reason: str | None, thinking: str | None
) -> None:
    parsed = parse(text, n_tips=n_tips, stop_reason=stop_reason, thinking=thinking)
    assert len(parsed.tips) <= n_tips
    for tip in parsed.tips:
        assert tip == " ".join(tip.split())
        assert tip == unicodedata.normalize("NFC", tip)
        assert not {"Cc", "Cs"} & set(map(unicodedata.category, tip))
        assert sum(map(str.isalpha, tip)) >= FEWEST_LETTERS
        assert len(tip) <= MOST_CHARACTERS
        assert not any(token in tip for token in ("<|", "|>", "[INST]", "</s>", "**"))
        assert not tip.startswith(("- ", "1. ", "# ", "[ ]", "Tip 3:"))
    assert len({tip.casefold() for tip in parsed.tips}) == len(parsed.tips)
    expected = {0: None, n_tips: Outcome.OK}.get(len(parsed.tips), Outcome.SHORT)
    if expected is None:
        assert not parsed.outcome.is_usable
        assert not parsed.outcome.is_machine_fault
    else:
        assert parsed.outcome is expected


@settings(deadline=None)
@given(text=HOSTILE, ensure_ascii=st.booleans())
def test_parsing_its_own_tips_gives_them_back(*, text: str, ensure_ascii: bool) -> None:
    tips = parse(text).tips
    own = json.dumps({"tips": tips}, ensure_ascii=ensure_ascii)
    again = parse(own)
    assert again.tips == tips
    assert again.dropped == ()


# --- hostile sizes ----------------------------------------------------------------------------

TEN_MEGABYTES = 10_000_000


def ten_megabytes_of(unit: str, before: str = "") -> str:
    return before + unit * (TEN_MEGABYTES // len(unit))


@pytest.mark.parametrize(
    ("before", "unit"),
    [
        ("", "a"),
        ("", "\0"),
        ("", "\ud800"),
        ("", "["),
        ("", "[]"),
        ("", '{"a":'),
        ('["', '"]'),
        ('["', '\\"'),
        ('["', '" a'),
        ("{'a':", "'"),
        ("", '["a",'),
        ('["', "a" * 30 + '", "'),
        ('["', "\u0301\u0327" * 590 + '", "'),
        ('["', "*_" * 590 + '", "'),
        ('["', "“‘" * 290 + "’”" * 290 + '", "'),
        ("", "\\"),
        ("", "\n#"),
        ("", "\n- a"),
        ("", "\n**a"),
        ("", "1. "),
        ("x", " "),
        ("x", " " * 99 + "x"),
        ("", "<think>"),
        ("", "</think>"),
        ("", "<|"),
        ("", "\x1b[31m"),
        ("", "i can't "),
    ],
)
def test_ten_megabytes_take_well_under_two_seconds(before: str, unit: str) -> None:
    text = ten_megabytes_of(unit, before)
    started = time.process_time()
    parsed = parse(text, stop_reason="length")
    assert time.process_time() - started < 2
    assert not parsed.outcome.is_machine_fault


def test_ten_megabytes_that_do_not_repeat() -> None:
    letters = (b"abcdefghijklmnopqrstuvwxyz <|_*," * 8)[:256]
    text = random.Random(20260427).randbytes(TEN_MEGABYTES).translate(letters).decode("ascii")
    started = time.process_time()
    assert parse(text).outcome is Outcome.MALFORMED
    assert time.process_time() - started < 2


def test_a_tip_beside_ten_megabytes_is_found() -> None:
    huge = ten_megabytes_of("Go on! ")
    parsed = parse(json.dumps({"tips": [huge, FIVE[0]]}))
    assert parsed.tips == FIVE[:1]
    assert reasons(parsed) == [(huge, "longer than 600 characters")]


def test_brackets_a_hundred_thousand_deep() -> None:
    deep = "[" * 100_000 + json.dumps(FIVE[0]) + "]" * 100_000
    assert parse(deep).outcome is Outcome.LOOPING
