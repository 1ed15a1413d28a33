"""Owns the gates: their grammar, and the verdicts that a board gets from them.

Imports errors, records, estimates and the board's modules; it knows no options, no exit codes.
"""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from pytest_tipbench.board_notices import counted_noun, listed
from pytest_tipbench.errors import UnknownNameError, UserMistakeError
from pytest_tipbench.estimates import MINIMUM_SHARED_SCENARIOS
from pytest_tipbench.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pytest_tipbench.board_baseline import BaselineComparison, RowChange
    from pytest_tipbench.board_records import Board, BoardRow

Status = Literal["PASS", "FAIL", "UNDECIDED"]
Scope = Literal["every", "best", "lower"]
Pending = Literal["fail", "ignore"]

GRAMMAR = "[best:|lower:]METRIC OP NUMBER, e.g. composite>=3.5 (OP is >=, <=, >, < or ==)"
ROW_METRICS = (
    "usable_rate",
    "median_latency_seconds",
    "p95_latency_seconds",
    "tokens_per_second",
    "resident_bytes",
    "resident_vram_bytes",
)
DIVERSITY_METRICS = ("distinct_2", "self_similarity", "specificity")
JUDGED_METRICS = ("composite", "worst_scenario_composite")
"""Besides the rubric's criteria."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_EXPRESSION = re.compile(
    r"\s*(?:(?P<scope>best|lower)\s*:)?\s*(?P<metric>[^<>=!≥≤]+?)\s*(?P<operator>>=|<=|==|>|<)"
    r"\s*(?P<number>[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*"
)
_PREFIX = re.compile(r"(best|lower)\s*:")
_ROUNDING_DIGITS = 9
"""A composite of 3.4999999999999996 is 3.5: the mean of integers, not a near miss."""


class Gate(Record):
    """One condition on the rows of a board."""

    text: str
    """As the user wrote it."""
    scope: Scope
    """``every`` row must hold it, or the ``best`` one; ``lower``: every row's interval, low end."""
    metric: str
    operator: str
    number: float
    is_judged: bool
    """True where the metric needs a judge's scores."""

    @property
    def needs_diversity(self) -> bool:
        """True where the board has to be made with its diversity columns."""
        return self.metric in DIVERSITY_METRICS

    def holds(self, value: float) -> bool:
        """Say whether the value meets the condition."""
        return _OPERATORS[self.operator](round(value, _ROUNDING_DIGITS), self.number)


class Verdict(Record):
    """What a gate came to, with its numbers."""

    name: str
    status: Status
    detail: str

    @property
    def fails(self) -> bool:
        """True where the session's exit code must say so: what is undecided is not passed."""
        return self.status != "PASS"

    @property
    def line(self) -> str:
        """``STATUS NAME: DETAIL``."""
        return f"{self.status} {self.name}: {self.detail}"


class _RowVerdict(NamedTuple):
    row: BoardRow
    status: Status
    value: float | None
    why: str = ""


def parse_gate(text: str, criteria: Sequence[str]) -> Gate:
    """Read ``[best:|lower:]METRIC OP NUMBER``; ``criteria`` are the rubric's.

    Raises:
        UserMistakeError: not of that grammar, or ``lower:`` of a metric without an interval.
        UnknownNameError: no such metric; the nearest names are offered.
    """
    match = _EXPRESSION.fullmatch(text)
    if match is None:
        raise UserMistakeError(f"gate {text!r} is not {GRAMMAR}")
    metric, scope, number = match["metric"], match["scope"] or "every", float(match["number"])
    if math.isinf(number):
        raise UserMistakeError(f"gate {text!r}: {match['number']} is too large a number")
    if match["scope"] and _PREFIX.match(metric):
        raise UserMistakeError(f"gate {text!r} has two prefixes, and a gate is {GRAMMAR}")
    known = [*JUDGED_METRICS, *criteria, *ROW_METRICS, *DIVERSITY_METRICS]
    if metric not in known:
        raise UnknownNameError("gate metric", metric, known)
    with_interval = ("composite", *criteria)
    if scope == "lower" and metric not in with_interval:
        offer = ", ".join(with_interval)
        raise UserMistakeError(f"gate {text!r}: lower: needs a metric with an interval ({offer})")
    return Gate(
        text=text.strip(),
        scope=cast("Scope", scope),  # the expression admits no other
        metric=metric,
        operator=match["operator"],
        number=number,
        is_judged=metric in JUDGED_METRICS or metric in criteria,
    )


def minimum_composite(number: float) -> Gate:
    """Return the gate of ``--min-composite``: each row's composite is at least ``number``."""
    return Gate(
        text=f"composite>={number:g}",
        scope="every",
        metric="composite",
        operator=">=",
        number=number,
        is_judged=True,
    )


def evaluate_gates(gates: Iterable[Gate], board: Board, *, pending: Pending) -> tuple[Verdict, ...]:
    """Return one verdict per gate.

    A row is undecided where cells of it were not measured or scenarios are lacking, where it was
    made with an older text of its prompt than another row, where cells
    are pending that the metric needs (unless ``pending`` is ``ignore``, which leaves them out), and
    where its value is not known, nothing judged included. FAIL needs one row that certainly fails
    (with ``best:`` all of them), PASS all rows that certainly hold (with ``best:`` one).
    """
    return tuple(_evaluate(gate, board, pending) for gate in gates)


def baseline_verdicts(
    comparison: BaselineComparison, max_drop: float, *, pending: Pending = "fail"
) -> tuple[Verdict, ...]:
    """Return one verdict per row of the board: its composite against the same row's before.

    FAIL where the whole 95 % interval of the change lies below −``max_drop``; UNDECIDED where the
    row cannot be compared, with fewer than 3 paired scenarios, unmeasured cells or lacking
    scenarios in the row, or (unless ``pending`` is ``ignore``) pending cells in either.
    """
    name = f"change from {comparison.name}"
    verdicts: list[Verdict] = []
    for change in comparison.rows:
        if change.after is not None:
            status, detail = _on_change(change, change.after, max_drop, pending)
            verdicts.append(Verdict(name=f"{name}, {change.label}", status=status, detail=detail))
    return tuple(verdicts) or (Verdict(name=name, status="UNDECIDED", detail=_NO_ROWS),)


_NO_ROWS = "the board has no rows"


def _evaluate(gate: Gate, board: Board, pending: Pending) -> Verdict:
    if not board.rows:
        return Verdict(name=gate.text, status="UNDECIDED", detail=_NO_ROWS)
    rows = [_judge_row(gate, row, pending) for row in board.rows]
    status, detail = _on_best(gate, rows) if gate.scope == "best" else _on_every(gate, rows)
    left_out = sum(row.pending_cells for row in board.rows) if gate.is_judged else 0
    if left_out and pending == "ignore" and status != "UNDECIDED":
        detail += f"; {counted_noun(left_out, 'cell')} pending and left out"
    return Verdict(name=gate.text, status=status, detail=detail)


def _judge_row(gate: Gate, row: BoardRow, pending: Pending) -> _RowVerdict:
    if row.has_older_prompt:
        return _RowVerdict(row, "UNDECIDED", None, row.unranked_because or "")
    unmeasured = _why_unmeasured(row)
    if unmeasured:
        return _RowVerdict(row, "UNDECIDED", None, unmeasured)
    if gate.is_judged and row.pending_cells and pending == "fail":
        return _RowVerdict(row, "UNDECIDED", None, _pending(row))
    value = _value(gate, row)
    if value is None:
        return _RowVerdict(row, "UNDECIDED", None, _why_unknown(gate, row))
    return _RowVerdict(row, "PASS" if gate.holds(value) else "FAIL", value)


def _value(gate: Gate, row: BoardRow) -> float | None:
    if gate.metric in row.criteria:
        interval = row.criteria[gate.metric]
        return interval.low if gate.scope == "lower" else interval.mean
    if gate.metric == "composite" and gate.scope == "lower":
        return row.composite_low
    if gate.metric in DIVERSITY_METRICS:
        return row.diversity.get(gate.metric)
    value: float | None = getattr(row, gate.metric, None)
    return value


def _why_unmeasured(row: BoardRow) -> str:
    reasons: list[str] = []
    if row.unmeasured_cells:
        reasons.append(f"{counted_noun(row.unmeasured_cells, 'cell')} not measured")
    if row.lacks:
        reasons.append(f"lacks {listed(row.lacks)}")
    return ", ".join(reasons)


def _why_unknown(gate: Gate, row: BoardRow) -> str:
    if gate.is_judged and row.composite is not None:
        return "no interval with one judged scenario"
    if gate.is_judged:
        return "nothing judged"
    if gate.needs_diversity and not row.diversity:
        return "no diversity is known (--diversity)"
    return "not known"


def _pending(row: BoardRow) -> str:
    return f"{counted_noun(row.pending_cells, 'cell')} pending"


def _on_every(gate: Gate, rows: Sequence[_RowVerdict]) -> tuple[Status, str]:
    failed = [verdict for verdict in rows if verdict.status == "FAIL"]
    if failed:
        shown = ", ".join(_shown(gate, verdict) for verdict in failed)
        return "FAIL", f"{len(failed)} of {counted_noun(len(rows), 'row')} short of it: {shown}"
    undecided = [verdict for verdict in rows if verdict.status == "UNDECIDED"]
    if undecided:
        return "UNDECIDED", _reasons(undecided)
    closest = min(rows, key=lambda verdict: _margin(gate, verdict))
    return "PASS", f"{counted_noun(len(rows), 'row')}, the closest {_shown(gate, closest)}"


def _on_best(gate: Gate, rows: Sequence[_RowVerdict]) -> tuple[Status, str]:
    known = [verdict for verdict in rows if verdict.value is not None]
    best = max(known, key=lambda verdict: _margin(gate, verdict), default=None)
    if best is not None and best.status == "PASS":
        return "PASS", f"the best of {counted_noun(len(rows), 'row')} is {_shown(gate, best)}"
    undecided = [verdict for verdict in rows if verdict.status == "UNDECIDED"]
    if best is None or undecided:
        return "UNDECIDED", _reasons(undecided)
    return "FAIL", f"the best of {counted_noun(len(rows), 'row')} is {_shown(gate, best)}"


def _margin(gate: Gate, verdict: _RowVerdict) -> float:
    """Return by how much the row holds the gate; below 0 it does not."""
    above = (verdict.value or 0.0) - gate.number
    if gate.operator == "==":
        return -abs(above)
    return above if gate.operator.startswith(">") else -above


def _shown(gate: Gate, verdict: _RowVerdict) -> str:
    """Return the row and its value, with so many decimals that its side of the limit shows."""
    value = verdict.value or 0.0
    if abs(value) >= 1000:
        return f"{verdict.row.label} {value:,.0f}"
    digits = next(
        (n for n in range(2, _ROUNDING_DIGITS) if gate.holds(round(value, n)) == gate.holds(value)),
        _ROUNDING_DIGITS,
    )
    return f"{verdict.row.label} {value:.{digits}f}"


def _reasons(undecided: Iterable[_RowVerdict]) -> str:
    labels: dict[str, list[str]] = {}
    for verdict in undecided:
        labels.setdefault(verdict.why, []).append(verdict.row.label)
    return "; ".join(f"{why} ({listed(names)})" for why, names in labels.items())


def _on_change(
    change: RowChange, row: BoardRow, max_drop: float, pending: Pending
) -> tuple[Status, str]:
    before = change.before
    if before is None:
        return "UNDECIDED", "the baseline has no such row"
    if change.standing == "other_prompt":
        return "UNDECIDED", f"prompt {row.prompt_version} has another text in the baseline"
    reasons = [_why_unmeasured(row)]
    if pending == "fail":
        reasons.append(_pending(row) if row.pending_cells else "")
        reasons.append(f"{_pending(before)} in the baseline" if before.pending_cells else "")
    if any(reasons):
        return "UNDECIDED", ", ".join(filter(None, reasons))

    changed = change.changed_texts
    left_out = f"; not paired, their text differs: {listed(changed)}" if changed else ""
    difference = change.difference
    if difference is None:
        return "UNDECIDED", (
            f"{counted_noun(len(change.paired), 'judged scenario')} in common, "
            f"{MINIMUM_SHARED_SCENARIOS} are needed{left_out}"
        )
    # With 3 scenarios or more there always is an interval.
    low, high = difference.low or 0.0, difference.high or 0.0
    status: Status = "FAIL" if round(high, _ROUNDING_DIGITS) < -max_drop else "PASS"
    return status, (
        f"{difference.mean:+.2f} [{low:+.2f}, {high:+.2f}], "
        f"sign-flip p = {difference.sign_flip_p:.3f}, {difference.scenarios} scenarios, "
        f"a drop of {max_drop:g} is allowed{left_out}"
    )
