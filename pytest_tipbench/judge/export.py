"""Owns what goes on a judge's sheet, and writing it; imports records, errors and this room's files.

A sheet is blind and needs no memory: all chance in it hangs on its nonce, so that whoever has the
runs can tell from an item's id alone which tip it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from pytest_tipbench.errors import UserMistakeError
from pytest_tipbench.files import write_whole
from pytest_tipbench.judge.drift import MINIMUM_ANCHORS
from pytest_tipbench.judge.files import (
    LONGEST_JUDGE_NAME,
    SCHEMA,
    Sheet,
    SheetItem,
    item_id,
    judge_name,
    sealed,
    sheet_rubric,
    sheet_scenario,
)
from pytest_tipbench.judge.instructions import instructions_for
from pytest_tipbench.judge.reading import is_untouched_export, shown
from pytest_tipbench.records import RunRecord, Scenario, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pytest_tipbench.judgement_records import Anchor, Judgement, Rubric

Tip = tuple[str, str]
"""A tip of a scenario: the scenario's SHA-256 and the text."""

Drawn = TypeVar("Drawn", str, Tip)


@dataclass(frozen=True)
class SheetBuild:
    """A sheet, or None with nothing pending, and what there is to say about it."""

    sheet: Sheet | None
    pending_count: int
    """Distinct pending tips of the selection."""
    exported_count: int
    """How many of them are on the sheet."""
    notices: tuple[str, ...]


def build_sheet(
    *,
    experiment: str,
    runs: Sequence[RunRecord],
    judgements: Sequence[Judgement],
    rubric: Rubric,
    anchors: Sequence[Anchor],
    judge: str | None,
    judge_name_for_pending: str | None,
    limit: int | None,
    anchor_count: int,
    nonce: str,
    exported_at: datetime,
) -> SheetBuild:
    """Put the pending tips of the runs on a sheet, blind, with anchors and repeats mixed in.

    Args:
        runs: the newest run of each cell of the selection.
        judgements: all that were ever given; those under another rubric count for nothing.
        judge: who is expected to judge: some of what this judge has scored is asked again, hidden.
        judge_name_for_pending: pending is then what this judge has not scored, rather than what
            nobody has; it is filled in as the sheet's judge.
        limit: at most so many pending tips (1 or more), whole scenarios as far as they fit.
        anchor_count: how many anchors of the sheet's scenarios to mix in.
        nonce: seeds all chance in the sheet.
        exported_at: now, with its time zone.

    Raises:
        UserMistakeError: the name of the judge is longer than a sheet may come back with.
    """
    judge = judge_name(judge) or None
    asked_for = judge_name(judge_name_for_pending) or None
    if asked_for and len(asked_for) > LONGEST_JUDGE_NAME:
        raise UserMistakeError(
            f"--judge-name {shown(asked_for)}: it has {len(asked_for)} characters, a name has at "
            f"most {LONGEST_JUDGE_NAME}"
        )
    scenarios = {run.scenario_sha256: run.scenario for run in runs}
    made = {(run.scenario_sha256, tip) for run in runs for tip in run.tips}
    pending = made - _judged(judgements, rubric, asked_for)
    chosen, notices = _within_limit(pending, limit, scenarios, nonce)
    if not chosen:
        return SheetBuild(None, 0, 0, (_nothing_pending(made, asked_for),))
    judged_by_judge = _judged(judgements, rubric, judge) if judge else set()
    repeats = _repeats(judged_by_judge & (made - pending), chosen, nonce)
    on_sheet = {sha256: scenarios[sha256] for sha256, _ in {*chosen, *repeats}}
    mixed_in = _anchors(anchors, on_sheet, made, nonce)[:anchor_count]
    if len(mixed_in) < anchor_count:
        notices.append(_few_anchors(len(mixed_in), anchor_count, len(anchors)))
    sheet = Sheet(
        schema=SCHEMA,
        experiment=experiment,
        nonce=nonce,
        checksum="",
        exported_at=exported_at,
        judge=asked_for,
        rubric=sheet_rubric(rubric),
        instructions=instructions_for(rubric),
        items=_items({*chosen, *repeats, *mixed_in}, on_sheet, rubric, nonce),
    )
    return SheetBuild(sealed(sheet), len(pending), len(chosen), tuple(notices))


def _judged(judgements: Iterable[Judgement], rubric: Rubric, judge: str | None) -> set[Tip]:
    """Return what was scored under the rubric: by the judge, or by anybody."""
    rubric_sha256 = rubric.sha256
    return {
        (judgement.key.scenario_sha256, judgement.key.tip)
        for judgement in judgements
        if judgement.key.rubric_sha256 == rubric_sha256 and judge in (None, judgement.judge)
    }


def _drawn(values: Iterable[Drawn], purpose: str, nonce: str) -> list[Drawn]:
    """Return the values in a random order that hangs on nothing but nonce and purpose.

    Each purpose has a draw of its own: were the tips picked and placed by one, the picked ones
    would stand together.
    """
    return sorted(values, key=lambda value: sha256_of([nonce, purpose, value]))


def _within_limit(
    pending: set[Tip], limit: int | None, scenarios: Mapping[str, Scenario], nonce: str
) -> tuple[set[Tip], list[str]]:
    """Return the tips that go on the sheet, and a notice where a scenario had to be broken up."""
    if limit is None or len(pending) <= limit:
        return pending, []
    order = _drawn({sha256 for sha256, _ in pending}, "scenarios", nonce)
    chosen: set[Tip] = set()
    for sha256 in order:
        block = {tip for tip in pending if tip[0] == sha256}
        if len(chosen) + len(block) <= limit:
            chosen |= block
    if chosen:
        return chosen, []
    block = {tip for tip in pending if tip[0] == order[0]}
    notice = (
        f"no whole scenario fits into {limit}: the sheet has {limit} of the {len(block)} pending "
        f"tips of {scenarios[order[0]].id}"
    )
    return set(_drawn(block, "limit", nonce)[:limit]), [notice]


def _repeats(judged: set[Tip], chosen: set[Tip], nonce: str) -> list[Tip]:
    """Return what the judge is asked again: a tenth, rounded up, of what it has scored.

    That is of what it has scored of the chosen tips' scenarios. Where that is nothing, it is of all
    that it has scored, but no more than a tenth of the chosen tips, and one scenario after another,
    so that they stand on the sheet as small blocks like any others.
    """
    on_sheet = {sha256 for sha256, _ in chosen}
    candidates = _drawn((tip for tip in judged if tip[0] in on_sheet), "repeats", nonce)
    if candidates:
        return candidates[: _tenth(len(candidates))]
    elsewhere = [
        tip
        for block in _drawn({sha256 for sha256, _ in judged}, "repeated scenarios", nonce)
        for tip in _drawn((tip for tip in judged if tip[0] == block), "repeats", nonce)
    ]
    return elsewhere[: _tenth(min(len(judged), len(chosen)))]


def _tenth(count: int) -> int:
    return -(-count // 10)


def _anchors(
    anchors: Sequence[Anchor], on_sheet: Mapping[str, Scenario], made: set[Tip], nonce: str
) -> list[Tip]:
    """Return the anchors of the sheet's scenarios, one of each scenario first, then a second...

    An anchor that says what a real tip says is left out: it would be both.
    """
    pools = (
        _drawn(
            {(sha256, a.tip) for a in anchors if a.scenario == on_sheet[sha256].id} - made,
            "anchors",
            nonce,
        )
        for sha256 in _drawn(on_sheet, "anchored scenarios", nonce)
    )
    return [tip for layer in zip_longest(*pools) for tip in layer if tip is not None]


def _items(
    tips: set[Tip], on_sheet: Mapping[str, Scenario], rubric: Rubric, nonce: str
) -> tuple[SheetItem, ...]:
    views = {sha256: sheet_scenario(scenario) for sha256, scenario in on_sheet.items()}
    return tuple(
        SheetItem(
            id=item_id(nonce, sha256, text),
            scenario=views[sha256],
            tip=text,
            scores=dict.fromkeys(rubric.criterion_names),
        )
        for block in _drawn(on_sheet, "blocks", nonce)
        for sha256, text in _drawn((tip for tip in tips if tip[0] == block), "tips", nonce)
    )


def _few_anchors(found: int, asked: int, known: int) -> str:
    if not known:
        return "no anchors: there is no anchors.toml beside the scenarios, so drift is not measured"
    if not found:
        return "no anchors: the scenarios on the sheet have none, so drift is not measured"
    unmeasured = f"; measuring drift takes {MINIMUM_ANCHORS}" if found < MINIMUM_ANCHORS else ""
    return f"{found} of {asked} anchors: the scenarios on the sheet have no more{unmeasured}"


def _nothing_pending(made: set[Tip], judge: str | None) -> str:
    if not made:
        return "no usable tip in the selection: nothing to judge"
    if judge is None:
        return "every tip of the selection is judged: nothing is pending"
    return f"{shown(judge)} has scored every tip of the selection: nothing is pending"


def check_target(
    path: Path, *, is_untouched: Callable[[bytes], bool] = is_untouched_export
) -> None:
    """Make sure that an export may be written to ``path``.

    Args:
        path: where to; a symbolic link is looked through.
        is_untouched: says of the file that is there already whether it may go.

    Raises:
        UserMistakeError: the file exists and is anything but an export that nobody has worked on,
            or it cannot be read.
    """
    try:
        target = path.resolve()
        is_free = not target.exists() or (target.is_file() and is_untouched(target.read_bytes()))
    except OSError as error:
        raise UserMistakeError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not is_free:
        raise UserMistakeError(
            f"{path}: exists and is not an untouched export, so it is not overwritten: "
            "name another file, or move this one away"
        )


def write_export(
    path: Path, text: str, *, is_untouched: Callable[[bytes], bool] = is_untouched_export
) -> None:
    """Write an export, all of it or nothing, as UTF-8; missing folders are made.

    Raises:
        UserMistakeError: as :func:`check_target`, or the file cannot be written.
    """
    check_target(path, is_untouched=is_untouched)
    try:
        write_whole(path.resolve(), text.encode("utf-8"))
    except OSError as error:
        raise UserMistakeError(f"{path}: cannot be written: {error.strerror or error}") from error
