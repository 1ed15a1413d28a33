from __future__ import annotations

import itertools

import pytest

from pytest_tipbench.reports.charts import (
    INTERVAL_MARGIN,
    INTERVAL_WIDTH,
    SCATTER_HEIGHT,
    SCATTER_WIDTH,
    Datum,
    Dot,
    Segment,
    about_zero,
    interval_bar,
    letters,
    on_scale,
    scatter,
    segments,
    step,
)


@pytest.mark.parametrize(
    ("value", "shade"), [(1, 0), (1.2, 0), (2, 2), (3, 4), (4, 6), (5, 8), (0, 0), (9, 8)]
)
def test_a_score_has_a_shade(value: float, shade: int) -> None:
    assert step(value, (1, 5)) == shade


class TestIntervalBar:
    def test_spans_the_width_between_the_margins(self) -> None:
        assert on_scale(1, (1, 5)) == INTERVAL_MARGIN
        assert on_scale(5, (1, 5)) == INTERVAL_WIDTH - INTERVAL_MARGIN
        assert on_scale(3, (1, 5)) == INTERVAL_WIDTH / 2

    def test_is_cut_off_at_the_ends_of_the_scale(self) -> None:
        bar = interval_bar(4.5, 3.0, 6.0, (1, 5))
        assert (bar.low, bar.high) == (INTERVAL_WIDTH / 2, INTERVAL_WIDTH - INTERVAL_MARGIN)

    def test_has_no_whiskers_without_an_interval(self) -> None:
        assert interval_bar(3, None, None, (1, 5)) == (INTERVAL_WIDTH / 2, None, None)


class TestAboutZero:
    @pytest.mark.parametrize(
        ("values", "end"),
        [
            # steps of 0.5, 0.2, 25 and 0.0025: about a quarter of the furthest value
            ([-1.18, 0.62], 1.5),
            ([0.1, -0.7], 0.8),
            ([-63, 99], 100),
            ([0.01], 0.0125),
        ],
    )
    def test_ends_at_a_round_number_past_the_furthest_value(
        self, values: list[float], end: float
    ) -> None:
        assert about_zero(values) == (-end, end)

    @pytest.mark.parametrize("values", [[], [0.0], [0.0, 0.0]])
    def test_has_a_width_without_any_change(self, values: list[float]) -> None:
        low, high = about_zero(values)
        assert low < 0 < high

    def test_has_zero_in_its_middle(self) -> None:
        assert on_scale(0, about_zero([-3, 1])) == INTERVAL_WIDTH / 2


class TestSegments:
    def test_share_100_by_their_counts(self) -> None:
        counts = {"1": 1, "2": 0, "3": 2, "4": 0, "5": 1}
        assert segments(counts, (1, 5)) == [
            Segment(0, 0.0, 25.0),
            Segment(4, 25.0, 50.0),
            Segment(8, 75.0, 25.0),
        ]

    def test_are_none_where_nothing_is_counted(self) -> None:
        assert segments({"1": 0, "2": 0}, (1, 2)) == []

    def test_stand_in_the_order_of_the_numbers(self) -> None:
        assert [part.shade for part in segments({"10": 1, "9": 1, "-1": 1}, (-1, 10))] == [0, 7, 8]


SCALE = (-5, 5)


def datum(letter: str, x: float, y: float) -> Datum:
    return Datum(letter, x, y, y - 0.2, y + 0.2)


def label_box(dot: Dot) -> tuple[float, float, float, float]:
    half = 4.5 * len(dot.letter)
    return (dot.label_x - half, dot.label_y - 10, dot.label_x + half, dot.label_y + 2)


class TestScatter:
    def test_without_data_is_none(self) -> None:
        assert scatter([], SCALE) is None

    def test_begins_at_zero_where_values_are_of_one_order(self) -> None:
        chart = scatter([datum("A", 2.0, 3.0), datum("B", 5.2, 4.0)], SCALE)
        assert chart is not None
        assert [tick.text for tick in chart.x_ticks] == ["0", "2", "4", "6"]
        # 5.2 of 6, from the left edge of the plot to its right one.
        width = chart.right - chart.left
        assert chart.dots[1].x == pytest.approx(chart.left + width * 5.2 / 6, abs=0.1)

    def test_counts_orders_of_magnitude_where_values_span_them(self) -> None:
        chart = scatter([datum("A", 0.3, 3.0), datum("B", 12.0, 4.0)], SCALE)
        assert chart is not None
        assert [tick.text for tick in chart.x_ticks] == ["0.2", "0.5", "1", "2", "5", "10", "20"]
        # From 0.2 to 20 are two orders: 2 lies half way.
        (middle,) = [tick.at for tick in chart.x_ticks if tick.text == "2"]
        assert middle == pytest.approx((chart.left + chart.right) / 2, abs=0.1)

    @pytest.mark.parametrize("scale", [(0, 1), (1, 3), (1, 5), (1, 100), (-3, 3)])
    @pytest.mark.parametrize("end", [0, 1])
    def test_of_rows_at_one_end_of_the_scale_has_an_axis(
        self, scale: tuple[int, int], end: int
    ) -> None:
        chart = scatter([Datum("A", 1.0, scale[end], scale[end], scale[end])], scale)
        assert chart is not None
        assert len(chart.y_ticks) > 1
        assert chart.dots[0].y == (chart.top if end else chart.bottom)

    @pytest.mark.parametrize(
        "data",
        [
            [datum("A", 1.0, 3.0)],
            [datum("A", 0.0, 0.0)],
            [Datum("A", 1e-6, 1.0, None, None), Datum("B", 1e6, 1.0, None, None)],
            [datum("A", 7.0, 3.0), datum("B", 7.0, 3.0)],
            [datum("A", 1.0, -2.0), datum("B", 100.0, 2.0)],
        ],
    )
    def test_keeps_everything_inside(self, data: list[Datum]) -> None:
        chart = scatter(data, SCALE)
        assert chart is not None
        for dot in chart.dots:
            assert chart.left <= dot.x <= chart.right
            assert chart.top <= dot.high <= dot.y <= dot.low <= chart.bottom
            left, top, right, bottom = label_box(dot)
            assert left >= 0
            assert top >= 0
            assert right <= SCATTER_WIDTH
            assert bottom <= SCATTER_HEIGHT
        assert len(chart.y_ticks) >= 2

    @pytest.mark.parametrize(
        ("low", "high", "ticks"),
        [
            (4.5, 4.5, ["4", "5"]),  # in steps of 2 it would be 4 to 6
            (1.0, 5.0, ["1", "2", "3", "4", "5"]),
            (0.2, 5.9, ["1", "2", "3", "4", "5"]),
            (2.6, 3.4, ["2.6", "2.8", "3", "3.2", "3.4", "3.6"]),
        ],
    )
    def test_shows_nothing_outside_the_scale(
        self, low: float, high: float, ticks: list[str]
    ) -> None:
        chart = scatter([Datum("A", 1.0, (low + high) / 2, low, high)], (1, 5))
        assert chart is not None
        assert [tick.text for tick in chart.y_ticks] == ticks

    def test_lets_no_label_hide_a_dot_or_another_label(self) -> None:
        # Three prompts of each of four models: the same size in memory, scores close together.
        data = [
            datum(chr(ord("A") + number), (0.3, 0.6, 1.3, 2.4)[number // 3], 3 + number % 3 / 12)
            for number in range(12)
        ]
        chart = scatter(data, SCALE)
        assert chart is not None
        boxes = [label_box(dot) for dot in chart.dots]
        for one, other in itertools.combinations(boxes, 2):
            assert (
                one[2] <= other[0]
                or other[2] <= one[0]
                or one[3] <= other[1]
                or (other[3] <= one[1])
            )
        for box in boxes:
            for dot in chart.dots:
                assert not (box[0] < dot.x < box[2] and box[1] < dot.y < box[3])

    def test_gives_a_label_its_first_place_where_there_is_no_room(self) -> None:
        chart = scatter([datum("AB", 1.0, 3.0) for _ in range(60)], SCALE)
        assert chart is not None
        first, last = chart.dots[0], chart.dots[-1]
        assert (last.label_x, last.label_y) == (first.label_x, first.label_y)


def test_letters_go_on_after_z() -> None:
    names = list(letters(54))
    assert names[:3] == ["A", "B", "C"]
    assert names[25:29] == ["Z", "AA", "AB", "AC"]
    assert names[51:] == ["AZ", "BA", "BB"]
