"""Owns what a sheet tells its judge to do; imports nothing of ours but records."""

from __future__ import annotations

from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tipbench.judgement_records import Rubric


def instructions_for(rubric: Rubric) -> str:
    """Return the instructions that go with a sheet, for the rubric's criteria and scale.

    They name no model, prompt or provider: the sheet is blind.
    """
    text = files("pytest_tipbench.judge").joinpath("instructions.md").read_text(encoding="utf-8")
    lowest, highest = rubric.scale
    return Template(text).substitute(
        lowest=lowest, highest=highest, criteria=", ".join(rubric.criterion_names)
    )
