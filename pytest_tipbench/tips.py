"""Owns what a completion comes to: its usable tips, what was dropped, and the model's outcome.

Imports records, and tip_parsing for where in a text tips may stand. Raises nothing, whatever a
model wrote, and takes time in proportion to the text's length.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, deque
from typing import TYPE_CHECKING

from pytest_tipbench.records import DroppedTip, Outcome, ParsedTips
from pytest_tipbench.tip_parsing import (
    BULLET_MARK,
    NUMBER_MARK,
    Reading,
    read_json,
    read_list,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST_LETTERS = 8
"""Letters of any script (``str.isalpha``) that a tip has at least."""

MOST_CHARACTERS = 600
"""Characters that a tip has at most, after cleaning."""

MOST_CANDIDATES = 200
"""Strings of one completion that are looked at, or ten for each tip asked for if that is more."""


def parse_tips(
    text: str, *, n_tips: int, stop_reason: str | None, thinking: str | None
) -> ParsedTips:
    """Return the usable tips of a completion, what was dropped and why, and the outcome.

    ``text`` may hold anything. ``n_tips`` is how many tips were asked for, 1 or more; a
    ``stop_reason`` of ``length`` says that the completion was cut off, and ``thinking`` is what the
    provider had already taken out of the text.

    Thinking text is stripped: through a last ``</think>``, and from a ``<think>`` that is never
    closed. What is left is read as JSON, and where that holds no usable tip as a list. A tip is a
    whole string with its template tokens, markup, list mark and quotes removed (:func:`clean_tip`)
    that has at least 8 letters and at most 600 characters, is no refusal and is not there already
    but for case and final punctuation; the first ``n_tips`` count.
    """
    answer = _without_thinking(text)
    is_cut = stop_reason == "length"
    limit = max(MOST_CANDIDATES, 10 * n_tips)
    tips, dropped = _usable(read_json(answer, limit), n_tips)
    if not tips:
        tips, also_dropped = _usable(read_list(answer, limit, cut=is_cut), n_tips)
        dropped += also_dropped
    stripped = answer != text
    if tips:
        outcome = Outcome.OK if len(tips) == n_tips else Outcome.SHORT
    else:
        has_thinking = stripped or bool(thinking and not thinking.isspace())
        outcome = _failure(answer, dropped, is_cut=is_cut, has_thinking=has_thinking)
    return ParsedTips(outcome=outcome, tips=tips, dropped=dropped, thinking_stripped=stripped)


# --- thinking ---------------------------------------------------------------------------------

_THINKING_BEGINS = re.compile(r"<think(?:ing)?>|\[THINK\]", re.IGNORECASE)
_THINKING_ENDS = re.compile(r"</think(?:ing)?>|\[/THINK\]", re.IGNORECASE)


def _without_thinking(text: str) -> str:
    last = deque(_THINKING_ENDS.finditer(text), maxlen=1)
    answer = text[last[0].end() :] if last else text
    unclosed = _THINKING_BEGINS.search(answer)
    return answer[: unclosed.start()] if unclosed else answer


# --- from strings to tips ---------------------------------------------------------------------


def _usable(reading: Reading, n_tips: int) -> tuple[tuple[str, ...], tuple[DroppedTip, ...]]:
    tips: dict[str, str] = {}
    dropped = []
    for candidate in reading.candidates:
        tip = clean_tip(candidate.text)
        key = _without_final_punctuation(tip.casefold()) if len(tip) <= MOST_CHARACTERS else tip
        if not candidate.whole:
            reason = "cut off"
        elif len(tip) > MOST_CHARACTERS:
            reason = f"longer than {MOST_CHARACTERS} characters"
        elif sum(map(str.isalpha, tip)) < FEWEST_LETTERS:
            reason = f"fewer than {FEWEST_LETTERS} letters"
        elif _REFUSAL.match(_phrases(tip)):
            reason = "a refusal"
        elif key in tips:
            reason = "a duplicate"
        elif len(tips) == n_tips:
            reason = f"more than the {n_tips} asked for"
        else:
            tips[key] = tip
            continue
        dropped.append(DroppedTip(text=candidate.text, reason=reason))
    if reading.rest:
        read = len(reading.candidates)
        dropped.append(DroppedTip(text=reading.rest, reason=f"past the first {read} strings"))
    return tuple(tips.values()), tuple(dropped)


# Longer than this (after and before its white space is collapsed) a text is no tip whatever is
# removed; and bringing a long run of combining marks into canonical order takes quadratic time.
_LONGEST_CLEANED = 2 * MOST_CHARACTERS
_LONGEST_COLLAPSED = 20_000
# Each round takes off one layer (a list mark in quotes in bold); there are eight kinds of quotes.
_MOST_ROUNDS = 15

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_ANSI_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Control characters; and the invisible ones that turn a reader's line around (direction overrides
# and isolates) or do nothing (zero-width space, word joiner, byte order mark). Joiners stay:
# Persian and emoji need them.
_REMOVED = dict.fromkeys(
    [code for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()]
    + [0x200B, *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
)
_TEMPLATE_NAMES = (
    r"im_(?:start|end|sep)|e[ou][tm]_id|(?:start|end)_header_id|(?:begin|end|start)_?of_?text"
    r"|endoftext|(?:start|end)_of_(?:turn|role|image)|(?:begin|end)▁of▁sentence|python_tag"
)
_TEMPLATE_TOKEN = re.compile(
    rf"""
      (?: <[|｜](?:im_start|start_header_id)[|｜]> | <start_of_turn> )
          \s* (?:system|user|assistant|model)\b
    | <[|｜][^<>|｜]{{0,64}}[|｜]>                              # <|im_end|>, <｜User｜>
    | <[|｜]?\w{{0,64}}[|｜]> | <[|｜]\w{{1,64}}>? | \b\w{{1,64}}[|｜]>    # mangled: |im_end|>
    | [<|｜]{{0,2}}(?<!\w)(?:{_TEMPLATE_NAMES})[|｜>]{{0,2}}
    | [|｜]> | <[|｜]
    | </?s> | <(?:bos|eos|pad|unk|mask|unused\d{{1,4}})>
    | \[/?INST\] | <</?SYS>>
    """,
    re.VERBOSE,
)
# Not what stands between letters or digits (snake_case, 2*3) or alone (2 * 3, a blank: ____).
_EMPHASIS = re.compile(
    r"""~~+ | `+ | (?<![*_])[*_]*\*\*[*_]*
      | (?<![\w*])[*_]+(?=[^\s*_]) | (?<=[^\s*_])[*_]+(?![\w*])""",
    re.VERBOSE,
)
_LEADING_MARK = re.compile(
    rf"(?: (?:{NUMBER_MARK} | {BULLET_MARK} | \#{{1,6}}(?=\s) | >+(?=\s) | \[[ xX]?\]"
    rf" | (?i:tip)\s*[:：]) \s* )+",
    re.VERBOSE,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "『": "』"}


def clean_tip(text: str) -> str:
    """Return a string as a tip: one line in Unicode NFC, without what a model wraps advice in.

    Removed are chat-template tokens (mangled ones too), control characters and terminal escapes,
    Markdown emphasis, leading list marks and headings, and quotes around the whole; white space
    becomes single spaces, a lone surrogate U+FFFD. Cleaning again changes nothing. A text far too
    long for a tip may come back as it is.
    """
    if len(text) > _LONGEST_COLLAPSED:
        return text
    if _LONE_SURROGATE.search(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = " ".join(text.split())
    if len(text) > _LONGEST_CLEANED:
        return text
    for _ in range(_MOST_ROUNDS):
        before, text = text, _cleaned_once(text)
        if text == before:
            break
    return text


def _cleaned_once(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = _ANSI_SEQUENCE.sub("", text).translate(_REMOVED)
    text = _TEMPLATE_TOKEN.sub(" ", text)
    text = " ".join(_EMPHASIS.sub("", text).split())
    if mark := _LEADING_MARK.match(text):
        text = text[mark.end() :]
    return _unquoted(text).strip()


def _unquoted(text: str) -> str:
    closing = _QUOTES.get(text[:1])
    bare = text.rstrip(", ")
    if closing is None or len(bare) < 2 or not bare.endswith(closing):
        return text
    inner = bare[1:-1]
    return text if text[0] in inner or closing in inner else inner


def _without_final_punctuation(text: str) -> str:
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in "PZ":
        end -= 1
    return text[:end]


# --- the model's own failures -----------------------------------------------------------------

_ENDLESS_WHITESPACE = 100
"""Characters of white space in a row that no answer needs."""

_REFUSAL_WITHIN = 10_000
"""Characters of an answer in which a refusal is looked for."""

_NOT_ABLE = r"(?:can't|cannot|can\ not|won't|will\ not|couldn't|could\ not)"
_REFUSAL = re.compile(
    rf"""
    \b(?:
        (?: (?:i'm|i\ am)\ (?:(?:really|so|very)\ )?(?:sorry|afraid) | sorry | unfortunately
          | i\ apologi[sz]e | my\ apologies ) [,.;:!]?\ (?:but\ |that\ )?
          (?: as\ an\ ai\b | i\ (?:{_NOT_ABLE}|must\ decline|do\ not|don't)\b
            | i(?:'m|\ am)\ (?:unable|not\ able|not\ allowed)\b )
      | i\ {_NOT_ABLE}\ (?:be\ able\ to\ )?
          (?: help|assist|provide|comply|fulfil|give|offer|generate|create|answer|do\ that
            | support|engage|respond|continue )
      | i(?:'m|\ am)\ (?:unable|not\ able|not\ allowed|not\ programmed)\ to\b
      | (?:as|i'm|i\ am)\ (?:just\ |only\ )?an?\ (?:ai|artificial|large\ language|language\ model)\b
      | i\ (?:must|have\ to)\ (?:respectfully\ )?decline\b
      | es\ tut\ mir\ leid,?\ (?:aber\ )?(?:ich|das|dabei)\b
      | ich\ kann\ (?:dir|ihnen|das|dabei)\b[^.]{{0,40}}\bnicht\b
      | (?:je\ suis\ )?désolée?,\ (?:mais\ )?je\ ne\b
      | je\ ne\ (?:peux|suis)\ pas\ (?:en\ mesure|vous|t'|fournir|répondre)
      | lo\ siento,?\ (?:pero\ )?no\ (?:puedo|me)\b | no\ puedo\ (?:ayudar|proporcionar|responder)
      | desculpe,?\ (?:mas\ )?(?:eu\ )?não\ posso\b | mi\ dispiace,?\ (?:ma\ )?non\ posso\b
      | (?:извините|к\ сожалению),?\ (?:но\ )?я\ не\ могу\b
    )
    | (?:对不起|抱歉)[，,]?(?:但)?我?(?:不能|无法|没有办法) | 我(?:不能|无法)(?:提供|帮助|回答|协助)
    | 申し訳(?:ありません|ございません)
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""What a refusal says, in the languages that the models under test mostly answer in."""

_REPEATED_LENGTH = 8
_REPEATED_SHARE = 0.5
_REPEATED_WITHIN = 20_000
_COMPARED = 1_000


def _failure(
    answer: str, dropped: Sequence[DroppedTip], *, is_cut: bool, has_thinking: bool
) -> Outcome:
    """Say why an answer holds no usable tip: the first that applies, in this order."""
    if _REFUSAL.search(_phrases(answer[:_REFUSAL_WITHIN])):
        return Outcome.REFUSED
    if _is_looping(answer, dropped, is_cut=is_cut, has_thinking=has_thinking):
        return Outcome.LOOPING
    if is_cut:
        return Outcome.TRUNCATED
    if not _TEMPLATE_TOKEN.sub("", answer[:_REPEATED_WITHIN]).strip():
        return Outcome.EMPTY
    return Outcome.MALFORMED


def _is_looping(
    answer: str, dropped: Sequence[DroppedTip], *, is_cut: bool, has_thinking: bool
) -> bool:
    """Say whether the answer is repetition or endless white space.

    White space alone is endless when nothing else used up the completion's length: if the model had
    been thinking, a line break or two after it are not. Repetition is one string, or one line, over
    and over, or a text (its numbers set aside, since loops like to count) whose stretches of 8
    characters have mostly occurred before: the seq-rep-n of Welleck et al. (2020),
    arXiv 1908.04319, over characters so that it holds in scripts without spaces.
    """
    if not answer.strip():
        return is_cut and len(answer) >= (_ENDLESS_WHITESPACE if has_thinking else 1)
    tail = answer[-_REPEATED_WITHIN:]
    return (
        re.search(rf"(?<!\s)\s{{{_ENDLESS_WHITESPACE}}}", tail) is not None
        or _is_one_over_and_over([one.text for one in dropped])
        or _is_one_over_and_over(tail.splitlines())
        or _share_said_before(re.sub(r"\d+", "0", tail.casefold())) >= _REPEATED_SHARE
    )


def _is_one_over_and_over(pieces: Sequence[str]) -> bool:
    """Say whether the pieces with a letter or digit are all one, or three and half of them are."""
    counts = Counter(" ".join(piece[:_COMPARED].casefold().split()) for piece in pieces)
    counts = Counter({one: n for one, n in counts.items() if any(map(str.isalnum, one))})
    if not counts:
        return False
    most = max(counts.values())
    total = counts.total()
    return most >= 2 and (most == total or (most >= 3 and most >= total / 2))


def _share_said_before(text: str) -> float:
    """Return the share of a text's stretches of 8 characters that have occurred before."""
    if len(text) < 2 * _REPEATED_LENGTH:
        return 0.0
    stretches = [
        text[start : start + _REPEATED_LENGTH] for start in range(len(text) - _REPEATED_LENGTH + 1)
    ]
    return 1 - len(set(stretches)) / len(stretches)


def _phrases(text: str) -> str:
    """Return a text as the refusal phrases are written: plain apostrophes, one line."""
    return text.replace("’", "'").replace("\n", " ")
