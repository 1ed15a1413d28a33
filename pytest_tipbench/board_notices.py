"""Owns what a board says in words: why a row is not ranked, what was left out, what to beware of.

Imports records and the board's modules below it; it computes no score.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pytest_tipbench.board_rows import newest_described
from pytest_tipbench.estimates import MINIMUM_SHARED_SCENARIOS
from pytest_tipbench.records import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_tipbench.board_records import Board, BoardRow, OtherRubricRow
    from pytest_tipbench.records import RunRecord

_NAMES_SHOWN = 6


def counted_noun(count: int, noun: str) -> str:
    """Return the count with its noun, e.g. ``1 cell``, ``36 cells``, ``2 rubrics``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: Sequence[str], shown: int = _NAMES_SHOWN) -> str:
    """Return the names with commas, the first few of many."""
    if len(names) <= shown:
        return ", ".join(names)
    return f"{', '.join(names[:shown])} and {len(names) - shown} more"


def why_unranked(
    row: BoardRow,
    lacks: Sequence[str],
    *,
    expected: int,
    is_current_prompt: bool,
    is_waiting: bool,
) -> str | None:
    """Say why the row cannot be ranked; None where it can.

    ``expected`` counts the scenarios that a ranked row must have; ``is_waiting`` says that tips
    are pending and no judge has scored any.
    """
    if not row.measured_cells:
        return f"nothing was measured ({_faults(row.outcomes)})"
    if not is_current_prompt:
        return f"made with an older text of prompt {row.prompt_version}"
    if lacks:
        return f"lacks {len(lacks)} of {expected} scenarios ({listed(lacks)})"
    return _why_unscored(row, is_waiting=is_waiting)


def _why_unscored(row: BoardRow, *, is_waiting: bool) -> str | None:
    judged = len(row.scenario_composites)
    if row.pending_cells and not judged:
        return "not judged yet"
    if is_waiting:
        return "no tips to judge, and the other rows are not judged yet"
    if row.pending_cells and judged < MINIMUM_SHARED_SCENARIOS:
        return f"judged in {counted_noun(judged, 'scenario')} so far"
    return None


def older_reason(older: Sequence[RunRecord], newer: Sequence[RunRecord]) -> str:
    """Say what differs between two configurations of one (model, prompt version)."""
    if older is newer:
        return "its scenarios' texts have changed since"
    old, new = newest_described(older), newest_described(newer)
    changes: list[str] = []
    if old.prompt_sha256 != new.prompt_sha256:
        changes.append("the prompt's text changed")
    if old.model is None or new.model is None:
        changes.append("the model could not be described")
    elif old.model.digest != new.model.digest:
        was, now = old.model.digest, new.model.digest
        changes.append(f"the model's digest changed from {was[:12]} to {now[:12]}")
    changes += _recipe_changes(old, new)
    return ", ".join(changes)


def configuration_changes(before: BoardRow, after: BoardRow) -> tuple[str, ...]:
    """Say what differs between two rows that were made with one text of the prompt."""
    changes: list[str] = []
    was, now = before.model_digest, after.model_digest
    if was != now:
        shown = [digest[:12] if digest else "an unknown one" for digest in (was, now)]
        changes.append(f"the model's digest changed from {shown[0]} to {shown[1]}")
    return (*changes, *_recipe_changes(before, after))


def _recipe_changes(old: RunRecord | BoardRow, new: RunRecord | BoardRow) -> Iterator[str]:
    if old.n_tips != new.n_tips:
        yield f"n_tips changed from {old.n_tips} to {new.n_tips}"
    for name, before in old.sampling:
        after = getattr(new.sampling, name)
        if before != after:
            yield f"{name} changed from {before} to {after}"


def board_notices(
    board: Board,
    counted: Sequence[RunRecord],
    outdated: Sequence[RunRecord],
    judges_of_rows: Mapping[str, tuple[str, ...]],
) -> tuple[str, ...]:
    """Say what a reader has to know beside the numbers, one sentence each.

    ``counted`` are the runs that the rows are made of, ``outdated`` those of the same
    configurations that were left out because their scenario's text has changed;
    ``judges_of_rows`` says by label whose scores count in a ranked row.
    """
    return (
        *_on_comparison(board),
        *_on_differing_judges(judges_of_rows),
        *_on_differing_rows(board.rows),
        *_on_partial_scores(board.rows),
        *_on_other_rubrics(board.other_rubrics),
        *_on_changed_scenarios(outdated),
        *_on_machine(board.rows, counted),
    )


def _on_comparison(board: Board) -> Iterator[str]:
    ranked, shared = board.ranked, len(board.shared_scenarios)
    if not ranked:
        return
    if shared < MINIMUM_SHARED_SCENARIOS:
        yield (
            f"no tiers: {counted_noun(shared, 'scenario')} judged in all ranked rows, and "
            f"{MINIMUM_SHARED_SCENARIOS} are needed to tell rows apart"
        )
        return
    if len(ranked) > 1 and any(len(row.scenario_composites) > shared for row in ranked):
        yield (
            f"tiers compare the {shared} scenarios that are judged in all ranked rows; "
            "each composite is over all of its own row's judged scenarios"
        )
    if board.models is None and len({row.model for row in ranked}) > 1:
        yield "models are not compared: no prompt is ranked with all of them"
    if board.prompts is None and len({row.prompt_version for row in ranked}) > 1:
        yield "prompts are not compared: no model is ranked with all of them"


def _on_differing_judges(judges_of_rows: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    rows: dict[tuple[str, ...], list[str]] = {}
    for label, judges in judges_of_rows.items():
        rows.setdefault(judges, []).append(label)
    if len(rows) > 1:
        said = [f"by {listed(judges)} in {listed(labels)}" for judges, labels in rows.items()]
        yield (f"judged {listed(said)}: a difference between these rows may be the judges' own")


def _on_differing_rows(rows: Sequence[BoardRow]) -> Iterator[str]:
    settings: dict[str, set[float]] = {}
    for row in rows:
        for name, value in [("n_tips", row.n_tips), *row.sampling]:
            settings.setdefault(name, set()).add(value)
    for name, values in settings.items():
        if len(values) > 1:
            shown = ", ".join(str(value) for value in sorted(values))
            yield f"rows differ in {name} ({shown}) and are compared all the same"


def _on_partial_scores(rows: Sequence[BoardRow]) -> Iterator[str]:
    alone = [row.label for row in rows if len(row.scenario_composites) == 1]
    if alone:
        yield f"no interval with one judged scenario: {listed(alone)}"
    partial = [row for row in rows if row.pending_cells and row.scenario_composites]
    tipless = sum(row.measured_cells - _usable_cells(row.outcomes) for row in partial)
    if tipless:
        yield (
            f"{counted_noun(tipless, 'cell')} without a usable tip count at once: until the rest "
            "is judged, the composites of partly judged rows lean low"
        )


def _on_other_rubrics(others: Sequence[OtherRubricRow]) -> Iterator[str]:
    cells: Counter[tuple[str | None, str]] = Counter()
    for other in others:
        cells[other.rubric_version, other.rubric_sha256] += other.cells_only_judged_there
    for (version, sha256), count in cells.items():
        if count:
            yield (
                f"{counted_noun(count, 'cell')} judged only under another rubric "
                f"({version or 'of unknown version'}, {sha256[:12]}): "
                "those scores are kept and not mixed in"
            )


def _on_changed_scenarios(outdated: Iterable[RunRecord]) -> Iterator[str]:
    cells = Counter(run.cell.scenario for run in outdated)
    if cells:
        yield (
            f"{counted_noun(cells.total(), 'cell')} left out, made on an older text of "
            f"{listed(list(cells))}"
        )


def _on_machine(rows: Sequence[BoardRow], counted: Iterable[RunRecord]) -> Iterator[str]:
    outcomes: Counter[Outcome] = Counter()
    for row in rows:
        outcomes.update(row.outcomes)
    faults = _faults(outcomes)
    if faults:
        yield f"not measured, and counted against nobody: {faults}; --resume runs them again"
    foreign = [run for run in counted if run.completion and run.completion.foreign_models]
    if foreign:
        yield (
            f"{counted_noun(len(foreign), 'cell')} ran beside models of others in memory: "
            "their latency and speed may suffer"
        )


def _faults(outcomes: Mapping[Outcome, int]) -> str:
    return ", ".join(
        f"{outcomes[outcome]} {outcome.value}"
        for outcome in Outcome
        if outcome.is_machine_fault and outcomes.get(outcome)
    )


def _usable_cells(outcomes: Mapping[Outcome, int]) -> int:
    return sum(count for outcome, count in outcomes.items() if outcome.is_usable)
