"""Owns how what a judge says on a sheet becomes judgements: new, corrected, or known already.

Imports records and the sheet's format only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from pytest_tipbench.judgement_records import Judgement, TipKey
from pytest_tipbench.records import jsonable, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from pytest_tipbench.judge.files import Sheet


@dataclass(frozen=True)
class Said:
    """What a sheet says of one tip: a score for every criterion, and a note."""

    key: TipKey
    scores: dict[str, int]
    note: str


def judgements_of(
    said: Iterable[Said],
    *,
    nonce: str,
    judge: str,
    prior: Sequence[Judgement],
    now: datetime,
) -> tuple[Judgement, ...]:
    """Return the judgement of each tip that a sheet scores.

    Where the sheet says what the judge said last on this very sheet, that judgement stands, so that
    a sheet applied again adds nothing, here or on another machine. What corrects it takes its id
    into its own: a score that is changed and changed back gives a third judgement, which the ledger
    keeps although it says what the first one says.

    Args:
        said: by tip, each once.
        nonce: the sheet's.
        judge: who judged.
        prior: all that this judge is known to have said, on whatever sheet.
        now: the time of judging, with its time zone. What is new is dated past all that the judge
            said of the tip before, lest a clock that goes ahead elsewhere make it the older word.
    """
    newest = _newest(prior)
    newest_here = _newest(each for each in prior if each.sheet_nonce == nonce)
    judgements = []
    for each in said:
        corrected = newest_here.get(each.key)
        if corrected is not None and (corrected.scores, corrected.note) == (each.scores, each.note):
            judgements.append(corrected)
            continue
        words = [nonce, judge, jsonable(each.key), each.scores, each.note]
        judgement = Judgement(
            judgement_id=sha256_of([*words, corrected.judgement_id] if corrected else words),
            key=each.key,
            judge=judge,
            scores=each.scores,
            note=each.note,
            judged_at=_after(newest.get(each.key), now),
            sheet_nonce=nonce,
        )
        judgements.append(judgement)
    return tuple(judgements)


def given_again(
    sheet: Sheet, judgements: Iterable[Judgement], prior: Iterable[Judgement]
) -> list[tuple[dict[str, int], dict[str, int]]]:
    """Return the scores that a judge gave again, each with those given before the sheet was made.

    What came to the store after the export does not count, so that a sheet applied again says what
    it said the first time.

    Args:
        sheet: the one they stand on.
        judgements: what it says.
        prior: all that its judge is known to have said, on whatever sheet.
    """
    before = _newest(
        each
        for each in prior
        if each.sheet_nonce != sheet.nonce and each.judged_at <= sheet.exported_at
    )
    return [(again.scores, before[again.key].scores) for again in judgements if again.key in before]


def _newest(judgements: Iterable[Judgement]) -> dict[TipKey, Judgement]:
    """Return the newest judgement of each tip; of two of one moment, the one kept last."""
    return {each.key: each for each in sorted(judgements, key=lambda each: each.judged_at)}


def _after(before: Judgement | None, now: datetime) -> datetime:
    return now if before is None else max(now, before.judged_at + timedelta(microseconds=1))
