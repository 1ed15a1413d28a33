"""Owns the way from a judged sheet to judgements: the whole file is checked before anything counts.

Imports records, errors and the other files of this room; writes nothing itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_tipbench.errors import JudgeFileError
from pytest_tipbench.judge.anchors import anchors_sha256
from pytest_tipbench.judge.drift import (
    count_agreement,
    describe_apply,
    describe_drift,
    measure_drift,
)
from pytest_tipbench.judge.files import (
    LONGEST_JUDGE_NAME,
    Sheet,
    SheetScenario,
    item_id,
    sheet_rubric,
    sheet_scenario,
)
from pytest_tipbench.judge.files import judge_name as as_judge_name
from pytest_tipbench.judge.judgements import Said, given_again, judgements_of
from pytest_tipbench.judge.reading import read_sheet, shown
from pytest_tipbench.judgement_records import ApplyRecord, TipKey
from pytest_tipbench.records import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytest_tipbench.judgement_records import Anchor, Judgement, Rubric
    from pytest_tipbench.records import RunRecord


@dataclass(frozen=True)
class AppliedSheet:
    """What a faultless sheet comes to; ``apply`` is None where nothing on it is scored."""

    experiment: str
    judge: str
    apply: ApplyRecord | None
    judgements: tuple[Judgement, ...]
    """What the sheet says of each scored tip; those that are known already as they were kept."""
    judgements_new: int
    """How many of them say anything new."""
    items_left: int
    """How many items are still null; they stay pending."""
    notices: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell the user: counts, drift, self-consistency, notices."""
        if self.apply is None:
            return ("no item is scored: nothing to apply", *self.notices)
        scored, new = len(self.judgements), self.judgements_new
        said_new = f", {new or 'none'} of them new" if new < scored else ""
        left = f", {self.items_left} items of the sheet left open" if self.items_left else ""
        headline = f"judged by {shown(self.judge)}: tips scored: {scored}{said_new}{left}"
        return (headline, *describe_apply(self.apply), *self.notices)


@dataclass(frozen=True)
class _Known:
    """What an item's id stands for: a tip that a run made, an anchor, or both."""

    scenario: SheetScenario
    scenario_sha256: str
    tip: str
    is_made: bool
    anchor: Anchor | None


@dataclass(frozen=True)
class _Scored:
    """An item with a score for every criterion."""

    known: _Known
    scores: dict[str, int]
    note: str


def experiment_of(data: bytes) -> str | None:
    """Return the experiment that a sheet names; None where the file cannot be read as a sheet."""
    sheet = read_sheet(data).sheet
    return sheet.experiment if sheet else None


def check_sheet(
    path: Path,
    data: bytes,
    *,
    experiment: str | None,
    rubric: Rubric,
    runs: Sequence[RunRecord],
    anchors: Sequence[Anchor],
    prior_judgements: Sequence[Judgement],
    judge_name: str | None,
    login_name: str,
    max_drift: float,
    accept_drift: bool,
    now: datetime,
) -> AppliedSheet:
    """Check a judged sheet whole and turn its scores into judgements.

    Args:
        path: the file's name, for messages.
        data: its bytes.
        experiment: the one that the user named; None lets the sheet's own count.
        rubric: the one in force.
        runs: all runs of the sheet's experiment, whatever the selection.
        anchors: all anchors there are now.
        prior_judgements: all that the store has already.
        judge_name: who judged, as the user named it; else the sheet's ``judge`` counts, else
            ``login_name``.
        login_name: the name the user is logged in by; may be empty.
        max_drift: mean absolute anchor error above which the sheet is refused.
        accept_drift: let it in nevertheless, and record that.
        now: the time of judging, with its time zone.

    Raises:
        JudgeFileError: with every fault of the file; nothing of it may be written.
    """
    reading = read_sheet(data)
    sheet = reading.sheet
    if sheet is None:
        raise JudgeFileError(path, reading.faults)
    judge = next(filter(None, map(as_judge_name, (judge_name, sheet.judge, login_name))), "")
    known = _known_items(sheet.nonce, runs, anchors)
    frame_faults = _frame_faults(sheet, experiment, rubric, judge)
    # Where another experiment was named, the runs at hand say nothing about the items.
    is_ours = experiment in (None, sheet.experiment)
    item_faults = [*_repeated_items(sheet), *(_item_faults(sheet, known) if is_ours else ())]
    faults = [*reading.faults, *frame_faults, *item_faults]
    if reading.checksum_matches is False:
        faults.append(_checksum_fault(is_explained=bool(frame_faults or item_faults)))
    if sheet.rubric != sheet_rubric(rubric):
        raise JudgeFileError(path, faults)

    scored = _scored_items(sheet, known, rubric)
    anchored = [(item.scores, item.known.anchor.scores) for item in scored if item.known.anchor]
    drift = measure_drift(anchored, rubric.criterion_names)
    is_adrift = drift is not None and drift.mean_absolute_error > max_drift
    if drift is not None and is_adrift and not accept_drift:
        faults.append(
            f"anchors: {describe_drift(drift)} is past --judge-max-drift {max_drift:g}: read the "
            "rubric again and score anew, or let it in with --judge-accept-drift"
        )
    if faults:
        raise JudgeFileError(path, faults)

    prior = [each for each in prior_judgements if each.judge == judge]
    said = [_said(item, rubric) for item in scored if item.known.is_made]
    judgements = judgements_of(said, nonce=sheet.nonce, judge=judge, prior=prior, now=now)
    known_ids = {each.judgement_id for each in prior}
    anchor_scores = [given for given, _ in anchored]
    repeats_scored, repeats_agreed = count_agreement(given_again(sheet, judgements, prior))
    apply = ApplyRecord(
        apply_id=sha256_of(
            [sheet.nonce, judge, [j.judgement_id for j in judgements], anchor_scores]
        ),
        experiment=sheet.experiment,
        sheet_nonce=sheet.nonce,
        judge=judge,
        rubric_version=rubric.version,
        rubric_sha256=rubric.sha256,
        applied_at=now,
        judgements=len(judgements),
        anchors_scored=len(anchored),
        drift=drift.by_criterion if drift else {},
        drift_mean_absolute_error=drift.mean_absolute_error if drift else None,
        drift_accepted=is_adrift,
        anchors_sha256=anchors_sha256(anchors) if anchors else None,
        repeats_scored=repeats_scored,
        repeats_agreed=repeats_agreed,
    )
    return AppliedSheet(
        experiment=sheet.experiment,
        judge=judge,
        apply=apply if scored else None,
        judgements=judgements,
        judgements_new=sum(each.judgement_id not in known_ids for each in judgements),
        items_left=len(sheet.items) - len(scored),
        notices=_notices(sheet, judge),
    )


# --- faults -----------------------------------------------------------------------------------


def _frame_faults(sheet: Sheet, experiment: str | None, rubric: Rubric, judge: str) -> list[str]:
    faults = []
    if experiment not in (None, sheet.experiment):
        faults.append(
            f"it is a sheet of experiment {shown(sheet.experiment)}, and --experiment names "
            f"{shown(experiment)}"
        )
    theirs = sheet.rubric
    if theirs.sha256 != rubric.sha256:
        faults.append(
            f"it was judged by rubric {shown(theirs.version)} ({shown(theirs.sha256[:12])}), the "
            f"one in force is {shown(rubric.version)} ({rubric.sha256[:12]}): bring that rubric "
            "back, or score a fresh export"
        )
    elif theirs != sheet_rubric(rubric):
        faults.append("rubric was edited")
    if not judge:
        faults.append("judge is empty: write a name there, or give one with --judge-name")
    if len(judge) > LONGEST_JUDGE_NAME:
        faults.append(
            f"judge: {shown(judge)} has {len(judge)} characters, a name has at most "
            f"{LONGEST_JUDGE_NAME}"
        )
    return faults


def _repeated_items(sheet: Sheet) -> list[str]:
    counts = Counter(item.id for item in sheet.items)
    return [
        f"item {shown(identity)}: stands {count} times on the sheet"
        for identity, count in counts.items()
        if count > 1
    ]


def _item_faults(sheet: Sheet, known: Mapping[str, _Known]) -> list[str]:
    unknown = [shown(item.id) for item in sheet.items if item.id not in known]
    if len(unknown) == len(sheet.items) > 1:
        some = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        fault = (
            f"none of its {len(unknown)} items ({some}) is known here: the runs of experiment "
            f"{shown(sheet.experiment)} are not in this store (pull them with --tracking-uri, or "
            "name their --ledger), or the nonce was edited"
        )
        return [fault]
    faults = [
        f"item {identity}: unknown id: no run and no anchor here has this tip; if the id was not "
        "edited, its run is elsewhere (--tracking-uri, --ledger) or its anchor was changed since"
        for identity in unknown
    ]
    for item in sheet.items:
        if meant := known.get(item.id):
            if item.tip != meant.tip:
                faults.append(f"item {item.id}: its tip was edited")
            if item.scenario != meant.scenario:
                faults.append(f"item {item.id}: its scenario was edited")
    return faults


def _checksum_fault(*, is_explained: bool) -> str:
    where = (
        "most likely what is named above"
        if is_explained
        else "perhaps items were removed or moved, or experiment, exported_at, instructions or "
        "checksum were edited"
    )
    return (
        f"checksum: something beyond scores, notes and judge was changed, {where}; undo it, or "
        "score a fresh export"
    )


# --- scores -----------------------------------------------------------------------------------


def _known_items(
    nonce: str, runs: Sequence[RunRecord], anchors: Sequence[Anchor]
) -> dict[str, _Known]:
    """Return what each id on a sheet of that nonce can stand for."""
    scenarios = {run.scenario_sha256: run.scenario for run in runs}
    views = {sha256: sheet_scenario(scenario) for sha256, scenario in scenarios.items()}
    made = {(run.scenario_sha256, tip) for run in runs for tip in run.tips}
    anchored = {
        (sha256, anchor.tip): anchor
        for sha256, scenario in scenarios.items()
        for anchor in anchors
        if anchor.scenario == scenario.id
    }
    return {
        item_id(nonce, sha256, tip): _Known(
            scenario=views[sha256],
            scenario_sha256=sha256,
            tip=tip,
            is_made=(sha256, tip) in made,
            anchor=anchored.get((sha256, tip)),
        )
        for sha256, tip in made | anchored.keys()
    }


def _scored_items(sheet: Sheet, known: Mapping[str, _Known], rubric: Rubric) -> list[_Scored]:
    scored = []
    for item in sheet.items:
        given = {name: item.scores[name] for name in rubric.criterion_names}
        scores = {name: score for name, score in given.items() if score is not None}
        if scores and item.id in known:
            scored.append(_Scored(known[item.id], scores, item.note or ""))
    return scored


def _said(item: _Scored, rubric: Rubric) -> Said:
    key = TipKey(
        rubric_sha256=rubric.sha256,
        scenario_sha256=item.known.scenario_sha256,
        tip=item.known.tip,
    )
    return Said(key, item.scores, item.note)


def _notices(sheet: Sheet, judge: str) -> tuple[str, ...]:
    notices = []
    named = as_judge_name(sheet.judge)
    if named not in ("", judge):
        notices.append(f"the sheet names {shown(named)} as its judge; --judge-name counts")
    noted = sum(1 for item in sheet.items if item.note and None in item.scores.values())
    if noted:
        notices.append(
            f"notes on items without scores: {noted}; they are taken once the items are scored"
        )
    return tuple(notices)
