"""Owns what stands in pytest's terminal summary, as lines; imports no pytest."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pytest_tipbench.bench import counted
from pytest_tipbench.judge.concord import agreement_lines, drift_history_lines
from pytest_tipbench.reports.terminal import board_lines
from pytest_tipbench.settings import carried_on

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pytest_tipbench.board_records import Board
    from pytest_tipbench.commands import Finding
    from pytest_tipbench.safety.evidence import Evidence
    from pytest_tipbench.settings import Settings

_CARRIED_ON = (
    "models",
    "prompts",
    "scenarios",
    "tracking_uri",
    "tracking_host_header",
    "offline",
    "ledger",
)
"""Options of this call that the next command needs too."""


def summary_lines(
    *,
    settings: Settings,
    findings: Sequence[Finding],
    told: Sequence[str],
    evidence: Evidence | None,
    afterwards: Sequence[str],
    problems: Sequence[str],
    width: int,
    ascii_only: bool,
    verbose: bool,
) -> Iterator[str]:
    """Yield the summary: what the commands said, the boards, the evidence, what to do next.

    Args:
        settings: of this call.
        findings: a board and its verdicts for each experiment.
        told: what stores and commands have to say.
        evidence: of the memory promise; None where no cell ran.
        afterwards: how to look at the runs later.
        problems: what went wrong; said last, where it is seen.
        width: of the terminal, in columns.
        ascii_only: the terminal knows ASCII alone.
        verbose: with details.
    """
    yield from told
    for finding in findings:
        yield from board_lines(
            finding.board,
            width=width,
            ascii_only=ascii_only,
            verdicts=finding.verdicts,
            comparison=finding.comparison,
            verbose=verbose,
        )
        if verbose or settings.judge_apply:
            yield from agreement_lines(finding.agreements)
        if verbose:
            yield from drift_history_lines(finding.applies)
    if evidence is not None:
        yield evidence.line()
    for finding in findings:
        # A sheet just written says itself how it comes back.
        if finding.board.pending_cells and settings.judge_export is None:
            yield next_step(settings, finding.board)
    yield from afterwards
    yield from (f"PROBLEM: {line}" for line in problems)


def next_step(settings: Settings, board: Board) -> str:
    """Return what is pending and the exact command that goes on from here."""
    words = ["pytest", "--judge-export", "scores.json"]
    if "experiment" in settings.named or board.experiment != settings.experiment:
        words += ["--experiment", board.experiment]
    words += carried_on(settings, *_CARRIED_ON)
    command = shlex.join(words)
    return (
        f"next: {counted(board.pending_tips, 'tip')} in {counted(board.pending_cells, 'cell')} "
        f"to be judged: {command}"
    )
