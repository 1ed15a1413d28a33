"""Owns the commands on what is kept: sheet out, sheet in, board, gates; imports no pytest."""

from __future__ import annotations

import os
import secrets
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tipbench.board import build_board
from pytest_tipbench.board_baseline import compare_with_baseline
from pytest_tipbench.environment import environment
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.gates import baseline_verdicts, evaluate_gates, minimum_composite, parse_gate
from pytest_tipbench.judge.concord import agreement_metrics, judges_agreement
from pytest_tipbench.matrix import stored_selection
from pytest_tipbench.records import Selection
from pytest_tipbench.settings import carried_on

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison
    from pytest_tipbench.board_records import Board
    from pytest_tipbench.evaluation import EvaluationSet
    from pytest_tipbench.gates import Gate, Verdict
    from pytest_tipbench.judge.concord import Agreement
    from pytest_tipbench.judge.files import Sheet
    from pytest_tipbench.judgement_records import ApplyRecord, Judgement, Rubric
    from pytest_tipbench.keeper import Keeper
    from pytest_tipbench.records import Cell
    from pytest_tipbench.reports.report_records import Report
    from pytest_tipbench.settings import Settings

_CARRIED_ON = ("tracking_uri", "tracking_host_header", "offline", "ledger")
"""Options of an export's call that the sheet's return needs too."""


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
        UserMistakeError: a gate that is none, a sheet that is not there or would be overwritten.
    """
    read_gates(settings, evaluation.rubric)
    for path in settings.judge_apply:
        if not path.is_file():
            raise UserMistakeError(f"--judge-apply {path}: there is no such file")
    if settings.judge_export is not None:
        from pytest_tipbench.judge.export import check_target

        check_target(settings.judge_export, is_untouched=_is_untouched(settings.judge_export))


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
    cells: Sequence[Cell] = ()
    """The matrix of this call, where it has run: its names are known, with runs or without."""

    def run(self) -> tuple[Finding, ...]:
        """Run them all; return a finding for each experiment that was read.

        Raises:
            UserMistakeError: a faulty sheet, an unknown name; nothing was written.
        """
        sheets = {path: _read_sheet(path) for path in self.settings.judge_apply}
        experiments = self._experiments(sheets.values())
        read = filter(None, dict.fromkeys([*experiments, self.settings.baseline]))
        self.lines += dict.fromkeys(line for name in read for line in self.keeper.pull(name))
        if sheets:
            self._apply(sheets)
        if self.settings.judge_export is not None:
            self._export(self.settings.judge_export)
        findings = tuple(self.find(experiment) for experiment in experiments)
        self._report(findings)
        return findings

    def _report(self, findings: Sequence[Finding]) -> None:
        """Write the reports that were asked for; on a CI of GitHub's, its summary too.

        Raises:
            UserMistakeError: a file cannot be written, or there are several boards for one.
        """
        step_summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if not self.settings.report and not step_summary:
            return
        if self.settings.report and len(findings) != 1:
            raise UserMistakeError(
                "--tipbench-report: the sheets are of several experiments, and a report is of one; "
                "name it with --experiment"
            )
        from pytest_tipbench.reports.formats import rendered, write_report

        reports = [self._report_of(finding) for finding in findings if finding.board.rows]
        for path in self.settings.report:
            if not reports:
                raise UserMistakeError(
                    f"--tipbench-report {path}: experiment {findings[0].board.experiment!r} has no "
                    "finished run to report"
                )
            write_report(reports[0], path)
            self.lines.append(f"report: {path}")
        if step_summary:
            with Path(step_summary).open("a", encoding="utf-8") as file:
                file.writelines(rendered(report, ".md") for report in reports)

    def _report_of(self, finding: Finding) -> Report:
        from pytest_tipbench.reports.report import build_report

        experiment = finding.board.experiment
        return build_report(
            board=finding.board,
            runs=self.keeper.ledger.latest_runs(experiment, self._selection(experiment)),
            judgements=self.keeper.ledger.judgements(),
            applies=finding.applies,
            rubric=self.evaluation.rubric,
            verdicts=finding.verdicts,
            comparison=finding.comparison,
            environment=environment(self.settings.root),
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
            verdicts += baseline_verdicts(
                comparison, settings.max_drop, pending=settings.gate_pending
            )
        applies = tuple(self.keeper.ledger.applies(experiment))
        return Finding(board, verdicts, self._agreements(experiment), applies, comparison)

    def _experiments(self, sheets: Collection[bytes]) -> tuple[str, ...]:
        """Return the experiments to read: that of the cells, as named, else those of the sheets."""
        if "experiment" in self.settings.named or not sheets:
            return (self.settings.experiment,)
        own = [self.settings.experiment] if self.cells else []
        return tuple(dict.fromkeys([*own, *map(self._experiment_of, sheets)]))

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

    def _apply(self, sheets: Mapping[Path, bytes]) -> None:
        """Check every sheet whole before the first is written.

        Raises:
            JudgeFileError: faults, of one sheet; of several sheets in one ``UserMistakeError``.
        """
        from pytest_tipbench.judge.apply import check_sheet

        settings, ledger = self.settings, self.keeper.ledger
        faults: list[str] = []
        applied = []
        for path, data in sheets.items():
            experiment = settings.experiment if "experiment" in settings.named else None
            try:
                sheet = check_sheet(
                    path,
                    data,
                    experiment=experiment,
                    rubric=self.evaluation.rubric,
                    runs=ledger.runs(experiment or self._experiment_of(data)),
                    anchors=self.evaluation.anchors,
                    prior_judgements=ledger.judgements(self.evaluation.rubric.sha256),
                    judge_name=settings.judge_name,
                    login_name=self.login_name,
                    max_drift=settings.judge_max_drift,
                    accept_drift=settings.judge_accept_drift,
                    now=_now(),
                )
            except UserMistakeError as mistake:
                faults.append(str(mistake))
            else:
                applied.append(sheet)
        if faults:
            raise UserMistakeError("\n".join(faults))
        for sheet in applied:
            if sheet.apply is not None:
                agreements = self._agreements(sheet.experiment, sheet.judgements)
                apply = sheet.apply.model_copy(update={"agreement": agreement_metrics(agreements)})
                self.keeper.keep_judgements(apply, sheet.judgements)
            self.lines += sheet.lines

    def _agreements(
        self, experiment: str, further: Sequence[Judgement] = ()
    ) -> tuple[Agreement, ...]:
        rubric, ledger = self.evaluation.rubric, self.keeper.ledger
        judgements = [*ledger.judgements(rubric.sha256), *further]
        return judges_agreement(ledger.runs(experiment), judgements, rubric)

    def _experiment_of(self, data: bytes) -> str:
        from pytest_tipbench.judge.apply import experiment_of

        return experiment_of(data) or self.settings.experiment

    def _export(self, path: Path) -> None:
        from pytest_tipbench.judge.export import build_sheet

        settings, ledger = self.settings, self.keeper.ledger
        experiment = settings.experiment
        build = build_sheet(
            experiment=experiment,
            runs=ledger.latest_runs(experiment, self._selection(experiment)),
            judgements=ledger.judgements(),
            rubric=self.evaluation.rubric,
            anchors=self.evaluation.anchors,
            judge=settings.judge_name or self.login_name,
            judge_name_for_pending=settings.judge_name,
            limit=settings.judge_limit,
            anchor_count=settings.judge_anchors,
            nonce=secrets.token_hex(16),
            exported_at=_now(),
        )
        if build.sheet is not None:
            _write_sheet(path, build.sheet)
            self.lines.append(
                f"{path}: {build.exported_count} of {build.pending_count} pending tips to score; "
                f"{self._way_back(path)}"
            )
        self.lines += build.notices

    def _way_back(self, path: Path) -> str:
        """Return how the scores come back: a page saves a sheet of its own."""
        carried = carried_on(self.settings, *_CARRIED_ON)
        if path.suffix.lower() == ".html":
            saved = "SAVED.json"
            first = "score in a browser and save"
        else:
            saved, first = str(path), "score"
        return f"{first}, then: {shlex.join(['pytest', '--judge-apply', saved, *carried])}"


def _write_sheet(path: Path, sheet: Sheet) -> None:
    from pytest_tipbench.judge.export import write_export
    from pytest_tipbench.judge.files import sheet_json

    if path.suffix.lower() == ".html":
        from pytest_tipbench.judge.page import page_html

        text = page_html(sheet)
    else:
        text = sheet_json(sheet)
    write_export(path, text, is_untouched=_is_untouched(path))


def _is_untouched(path: Path) -> Callable[[bytes], bool]:
    """Return what tells, of an export of that format, whether it may be overwritten."""
    if path.suffix.lower() == ".html":
        from pytest_tipbench.judge.page import is_untouched_page

        return is_untouched_page
    from pytest_tipbench.judge.reading import is_untouched_export

    return is_untouched_export


def _read_sheet(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserMistakeError(f"--judge-apply {path}: {error.strerror or error}") from None


def _text_of(model: str) -> str:
    """Return the model as runs have it: ``ollama/x`` is ``x``."""
    from pytest_tipbench.providers.registry import parse_reference

    return parse_reference(model).text


def _now() -> datetime:
    return datetime.now(timezone.utc)
