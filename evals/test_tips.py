"""One item per model × prompt version × scenario: can this model, so prompted, be of use at all?

How good the tips are, a judge says later (rubric.md); here a cell passes with one usable tip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tipbench.records import RunRecord


def test_tips(tip_run: RunRecord) -> None:
    assert tip_run.outcome.is_usable, tip_run.why_unusable
