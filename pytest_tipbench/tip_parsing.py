"""Owns finding the strings of a completion that may be tips; imports nothing of ours.

There are two readings, :func:`read_json` and :func:`read_list`. Both take any text, never recurse,
and stop at a limit, so that a hostile completion costs no more than a long one. What a string is
worth is not decided here.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LONGEST_DECODED = 20_000
"""Characters; a longer JSON string is no tip, and its escapes are left as they are."""

LONGEST_LIST = 1_000_000
"""Characters in which a list is looked for; an answer of thousands of tokens is far shorter."""


class Candidate(NamedTuple):
    """A string that may be a tip."""

    text: str
    whole: bool = True
    """False where the completion ends inside it."""


class Reading(NamedTuple):
    """What one way of reading found."""

    candidates: tuple[Candidate, ...]
    rest: str = ""
    """The text that was not read because the limit was reached."""


# --- JSON, also damaged -----------------------------------------------------------------------


class _Node:
    """An array or an object of the JSON being read; ``key`` waits for its value."""

    __slots__ = ("items", "key", "opener")

    def __init__(self, opener: str) -> None:
        self.opener = opener
        self.key: str | None = None
        self.items: list[tuple[str | None, _Value]] = []

    def add(self, value: _Value) -> None:
        self.items.append((self.key, value))
        self.key = None

    def take_key(self, bare: str) -> None:
        """Make what stands before a colon the next value's key: a bare word, or the last string."""
        if bare:
            self.key = bare
        elif self.items:
            key, value = self.items[-1]
            if key is None and isinstance(value, Candidate):
                self.key = value.text
                self.items.pop()


_Value: TypeAlias = "Candidate | _Node"

_SIGNS_PER_STRING = 50
_OPENERS = {"]": "[", "}": "{"}
# Prose is full of brackets ("[Name]", "- [ ] task"): JSON begins where a bracket is followed by
# what only JSON has.
_START = re.compile(
    r"""\[(?=\s*(?:["'“\[{\]]|\Z)) | \{(?=\s*(?:["'“{}]|\w{1,40}\s*:|\Z))""", re.VERBOSE
)
_SIGN = re.compile(r"""[\[\]{}:,"'“]""")
# A quote inside a string that should have been escaped is not followed by what follows a string.
_CLOSING = {
    '"': re.compile(r""" "(?= \s*(?:[,:;\]}]|//|\Z) | \s+["'“] | [^\S\n]*\n )""", re.VERBOSE),
    "'": re.compile(r"'(?=\s*(?:[,:\]}]|\Z))"),
    "“": re.compile("”"),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_LIST_KEY = "tips"
_TEXT_KEYS = (
    *("tip", "text", "advice", "suggestion", "recommendation", "content", "description"),
    *("message", "body", "action", "details", "detail", "title", "name"),
)
_NO_LETTER = re.compile(r"[\W\d_]+")


def read_json(text: str, limit: int) -> Reading:
    """Read up to ``limit`` strings from the JSON in a text, wherever it stands, however damaged.

    Takes ``{"tips": [...]}`` at any depth, else arrays and objects as they come; in an object the
    value of a telling key (``tip``, ``text``, ...), else all of its strings. Prose and fences
    around, several values, trailing or missing commas and brackets, single and typographic quotes,
    unescaped quotes and line breaks inside strings, bare keys and a cut-off end are all borne. A
    lone string that is itself a list is read as one. Well-formed JSON is read as it says.
    """
    root, rest = _parse(text, limit)
    named = list(_values_named(_LIST_KEY, root))
    candidates = tuple(_strings(named or [root]))
    if len(candidates) == 1 and "\n" in candidates[0].text:
        inner = read_list(candidates[0].text, limit, cut=not candidates[0].whole)
        if len(inner.candidates) > 1:
            return Reading(inner.candidates, inner.rest + rest)
    return Reading(candidates, rest)


def _parse(text: str, limit: int) -> tuple[_Node, str]:
    """Return a root node over all JSON values, and the text past ``limit`` strings."""
    # Of the same length, with no quote in it but those that can open or close a string.
    masked = text.replace("\\\\", "\0\0").replace('\\"', "\0\0").replace("\\'", "\0\0")
    root = _Node("[")
    stack = [root]
    is_open = {"[": 0, "{": 0}
    signs = limit * _SIGNS_PER_STRING
    position = 0
    after = ""  # the last sign: tells an apostrophe from a quote, and a bare key from other words
    while limit and signs:
        match = (_SIGN if len(stack) > 1 else _START).search(masked, position)
        if match is None:
            return root, ""
        signs -= 1
        sign = match.group()
        bare = text[position : match.start()].strip() if sign in ":'" else ""
        position = match.end()
        if sign in "[{":
            node = _Node(sign)
            stack[-1].add(node)
            stack.append(node)
            is_open[sign] += 1
        elif sign in "]}":
            # What is still open inside ends with it; one that nothing has opened means nothing.
            while is_open[_OPENERS[sign]]:
                closed = stack.pop().opener
                is_open[closed] -= 1
                if closed == _OPENERS[sign]:
                    break
        elif sign == ",":
            stack[-1].key = None
        elif sign == ":":
            stack[-1].take_key(bare if after in "{," else "")
        elif sign == "'" and (bare or after not in "[{,:"):
            continue
        else:
            end = _CLOSING[sign].search(masked, position)
            if end is None:
                stack[-1].add(Candidate(_decoded(text[position:]), whole=False))
                return root, ""
            stack[-1].add(Candidate(_decoded(text[position : end.start()])))
            position = end.end()
            limit -= 1
        after = sign
    return root, text[position:]


def _decoded(text: str) -> str:
    """Return a JSON string's text with its escapes replaced; unknown ones lose the backslash."""
    if "\\" not in text or len(text) > LONGEST_DECODED:
        return text
    decoded = _ESCAPE.sub(_unescaped, text)
    # "\ud83d\ude00" is one character written as two halves; a half without its other stays.
    return decoded.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _unescaped(match: re.Match[str]) -> str:
    code, character = match.groups()
    return chr(int(code, 16)) if code else _ESCAPED.get(character, character)


def _values_named(name: str, root: _Node) -> Iterator[_Value]:
    """Yield the values of the outermost keys of that name, in the text's order."""
    waiting: list[tuple[str | None, _Value]] = [(None, root)]
    while waiting:
        key, value = waiting.pop()
        if key is not None and _plain(key) == name:
            yield value
        elif isinstance(value, _Node):
            waiting.extend(reversed(value.items))


def _strings(values: Sequence[_Value]) -> Iterator[Candidate]:
    waiting = list(reversed(values))
    while waiting:
        value = waiting.pop()
        if isinstance(value, Candidate):
            yield value
        else:
            waiting.extend(reversed(_telling(value)))


def _telling(node: _Node) -> list[_Value]:
    """Return an object's values under its most telling key, else all; an array's values."""
    by_name: dict[str, list[_Value]] = {}
    for key, value in node.items:
        by_name.setdefault(_plain(key or ""), []).append(value)
    for name in _TEXT_KEYS:
        if name in by_name:
            return by_name[name]
    return [value for _, value in node.items]


def _plain(key: str) -> str:
    """Return a key's letters: ``"Tip 1"``, ``"tip_2"`` and ``"tip"`` are the same."""
    return _NO_LETTER.sub("", key[:40].casefold())


# --- lists ------------------------------------------------------------------------------------

_DASH = r"\-–—"
NUMBER_MARK = rf"""
    (?:\#{{1,6}}[ \t]*)? (?:\*{{1,3}}|_{{1,3}})?
    (?: (?i:tip|step|advice|suggestion|recommendation)[ \t]*(?:\#|no\.?)?[ \t]*\d{{1,2}}
            [ \t]*(?:[.):：{_DASH}]+|(?=[*_\n]|\Z))
      | \(?\d{{1,2}}(?: [.)]+(?!\d) | [ \t]*[:{_DASH}](?=[ \t]+[^\s\d]) | [、．：] )
      | \d\uFE0F?\u20E3 | [①-⑳] | [a-zA-Z]\)(?=[ \t])
    )
"""
"""Pattern (verbose) of what numbers an item: ``1.``, ``(2)``, ``**3:``, ``Tip 4 -``, ``5️⃣``."""

BULLET_MARK = rf"""
    (?: [*+{_DASH}](?=[ \t]) | [•◦▪●○·‣►▶➤→✓✔☐☑✅🔹🔸👉] ) (?:[ \t]*\[[ xX]?\](?=[ \t]))?
"""
"""Pattern (verbose) of a bullet, with the box of a task list."""

_BOLD_LEAD = r"(?=\*\*[^*\n]{1,100}\*\*)"
_MARK_KINDS = (("numbered", 1), ("bulleted", 1), ("bold", 2))
"""The kinds of list, best first, with the fewest marks that make one."""

_LINE_MARK = re.compile(
    rf"\n[ \t>]{{0,20}}(?: (?P<numbered>{NUMBER_MARK}) | (?P<bulleted>{BULLET_MARK})"
    rf" | (?P<bold>{_BOLD_LEAD}) )",
    re.VERBOSE,
)
_INLINE = re.compile(r"(\d{1,2})[.)](?=\s+\S)")
# An item ends at a blank line, a heading, a fence, a tag, or a bracket that closes something.
_BOUNDARY = re.compile(r"\n(?=[^\S\n]*(?:\n|\Z|\#{1,6}[ \t]|```|<|[\]}]))")


def read_list(text: str, limit: int, *, cut: bool) -> Reading:
    """Read up to ``limit`` items of a numbered or bulleted list, or paragraphs that open in bold.

    Numbers win over bullets, which are then parts of the numbered items. Numbers in running text
    count where they go 1, 2, 3. An item is its first paragraph; where that is only a title, the
    next one as well. With ``cut``, an item that reaches the end of the text is not whole. Prose
    without a mark holds no item: nothing tells where a tip would begin, or what is only talk.
    """
    beyond = text[LONGEST_LIST:]
    text = f"\n{text[:LONGEST_LIST]}"
    marks = _line_marks(text, limit + 1)
    inline = _inline_marks(text, limit + 1)
    if len(inline) > max(len(marks), 1):
        marks = inline
    candidates = []
    for mark, following in zip(marks[:limit], [*marks[1:], None], strict=False):
        region = text[mark.end() : following.start() if following else len(text)]
        item, ended = _item(region, is_heading=mark.group().strip(" \t\n>").startswith("#"))
        whole = ended or following is not None or not (cut or beyond)
        candidates.append(Candidate(item, whole))
    if len(marks) > limit:
        return Reading(tuple(candidates), text[marks[limit].start() :] + beyond)
    return Reading(tuple(candidates), beyond if candidates else "")


def _line_marks(text: str, most: int) -> list[re.Match[str]]:
    """Return the marks that open lines, of the best kind that the text has."""
    marks = list(islice(_LINE_MARK.finditer(text), most * len(_MARK_KINDS)))
    for kind, fewest in _MARK_KINDS:
        of_kind = [mark for mark in marks if mark.lastgroup == kind]
        if len(of_kind) >= fewest:
            return of_kind[:most]
    return []


def _inline_marks(text: str, most: int) -> list[re.Match[str]]:
    marks: list[re.Match[str]] = []
    for match in islice(_INLINE.finditer(text), most * _SIGNS_PER_STRING):
        if int(match.group(1)) == len(marks) + 1 and text[match.start() - 1] in " \t\n(":
            marks.append(match)
    return marks[:most]


def _item(region: str, *, is_heading: bool) -> tuple[str, bool]:
    """Return an item's text, and whether something in the text ends it."""
    first, ended, following = _paragraph(region)
    if ended and (is_heading or _is_title(first)):
        second, ended, _ = _paragraph(following)
        return f"{first}\n{second}", ended
    return first, ended


def _paragraph(text: str) -> tuple[str, bool, str]:
    text = text.lstrip()
    boundary = _BOUNDARY.search(text)
    if boundary is None:
        return text, False, ""
    return text[: boundary.start()], True, text[boundary.end() :]


def _is_title(paragraph: str) -> bool:
    bold = paragraph.count("**")
    return paragraph.endswith((":", "：")) or (
        paragraph.endswith("**") and (bold == 1 or (bold == 2 and paragraph.startswith("**")))
    )
