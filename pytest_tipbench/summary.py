"""Owns what stands in pytest's terminal summary, as lines; imports no pytest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tipbench.addresses import without_credentials
from pytest_tipbench.bench import counted
from pytest_tipbench.judge.concord import agreement_lines, drift_history_lines
from pytest_tipbench.reports.terminal import board_lines
from pytest_tipbench.settings import carried_on
from pytest_tipbench.sheets import free_sheet_name

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
    to_resume: str | None,
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
        to_resume: the next step of a session that was interrupted; it comes before judging.
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
    if to_resume is not None:
        yield to_resume
    for finding in findings if to_resume is None else ():
        # A sheet just written says itself how it comes back.
        if finding.board.pending_cells and settings.judge_export is None:
            yield next_step(settings, finding.board)
    yield from afterwards
    yield from (f"PROBLEM: {line}" for line in problems)


def next_step(settings: Settings, board: Board) -> str:
    """Return what is pending and the exact command that goes on from here."""
    words = ["pytest", "--judge-export", free_sheet_name(Path.cwd())]
    if "experiment" in settings.named or board.experiment != settings.experiment:
        words += ["--experiment", board.experiment]
    words += carried_on(settings, *_CARRIED_ON)
    command = shlex.join(words)
    return (
        f"next: {counted(board.pending_tips, 'tip')} in {counted(board.pending_cells, 'cell')} "
        f"to be judged: {command}"
    )


def resume_step(call: Sequence[str] | None, undone: int) -> str | None:
    """Return how many cells have not run, and the exact command that runs them; None without one.

    Args:
        call: the arguments of the call that was interrupted; None where they do not go on there.
        undone: how many of its cells have no record.
    """
    if call is None or not undone:
        return None
    words = list(_words_to_repeat(call))
    end_of_options = words.index("--") if "--" in words else len(words)
    words.insert(end_of_options, "--resume")
    command = shlex.join(["pytest", *words])
    return f"next: {counted(undone, 'cell')} to be run: {command}"


def _words_to_repeat(call: Sequence[str]) -> Iterator[str]:
    """Yield the words but ``--record FILE``, which refuses a file that has been begun.

    A user and a password in a URI are left out: who goes on needs MLflow's variables.
    """
    words = iter(call)
    for word in words:
        if word == "--record":
            next(words, None)
        elif word != "--resume" and not word.startswith("--record="):
            yield without_credentials(word) if "://" in word else word
