"""Owns the commands on what is kept: their order, board, gates, reports; imports no pytest."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.environment import common_environment
from pytest_tipbench.errors import UnknownNameError, UserMistakeError
from pytest_tipbench.gates import baseline_verdicts, evaluate_gates, minimum_composite, parse_gate
from pytest_tipbench.judge.concord import judges_agreement
from pytest_tipbench.matrix import stored_selection
from pytest_tipbench.records import Selection
from pytest_tipbench.sheets import (
    apply_sheets,
    check_sheets,
    experiment_of_sheet,
    export_sheet,
    read_sheets,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison
    from pytest_tipbench.board_records import Board
    from pytest_tipbench.evaluation import EvaluationSet
    from pytest_tipbench.gates import Gate, Verdict
    from pytest_tipbench.judge.concord import Agreement
    from pytest_tipbench.judgement_records import ApplyRecord, Rubric
    from pytest_tipbench.keeper import Keeper
    from pytest_tipbench.records import Cell
    from pytest_tipbench.reports.report_records import Report
    from pytest_tipbench.settings import Settings


def read_gates(settings: Settings, rubric: Rubric) -> tuple[Gate, ...]:
    """Return the gates of this call.

    Raises:
        UserMistakeError: one is not of the grammar, or names a metric that there is not.
    """
    gates = [parse_gate(text, rubric.criterion_names) for text in settings.gate]
    if settings.min_composite is not None:
        gates.append(minimum_composite(settings.min_composite))
    return tuple(gates)


def check_commands(settings: Settings, evaluation: EvaluationSet) -> None:
    """Tell what is wrong with a command before hours of generating come first.

    Raises:
        UserMistakeError: a gate that is none, a limit without what it limits, a report that cannot
            be written, a sheet that is not there or would be overwritten.
    """
    read_gates(settings, evaluation.rubric)
    if "max_drop" in settings.named and settings.baseline is None:
        raise UserMistakeError("--max-drop is of a change from --baseline EXPERIMENT: name it too")
    for path in settings.report:
        _check_report(path, settings)
    check_sheets(settings)


def _check_report(path: Path, settings: Settings) -> None:
    """Make sure that a report can be written and destroys nothing that is not one."""
    from pytest_tipbench.reports.formats import check_report_target

    check_report_target(path)
    target = path.resolve()
    others = (settings.judge_export, settings.record, settings.ledger, settings.rubric)
    if target in (*others, *settings.judge_apply) or settings.evals in target.parents:
        raise UserMistakeError(
            f"--tipbench-report {path}: this call reads or writes that file for something else: "
            "name another"
        )


@dataclass
class Finding:
    """A board, the verdicts on it, what is known of its judges, and what a baseline was."""

    board: Board
    verdicts: tuple[Verdict, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    applies: tuple[ApplyRecord, ...] = ()
    comparison: BaselineComparison | None = None

    @property
    def fails(self) -> bool:
        """True where a gate did not pass."""
        return any(verdict.fails for verdict in self.verdicts)


@dataclass
class Commands:
    """Runs the commands of one call, in order: apply, export, board and gates."""

    settings: Settings
    evaluation: EvaluationSet
    keeper: Keeper
    login_name: str
    lines: list[str] = field(default_factory=list)
    """What the commands have to say, before the board."""
    problems: list[str] = field(default_factory=list)
    """What could not be written, when all else was done."""
    cells: Sequence[Cell] = ()
    """The matrix of this call, where it has run: its names are known, with runs or without."""
    _selections: dict[str, Selection] = field(default_factory=dict, init=False, repr=False)
    """By experiment, since each takes all of its runs to read."""

    def run(self) -> tuple[Finding, ...]:
        """Run them all; return a finding for each experiment that was read.

        Raises:
            UserMistakeError: a faulty sheet, an unknown name; nothing was written.
        """
        settings = self.settings
        sheets = read_sheets(settings)
        experiments = self._experiments(sheets.values())
        read = filter(None, dict.fromkeys([*experiments, settings.baseline]))
        self.lines += dict.fromkeys(line for name in read for line in self.keeper.pull(name))
        self._check(experiments)
        if sheets:
            self.lines += apply_sheets(
                settings, self.evaluation, self.keeper, sheets, self.login_name
            )
        if settings.judge_export is not None:
            selection = self._selection(settings.experiment)
            runs = self.keeper.ledger.latest_runs(settings.experiment, selection)
            self.lines += export_sheet(
                settings, self.evaluation, self.keeper, runs, self.login_name
            )
        findings = tuple(self.find(experiment) for experiment in experiments)
        self._report(findings)
        return findings

    def _check(self, experiments: Sequence[str]) -> None:
        """Tell what would stop the reading commands before the writing ones have written.

        Raises:
            UserMistakeError: an unknown name, or several boards for one report.
        """
        if self.settings.report and len(experiments) != 1:
            raise UserMistakeError(
                "--tipbench-report: the sheets are of several experiments, and a report is of one; "
                "name it with --experiment"
            )
        for experiment in experiments:
            self._selection(experiment)

    def _report(self, findings: Sequence[Finding]) -> None:
        """Write the reports that were asked for; on a CI of GitHub's, its summary too.

        Raises:
            UserMistakeError: there is nothing to report.
        """
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if not self.settings.report and not step_summary:
            return
        from pytest_tipbench.reports.formats import rendered, write_report

        reports = [self._report_of(finding) for finding in findings if finding.board.rows]
        for path in self.settings.report:
            if not reports:
                raise UserMistakeError(
                    f"--tipbench-report {path}: experiment {findings[0].board.experiment!r} has no "
                    "finished run to report"
                )
            try:
                write_report(reports[0], path)
            except OSError as error:
                reason = error.strerror or error
                self.problems.append(f"--tipbench-report {path}: cannot be written: {reason}")
            else:
                self.lines.append(f"report: {path}")
        if step_summary:
            try:
                with Path(step_summary).open("a", encoding="utf-8") as file:
                    file.writelines(rendered(report, ".md") for report in reports)
            except OSError as error:
                reason = error.strerror or error
                self.problems.append(f"GITHUB_STEP_SUMMARY {step_summary}: not written: {reason}")

    def _report_of(self, finding: Finding) -> Report:
        from pytest_tipbench.reports.report import build_report

        board, ledger = finding.board, self.keeper.ledger
        runs = ledger.latest_runs(board.experiment, self._selection(board.experiment))
        made_in = {run.session_id for run in board.counted(runs)}
        return build_report(
            board=board,
            runs=runs,
            judgements=ledger.judgements(),
            applies=finding.applies,
            rubric=self.evaluation.rubric,
            verdicts=finding.verdicts,
            comparison=finding.comparison,
            environment=common_environment(
                session.environment
                for session in ledger.sessions(board.experiment)
                if session.session_id in made_in
            ),
        )

    def find(self, experiment: str) -> Finding:
        """Make the board of an experiment and hold the gates against it."""
        settings, rubric = self.settings, self.evaluation.rubric
        gates = read_gates(settings, rubric)
        diversity = settings.diversity or any(gate.needs_diversity for gate in gates)
        selection = self._selection(experiment)
        board = self._board(experiment, selection, diversity=diversity)
        verdicts = evaluate_gates(gates, board, pending=settings.gate_pending)
        comparison = None
        if settings.baseline is not None:
            baseline = self._board(settings.baseline, selection, diversity=False)
            comparison = compare_with_baseline(board, baseline)
            if not baseline.rows:
                self._tell_unknown_baseline(settings.baseline)
            verdicts += baseline_verdicts(
                comparison, settings.max_drop, pending=settings.gate_pending
            )
        applies = tuple(self.keeper.ledger.applies(experiment))
        agreements = judges_agreement(
            self.keeper.ledger.runs(experiment, selection),
            self.keeper.ledger.judgements(rubric.sha256),
            rubric,
        )
        return Finding(board, verdicts, agreements, applies, comparison)

    def _tell_unknown_baseline(self, name: str) -> None:
        known = self.keeper.ledger.experiments()
        if name not in known:
            self.lines.append(f"--baseline: {UnknownNameError('experiment', name, known)}")

    def _experiments(self, sheets: Collection[bytes]) -> tuple[str, ...]:
        """Return the experiments to read: that of the cells, as named, else those of the sheets."""
        if "experiment" in self.settings.named or not sheets:
            return (self.settings.experiment,)
        own = [self.settings.experiment] if self.cells else []
        of_sheets = (experiment_of_sheet(data, self.settings) for data in sheets)
        return tuple(dict.fromkeys([*own, *of_sheets]))

    def _board(self, experiment: str, selection: Selection, *, diversity: bool) -> Board:
        board = build_board(
            self.keeper.ledger.latest_runs(experiment, selection),
            self.keeper.ledger.judgements(),
            self.evaluation.rubric,
            diversity=diversity,
        )
        # A board without runs cannot know which experiment it is of.
        return board.model_copy(update={"experiment": experiment})

    def _selection(self, experiment: str) -> Selection:
        if experiment not in self._selections:
            self._selections[experiment] = self._read_selection(experiment)
        return self._selections[experiment]

    def _read_selection(self, experiment: str) -> Selection:
        """Return what the command line itself names; ini defaults narrow no board.

        Raises:
            UnknownNameError: a name that no stored cell bears, and none of this call's.
        """
        settings, named = self.settings, self.settings.named
        models = None if "installed" in settings.models else tuple(map(_text_of, settings.models))
        if self.cells:  # they know what ``installed`` and globs stand for
            models = tuple(dict.fromkeys(cell.model.text for cell in self.cells))
        by_field = {"models": models, "prompts": settings.prompts, "scenarios": settings.scenarios}
        if not any(field in named for field in by_field):
            return Selection()
        return stored_selection(
            [*(run.cell for run in self.keeper.ledger.runs(experiment)), *self.cells],
            **{field: names if field in named else None for field, names in by_field.items()},
        )


def _text_of(model: str) -> str:
    """Return the model as runs have it: ``ollama/x`` is ``x``."""
    from pytest_tipbench.providers.registry import parse_reference

    return parse_reference(model).text
