"""Owns prompt versions: reading them and rendering them for a scenario.

Imports source_files, records and errors, of ours. The template of a version, and its system text,
are Jinja2 over ``scenario`` and ``n_tips``, in a sandbox, where an undefined variable is an error
and nothing random is at hand: a scenario gives the same prompt for ever.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

from pytest_tipbench.errors import SourceFileError
from pytest_tipbench.records import (
    Persona,
    PromptVersion,
    Record,
    RenderedPrompt,
    Scenario,
    Task,
    TimeSlot,
)
from pytest_tipbench.source_files import Filled, read_front_matter

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2 import Template

SAMPLE_SCENARIO = Scenario(
    id="sample",
    persona=Persona(id="sample", name="Sample", description="Someone."),
    time_slot=TimeSlot(id="sample", label="Morning", local_time="08:00"),
    tasks=(
        Task(title="Everything set", due="noon", minutes=5, energy="low", notes="A note."),
        Task(title="Nothing set"),
    ),
)
"""What a template is tried on when it is read: a task with all its facts, and one with none."""


class _PromptHead(Record):
    description: Filled
    system: str = ""


class _TemplateError(Exception):
    def __init__(self, message: str, line: int | None) -> None:
        self.message = message
        self.line = line
        super().__init__(message)


def load_prompts(folder: Path) -> tuple[PromptVersion, ...]:
    """Read the prompt versions of a folder: each ``VERSION.md`` in it but a ``README.md``.

    They are sorted by version, numbers in it by their value (``v2`` before ``v10``).

    Raises:
        SourceFileError: the folder is missing or holds no prompt, or one of them cannot be read,
            is malformed, or does not render.
    """
    if not folder.is_dir():
        raise SourceFileError(folder, "no such folder; expected one with a VERSION.md per prompt")
    paths = [path for path in folder.glob("*.md") if path.stem.lower() != "readme"]
    if not paths:
        raise SourceFileError(folder, "expected at least one prompt, a file VERSION.md")
    return tuple(_load_prompt(path) for path in sorted(paths, key=_natural_order))


def render(prompt: PromptVersion, scenario: Scenario, n_tips: int) -> RenderedPrompt:
    """Return what is sent to the model for one scenario.

    Raises:
        SourceFileError: the template fails for this scenario; as a prompt does not know its folder,
            the error names ``VERSION.md``, and the line within the template.
    """
    try:
        system = _render(prompt.system, scenario, n_tips)
        user = _render(prompt.template, scenario, n_tips)
    except _TemplateError as error:
        place = f", line {error.line} of its template" if error.line else ""
        message = f"scenario {scenario.id!r}{place}: {error.message}"
        raise SourceFileError(Path(f"{prompt.version}.md"), message) from None
    return RenderedPrompt(system=system, user=user)


def _load_prompt(path: Path) -> PromptVersion:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", path.stem):
        message = "a prompt's file name should be ASCII letters, digits, '.', '_' and '-' only"
        raise SourceFileError(path, message)
    source, body = read_front_matter(path)
    head = source.read_as(_PromptHead)
    try:
        _render(head.system, SAMPLE_SCENARIO, n_tips=5)
    except _TemplateError as error:
        message = f"'system' does not render: {error.message}"
        raise SourceFileError(path, message, source.line_of("system")) from None
    try:
        user = _render(body.text, SAMPLE_SCENARIO, n_tips=5)
    except _TemplateError as error:
        line = body.first_line + (error.line or 1) - 1
        raise SourceFileError(path, error.message, line) from None
    if not user:
        message = "expected a template after the front matter that renders to some text"
        raise SourceFileError(path, message, body.first_line)
    return PromptVersion(
        version=path.stem,
        description=head.description,
        system=head.system.strip(),
        template=body.text,
    )


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    # The split alternates text and digits, so that like is always compared with like.
    parts = re.split(r"([0-9]+)", path.stem)
    return [int(part) if part.isdigit() else part for part in parts], path.stem


def _render(template: str, scenario: Scenario, n_tips: int) -> str:
    try:
        return _compile(template).render(scenario=scenario, n_tips=n_tips).strip()
    except TemplateSyntaxError as error:
        message = f"the template is not Jinja2: {error.message}"
        raise _TemplateError(message, error.lineno) from None
    except Exception as error:  # noqa: BLE001 - a template's expressions may raise anything
        message = f"the template does not render with 'scenario' and 'n_tips': {error}"
        raise _TemplateError(message, _line_in_template(error.__traceback__)) from None


@lru_cache(maxsize=256)
def _compile(template: str) -> Template:
    return _environment().from_string(template)


@cache
def _environment() -> SandboxedEnvironment:
    # Prompts are text, not HTML: nothing is escaped.
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


def _line_in_template(traceback: TracebackType | None) -> int | None:
    line = None
    while traceback:
        # Jinja2 rewrites tracebacks so that a template's frames carry its own lines.
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
