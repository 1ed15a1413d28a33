"""Owns a sheet's way out of the store to a judge, and back in; imports no pytest.

What stands on a sheet and whether it may come back is the judge room's affair.
"""

from __future__ import annotations

import itertools
import secrets
import shlex
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_tipbench.board import build_board
from pytest_tipbench.board_notices import counted_noun
from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.judge.concord import agreement_metrics, judges_agreement
from pytest_tipbench.settings import carried_on

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from pytest_tipbench.evaluation import EvaluationSet
    from pytest_tipbench.judge.apply import AppliedSheet
    from pytest_tipbench.judge.files import Sheet
    from pytest_tipbench.keeper import Keeper
    from pytest_tipbench.records import RunRecord
    from pytest_tipbench.settings import Settings

_CARRIED_ON = ("tracking_uri", "tracking_host_header", "offline", "ledger")
"""Options of an export's call that the sheet's return needs too."""


def check_sheets(settings: Settings) -> None:
    """Tell what can be told of the sheets of this call without reading them.

    Raises:
        UserMistakeError: one is not there, or one would be overwritten.
    """
    for path in settings.judge_apply:
        if path.is_dir():
            raise UserMistakeError(f"--judge-apply {path}: it is a folder, name the sheet in it")
        if not path.is_file():
            raise UserMistakeError(f"--judge-apply {path}: there is no such file")
    if settings.judge_export is not None:
        from pytest_tipbench.judge.export import check_target

        check_target(settings.judge_export, is_untouched=_is_untouched(settings.judge_export))


def free_sheet_name(folder: Path) -> str:
    """Return the first of ``scores.json``, ``scores-2.json`` … that an export may be written to."""
    from pytest_tipbench.judge.export import check_target

    for number in itertools.count(1):
        name = "scores.json" if number == 1 else f"scores-{number}.json"
        try:
            check_target(folder / name)
        except UserMistakeError:
            continue
        return name
    raise AssertionError("counting ended")


def read_sheets(settings: Settings) -> dict[Path, bytes]:
    """Return the bytes of the sheets to apply.

    Raises:
        UserMistakeError: one cannot be read.
    """
    sheets: dict[Path, bytes] = {}
    for path in settings.judge_apply:
        try:
            sheets[path] = path.read_bytes()
        except OSError as error:
            raise UserMistakeError(f"--judge-apply {path}: {error.strerror or error}") from None
    return sheets


def experiment_of_sheet(data: bytes, settings: Settings) -> str:
    """Return the experiment that a sheet names; this call's, where it cannot be read."""
    from pytest_tipbench.judge.apply import experiment_of

    return experiment_of(data) or settings.experiment


def apply_sheets(
    settings: Settings,
    evaluation: EvaluationSet,
    keeper: Keeper,
    sheets: Mapping[Path, bytes],
    login_name: str,
) -> list[str]:
    """Check every sheet whole before the first is written; return what to say of them.

    Raises:
        UserMistakeError: the faults of all sheets together; nothing was written.
    """
    from pytest_tipbench.judge.apply import check_sheet

    ledger, rubric = keeper.ledger, evaluation.rubric
    experiment = settings.experiment if "experiment" in settings.named else None
    faults: list[str] = []
    applied: list[AppliedSheet] = []
    for path, data in sheets.items():
        try:
            sheet = check_sheet(
                path,
                data,
                experiment=experiment,
                rubric=rubric,
                runs=ledger.runs(experiment or experiment_of_sheet(data, settings)),
                anchors=evaluation.anchors,
                prior_judgements=[
                    *ledger.judgements(rubric.sha256),
                    *(judgement for before in applied for judgement in before.judgements),
                ],
                judge_name=settings.judge_name,
                login_name=login_name,
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
    lines: list[str] = []
    for sheet in applied:
        if sheet.apply is not None:
            judgements = [*ledger.judgements(rubric.sha256), *sheet.judgements]
            agreements = judges_agreement(ledger.runs(sheet.experiment), judgements, rubric)
            apply = sheet.apply.model_copy(update={"agreement": agreement_metrics(agreements)})
            keeper.keep_judgements(apply, sheet.judgements)
        lines += sheet.lines
    return lines


def export_sheet(
    settings: Settings,
    evaluation: EvaluationSet,
    keeper: Keeper,
    runs: Sequence[RunRecord],
    login_name: str,
) -> list[str]:
    """Write the pending tips of the runs to the file that this call names; return what to say.

    Raises:
        UserMistakeError: the file exists and is no untouched export, or cannot be written.
    """
    from pytest_tipbench.judge.export import build_sheet

    path = settings.judge_export
    assert path is not None  # noqa: S101 - the caller looked
    judgements = keeper.ledger.judgements()
    # What was made by an older configuration changes no row, whatever score it gets.
    counted = build_board(runs, judgements, evaluation.rubric).counted(runs)
    build = build_sheet(
        experiment=settings.experiment,
        runs=counted,
        judgements=judgements,
        rubric=evaluation.rubric,
        anchors=evaluation.anchors,
        judge=settings.judge_name or login_name,
        judge_name_for_pending=settings.judge_name,
        limit=settings.judge_limit,
        anchor_count=settings.judge_anchors,
        nonce=secrets.token_hex(16),
        exported_at=_now(),
    )
    lines: list[str] = []
    if build.sheet is not None:
        _write_sheet(path, build.sheet)
        lines.append(
            f"{path}: {build.exported_count} of {build.pending_count} pending tips to score; "
            f"{_way_back(path, settings)}"
        )
    lines += build.notices
    if len(runs) > len(counted):
        older = counted_noun(len(runs) - len(counted), "cell")
        lines.append(f"not on the sheet, as on the board: {older} of older configurations")
    return lines


def _way_back(path: Path, settings: Settings) -> str:
    """Return how the scores come back: a page saves a sheet of its own."""
    carried = carried_on(settings, *_CARRIED_ON)
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


def _now() -> datetime:
    return datetime.now(timezone.utc)
