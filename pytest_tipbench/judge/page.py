"""Owns the page in which a sheet is scored: one HTML file that asks nothing of any network.

Imports the sheet's format and this room's reading only. The page is markup, style and script from
`page_assets`, put together here; what it saves is the sheet with scores, for apply to check.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pytest_tipbench.judge.files import sheet_json
from pytest_tipbench.judge.page_rubric import rubric_prose
from pytest_tipbench.judge.reading import is_untouched_export

if TYPE_CHECKING:
    from pytest_tipbench.judge.files import Sheet

SCRIPTS = ("shown.js", "work.js", "shelf.js", "view.js", "page.js")
"""The page's script in its parts; each uses only what stands before it."""

_SHEET = re.compile(rb'<script type="application/json" id="sheet">(.*?)</script>', re.DOTALL)
_SEAL = re.compile(rb"<!-- tipbench-page sha256:([0-9a-f]{64}) -->\n\Z")


def page_html(sheet: Sheet) -> str:
    """Return the page to score a sheet in: self-contained, and forbidden every connection.

    It embeds the sheet's own JSON. A Content-Security-Policy admits the page's one script and one
    style by their hashes and nothing else; Trusted Types keep text from becoming markup. The last
    line seals the file, so that :func:`is_untouched_page` knows it again.
    """
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in SCRIPTS)
    lowest, highest = sheet.rubric.scale
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_asset("page.html.j2")).render(
        policy=_policy(style, script),
        style=_ours(style),
        script=_ours(script),
        sheet=_ours(_embeddable(sheet_json(sheet))),
        rubric=sheet.rubric,
        prose=rubric_prose(sheet.rubric),
        # What one digit can name has a button and a key; any other scale is typed.
        levels=range(lowest, highest + 1) if lowest >= 0 and highest <= 9 else None,
    )
    page = page.rstrip("\n") + "\n"
    return f"{page}<!-- tipbench-page sha256:{_sha256(page.encode()).hex()} -->\n"


def is_untouched_page(data: bytes) -> bool:
    """Say whether a file is a page of ours, unchanged, with a blank sheet.

    What was scored in a page is in the browser and in what it saved, never in the page itself.
    """
    seal = _SEAL.search(data)
    sheet = _SHEET.search(data)
    return (
        seal is not None
        and sheet is not None
        and _sha256(data[: seal.start()]).hex() == seal[1].decode()
        and is_untouched_export(sheet[1])
    )


def _asset(name: str) -> str:
    folder = files("pytest_tipbench.judge") / "page_assets"
    return (folder / name).read_text(encoding="utf-8")


def _ours(text: str) -> Markup:
    return Markup(text)  # noqa: S704 - the package's own files, and JSON that `_embeddable` escaped


def _embeddable(text: str) -> str:
    """Return JSON that a `script` element holds whole: nothing in it ends or opens markup."""
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


def _policy(style: str, script: str) -> str:
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_source_hash(script)}'",
            f"style-src '{_source_hash(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _source_hash(text: str) -> str:
    return f"sha256-{base64.b64encode(_sha256(text.encode())).decode()}"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
