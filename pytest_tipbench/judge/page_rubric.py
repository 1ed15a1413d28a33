"""Owns the rubric's prose as safe HTML, whole and by criterion; imports the sheet's format only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

    from pytest_tipbench.judge.files import SheetRubric

HEADINGS_ABOVE = 2
"""The page's own levels: the rubric's first heading is an `h3`."""

LONGEST_LEVEL_NAME = 80

_LEVEL = re.compile(r"(-?\d+)\s*(?:[:.)=–—-]\s*|\s)(.*)", re.DOTALL)


@dataclass(frozen=True)
class CriterionProse:
    """What the rubric says of one criterion."""

    name: str
    section: Markup | None
    """The part under the criterion's heading; None where no heading names it."""
    level_names: dict[int, str]
    """What a score is called, e.g. `for anyone`; only where a list says `3: for anyone`."""


@dataclass(frozen=True)
class RubricProse:
    """The rubric's prose, ready to be put on a page."""

    whole: Markup
    criteria: tuple[CriterionProse, ...]


def rubric_prose(rubric: SheetRubric) -> RubricProse:
    """Render the rubric's Markdown (CommonMark and tables) and find each criterion's section.

    Nothing in it becomes markup of its own: HTML is shown as text, and so are links and images, for
    the page asks nothing of any network. In a criterion's section the list entries that say what a
    score means carry it as `data-level`, its heading carries the criterion's place as
    `data-criterion`.
    """
    markdown = MarkdownIt("commonmark", {"html": False})
    markdown.enable("table").disable(["link", "image", "autolink"])
    tokens = markdown.parse(rubric.text)
    criteria = []
    for place, criterion in enumerate(rubric.criteria):
        start = _heading_of(criterion.name, tokens)
        if start is None:
            criteria.append(CriterionProse(criterion.name, None, {}))
            continue
        tokens[start].attrSet("data-criterion", str(place))
        section = tokens[start : _end_of_section(tokens, start)]
        level_names = _mark_levels(section, rubric.scale)
        criteria.append(CriterionProse(criterion.name, _html(markdown, section), level_names))
    return RubricProse(_html(markdown, tokens), tuple(criteria))


def _html(markdown: MarkdownIt, tokens: Sequence[Token]) -> Markup:
    lowered = [_lowered(token) if token.type.startswith("heading") else token for token in tokens]
    html: str = markdown.renderer.render(lowered, markdown.options, {})
    return Markup(html)  # noqa: S704 - the renderer escapes all text, and HTML is off


def _lowered(heading: Token) -> Token:
    level = min(int(heading.tag[1:]) + HEADINGS_ABOVE, 6)
    return heading.copy(tag=f"h{level}")


def _heading_of(name: str, tokens: Sequence[Token]) -> int | None:
    """Return where the heading is that begins with the criterion's name."""
    named = re.compile(rf"{re.escape(_spoken(name))}\b")
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and named.match(_spoken(_text(tokens[place + 1]))):
            return place
    return None


def _spoken(text: str) -> str:
    return text.replace("_", " ").strip().casefold()


def _end_of_section(tokens: Sequence[Token], start: int) -> int:
    """Return where the next heading of the same or a higher rank begins."""
    for place in range(start + 1, len(tokens)):
        token = tokens[place]
        if token.type == "heading_open" and token.tag <= tokens[start].tag:
            return place
    return len(tokens)


def _mark_levels(section: Sequence[Token], scale: tuple[int, int]) -> dict[int, str]:
    names: dict[int, str] = {}
    lowest, highest = scale
    for entry, inline in _list_entries(section):
        said = _LEVEL.match(_text(inline))
        level = int(said[1]) if said else None
        if said and level is not None and lowest <= level <= highest and level not in names:
            entry.attrSet("data-level", str(level))
            names[level] = _level_name(inline, said[2])
    return names


def _list_entries(section: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Yield each list entry that begins with a paragraph, and the paragraph's text."""
    for entry, paragraph, inline in zip(section, section[1:], section[2:], strict=False):
        if entry.type == "list_item_open" and paragraph.type == "paragraph_open":
            yield entry, inline


def _level_name(inline: Token, text: str) -> str:
    """Return the words in bold that the entry begins with, else the first of its text."""
    said = _LEVEL.match(_opening_in_bold(inline))
    name = " ".join((said[2] if said and said[2] else text).split()).rstrip(".:;,")
    return name if len(name) <= LONGEST_LEVEL_NAME else f"{name[: LONGEST_LEVEL_NAME - 1]}…"


def _opening_in_bold(inline: Token) -> str:
    children = [child for child in inline.children or () if child.type != "text" or child.content]
    if not children or children[0].type != "strong_open":
        return ""
    text = ""
    for child in children[1:]:
        if child.type == "strong_close":
            break
        text += _child_text(child)
    return text


def _text(inline: Token) -> str:
    return "".join(_child_text(child) for child in inline.children or ()).strip()


def _child_text(child: Token) -> str:
    return " " if child.type in ("softbreak", "hardbreak") else child.content
