"""Owns the geometry of the page's charts: numbers in, coordinates out; imports nothing of ours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STEPS = 9
"""Shades of the scale's colours."""

INTERVAL_WIDTH = 180
INTERVAL_MARGIN = 8
SCATTER_WIDTH, SCATTER_HEIGHT = 400, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 36, 14, 12, 40
_LABEL_HEIGHT, _LETTER_WIDTH, _DOT = 12, 9, 5
_LOGARITHMIC_FROM = 6
"""How many times the smallest the largest must be for an axis of orders of magnitude."""


def step(value: float, scale: tuple[float, float]) -> int:
    """Return the shade of a score, 0 to :data:`STEPS` − 1; outside the scale, the nearest end's."""
    low, high = scale
    share = (value - low) / (high - low)
    return min(max(round(share * (STEPS - 1)), 0), STEPS - 1)


class IntervalBar(NamedTuple):
    """A mean with its interval on the width of :data:`INTERVAL_WIDTH`."""

    at: float
    low: float | None
    """None where there is no interval; cut off at the ends of the scale."""
    high: float | None


def on_scale(value: float, scale: tuple[float, float]) -> float:
    """Return where a score lies on the width of an interval bar."""
    low, high = scale
    share = (min(max(value, low), high) - low) / (high - low)
    return round(INTERVAL_MARGIN + share * (INTERVAL_WIDTH - 2 * INTERVAL_MARGIN), 1)


def interval_bar(
    mean: float, low: float | None, high: float | None, scale: tuple[float, float]
) -> IntervalBar:
    """Return the coordinates of a mean and its interval."""
    return IntervalBar(
        at=on_scale(mean, scale),
        low=None if low is None else on_scale(low, scale),
        high=None if high is None else on_scale(high, scale),
    )


def about_zero(values: Iterable[float]) -> tuple[float, float]:
    """Return a scale with 0 in its middle and a round number at each end, past all the values."""
    end = _nice(0.0, max((abs(value) for value in values), default=0.0))[-1]
    return -end, end


class Segment(NamedTuple):
    """A part of a bar of 100."""

    shade: int
    start: float
    width: float


def segments(counts: Mapping[str, int], scale: tuple[float, float]) -> list[Segment]:
    """Return the bar that the counts of scores make, lowest score first; nothing counted: none."""
    total = sum(counts.values())
    bar: list[Segment] = []
    start = 0.0
    for score, count in sorted(counts.items(), key=lambda item: float(item[0])):
        if count:
            width = 100 * count / total
            bar.append(Segment(step(float(score), scale), round(start, 2), round(width, 2)))
            start += width
    return bar


# --- scatter ----------------------------------------------------------------------------------


class Datum(NamedTuple):
    """A row to plot."""

    letter: str
    x: float
    y: float
    low: float | None
    high: float | None


class Dot(NamedTuple):
    """A row as it is plotted."""

    letter: str
    x: float
    y: float
    low: float
    high: float
    label_x: float
    """Where the letter's middle stands."""
    label_y: float
    """Where the letter's base line runs."""


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Scatter(NamedTuple):
    """A chart of composite against something that costs, larger to the right."""

    dots: list[Dot]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    left: int = _LEFT
    right: int = SCATTER_WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = SCATTER_HEIGHT - _BOTTOM
    width: int = SCATTER_WIDTH
    height: int = SCATTER_HEIGHT


def scatter(data: Sequence[Datum], scale: tuple[float, float]) -> Scatter | None:
    """Return the chart of the data, every letter where it hides no dot; None without data.

    The x axis is logarithmic where the values span a factor of 6 or more, else it begins at 0. The
    y axis is as much of the scale as the data and their intervals take; intervals are cut off at
    its ends.
    """
    if not data:
        return None
    xs = [datum.x for datum in data]
    is_logarithmic = min(xs) > 0 and max(xs) / min(xs) >= _LOGARITHMIC_FROM
    x_values = _powers(min(xs), max(xs)) if is_logarithmic else _nice(0, max(xs))
    y_values = _part_of_scale(
        min(datum.y if datum.low is None else datum.low for datum in data),
        max(datum.y if datum.high is None else datum.high for datum in data),
        scale,
    )
    move = math.log10 if is_logarithmic else float

    def x_at(value: float) -> float:
        first, last = move(x_values[0]), move(x_values[-1])
        share = (move(value) - first) / (last - first)
        return round(_LEFT + share * (SCATTER_WIDTH - _LEFT - _RIGHT), 1)

    def y_at(value: float) -> float:
        inside = min(max(value, y_values[0]), y_values[-1])
        share = (inside - y_values[0]) / (y_values[-1] - y_values[0])
        return round(SCATTER_HEIGHT - _BOTTOM - share * (SCATTER_HEIGHT - _BOTTOM - _TOP), 1)

    places = [(x_at(datum.x), y_at(datum.y)) for datum in data]
    labels = _label_places([datum.letter for datum in data], places)
    dots = [
        Dot(
            letter=datum.letter,
            x=x,
            y=y,
            low=y if datum.low is None else y_at(datum.low),
            high=y if datum.high is None else y_at(datum.high),
            label_x=label_x,
            label_y=label_y,
        )
        for datum, (x, y), (label_x, label_y) in zip(data, places, labels, strict=True)
    ]
    return Scatter(
        dots=dots,
        x_ticks=[Tick(x_at(value), f"{value:g}") for value in x_values],
        y_ticks=[Tick(y_at(value), f"{value:g}") for value in y_values],
    )


def _nice(low: float, high: float) -> list[float]:
    """Return about five round numbers, the first not above ``low``, the last above ``high``."""
    span = high - low or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / 4))
    width = next(
        factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= span / 4
    )
    first, last = math.floor(low / width), math.floor(high / width) + 1
    return [round(place * width, 10) for place in range(first, last + 1)]


def _part_of_scale(low: float, high: float, scale: tuple[float, float]) -> list[float]:
    """Return round numbers about ``low`` and ``high``, none of them outside the scale."""
    lowest, highest = scale
    marks = _nice(max(low, lowest), min(high, highest))
    inside = sorted({min(max(mark, lowest), highest) for mark in marks})
    # Where all of it lies at one end of the scale, no other mark may be left.
    return inside if len(inside) > 1 else [lowest, highest]


def _powers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 of each order of magnitude from at most ``low`` to above ``high``."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    marks = [
        round(factor * 10.0**power, 10) for power in range(first, last + 1) for factor in (1, 2, 5)
    ]
    begin = max(place for place, mark in enumerate(marks) if mark <= low)
    end = min(place for place, mark in enumerate(marks) if mark > high)
    return marks[begin : end + 1]


def _label_places(
    letters: Sequence[str], dots: Sequence[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Return each letter's place beside its dot: the nearest that hides nothing, or the first."""
    taken = [(x - _DOT, y - _DOT, x + _DOT, y + _DOT) for x, y in dots]
    result: list[tuple[float, float]] = []
    for letter, (x, y) in zip(letters, dots, strict=True):
        half = _LETTER_WIDTH * len(letter) / 2
        places = [(x + dx * (half + reach), y + dy * reach) for dx, dy, reach in _SIDES]
        boxes = [_box(place, half) for place in places]
        free = [
            place
            for place, box in zip(places, boxes, strict=True)
            if _is_inside(box) and not any(_overlap(box, other) for other in taken)
        ]
        middle_x, middle_y = free[0] if free else places[0]
        taken.append(_box((middle_x, middle_y), half))
        result.append((round(middle_x, 1), round(middle_y + _LABEL_HEIGHT / 3, 1)))
    return result


_DIRECTIONS = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1))
_SIDES = [(dx, dy, reach) for reach in (7, 12, 18, 26, 36) for dx, dy in _DIRECTIONS]

_Box = tuple[float, float, float, float]


def _box(middle: tuple[float, float], half: float) -> _Box:
    x, y = middle
    return (x - half, y - _LABEL_HEIGHT / 2, x + half, y + _LABEL_HEIGHT / 2)


def _is_inside(box: _Box) -> bool:
    left, top, right, bottom = box
    return left >= 0 and top >= 0 and right <= SCATTER_WIDTH and bottom <= SCATTER_HEIGHT - _BOTTOM


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def letters(count: int) -> Iterable[str]:
    """Yield short names: A to Z, then AA, AB and so on."""
    for place in range(count):
        name, left = "", place
        while left >= 0:
            name = chr(ord("A") + left % 26) + name
            left = left // 26 - 1
        yield name
