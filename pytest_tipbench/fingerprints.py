"""Owns why a resumed session ran cells again: what differs from earlier runs; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pytest_tipbench.records import RunRecord

_DETAILS_SHOWN = 6


def changed_parts(before: RunRecord, after: RunRecord) -> dict[str, str]:
    """Return the parts of the fingerprint in which two runs of one cell differ, each with what of.

    Empty where nothing differs. A seed is that of the session, whatever the repeat.
    """
    parts: dict[str, str] = {}
    if before.model is None or after.model is None or before.model.digest != after.model.digest:
        parts["model digest"] = after.cell.model.text
    if before.prompt_sha256 != after.prompt_sha256:
        parts["prompt text"] = after.cell.prompt_version
    if before.scenario_sha256 != after.scenario_sha256:
        parts["scenario"] = after.cell.scenario
    values: dict[str, tuple[object, object]] = {
        "seed": (_base_seed(before), _base_seed(after)),
        "n_tips": (before.n_tips, after.n_tips),
        **{name: (old, getattr(after.sampling, name)) for name, old in before.sampling},
    }
    return parts | {name: f"{old} to {new}" for name, (old, new) in values.items() if old != new}


def resume_lines(runs: Sequence[RunRecord], session_id: str, *, taken: int) -> list[str]:
    """Say how many cells a resumed session took from the store, and why it ran the others.

    Args:
        runs: the experiment's, oldest first, this session's among them.
        session_id: this session's.
        taken: how many cells came from the store.
    """
    earlier: dict[tuple[str, str, str, int], list[RunRecord]] = {}
    for run in runs:
        if run.session_id != session_id:
            earlier.setdefault(_place(run), []).append(run)
    generated = [run for run in runs if run.session_id == session_id]
    cells: dict[tuple[str, ...], int] = {}
    details: dict[tuple[str, ...], dict[str, dict[str, None]]] = {}
    for run in generated:
        reasons = _reasons(run, earlier.get(_place(run), ()))
        kind = tuple(reasons)
        cells[kind] = cells.get(kind, 0) + 1
        for name, detail in reasons.items():
            details.setdefault(kind, {}).setdefault(name, {})[detail] = None
    lines = [f"resume: {_counted(taken)} from the store, {len(generated)} generated"]
    for kind, count in cells.items():
        if kind:
            why = ", ".join(f"{name} ({_listed(details[kind][name])})" for name in kind)
            lines.append(f"resume: {_counted(count)} run again: {why}")
        else:
            lines.append(f"resume: {_counted(count)} run for the first time")
    return lines


def _reasons(run: RunRecord, earlier: Sequence[RunRecord]) -> dict[str, str]:
    """Return why the cell ran again, by the earlier run nearest to it; empty for a first run."""
    same = [before for before in earlier if before.fingerprint == run.fingerprint]
    if any(before.is_measured for before in same):
        return {"finished elsewhere meanwhile": run.cell.id}
    if same:
        return {"not measured before": same[-1].outcome.value}
    newest_first = [before for before in reversed(earlier) if before.is_measured]
    if not newest_first:
        return {"not measured before": earlier[-1].outcome.value} if earlier else {}
    nearest = min((changed_parts(before, run) for before in newest_first), key=len)
    return {f"{name} changed": detail for name, detail in nearest.items()}


def _place(run: RunRecord) -> tuple[str, str, str, int]:
    cell = run.cell
    return cell.model.text, cell.prompt_version, cell.scenario, cell.repeat


def _base_seed(run: RunRecord) -> int:
    return run.seed - run.cell.repeat + 1


def _counted(count: int) -> str:
    return f"{count} cell{'' if count == 1 else 's'}"


def _listed(details: Iterable[str]) -> str:
    names = list(details)
    left = len(names) - _DETAILS_SHOWN
    return ", ".join([*names[:_DETAILS_SHOWN], *([f"{left} more"] if left > 0 else [])])
