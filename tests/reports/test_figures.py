"""Figures: what they draw, what they write beside it, and what they say in words."""

import math
import re
from functools import cache, partial
from html import unescape

import numpy as np
import pytest

from tutelage.evaluation import Interval, Reliability
from tutelage.reports.figures import (
    MOST_POINTS,
    Line,
    curves,
    deltas,
    heat_map,
    intervals,
    look_of,
    paired,
    reliability_diagram,
    residuals,
    series,
    shared_range,
    trade_off,
)

MATRIX = ((0.9, 0.06, 0.04), (0.1, 0.8, 0.1), (0.02, 0.03, 0.95))
ROWS = (
    ("Distilled", Interval(2.71, 1.3, 4.12), 1),
    ("Smoothed labels", Interval(-0.3, -1.44, 0.84), 2),
)
RNG = np.random.default_rng(0)
TRUE = RNG.normal(150, 40, 3000)


BINS = Reliability((0.3, 0.7, 0.95), (0.2, 0.6, 0.9), (0.1, 0.2, 0.7))
TRIED = Line("Student", [1, 2, 4], [50, 60, 70], [40, 50, 60], [60, 70, 80])
FIGURES = {
    "curves": partial(curves, [TRIED], "loss"),
    "trade_off": partial(trade_off, [Line("one", [0.1], [90], [80], [95], 0)], "accuracy"),
    "paired": partial(paired, [("a", [50, 60], 1), ("b", [70, 90], 2)], "accuracy"),
    "heat_map": partial(heat_map, MATRIX, ["x", "y", "z"], shared_range(MATRIX), "alike"),
    "intervals": partial(intervals, ROWS, "points"),
    "reliability_diagram": partial(reliability_diagram, [("Student", BINS, 1)]),
    "series": partial(series, [TRIED], "temperature", "accuracy, %", log_x=True),
    "residuals": partial(residuals, TRUE, TRUE + 1),
    "deltas": partial(deltas, [("cat", -10.0), ("dog", 25.0)], "points"),
}


@cache
def drawn(name):
    return FIGURES[name]()


def values_at(lines, log_x=False):
    return series(lines, "width", "error", log_x=log_x)


def words(svg):
    return unescape(re.search(r'aria-label="([^"]*)"', svg)[1])


def texts(svg):
    return [unescape(each) for each in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_deterministic_described_and_follow_the_page(name):
    svg = FIGURES[name]()
    assert svg == drawn(name)
    assert svg.startswith('<svg role="img" aria-label="')
    assert "<metadata" not in svg
    assert "font-family" not in svg
    if name == "heat_map":
        return  # whose colours stand for numbers
    assert not re.search(r"(fill|stroke): #(?!(000000|ffffff)\b)", svg)
    for style in re.findall(r'<text style="([^"]*)"', svg):
        fill = re.search(r"fill: ([^;]+)", style)
        assert fill is None or fill[1].startswith("var(--")


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_light(name):
    assert len(drawn(name)) < 70_000


def test_intervals_are_written_beside_their_rows():
    svg = intervals(ROWS, "points")
    assert {"+2.7 [+1.3, +4.1]", "−0.3 [−1.4, +0.8]"} <= set(texts(svg))
    assert words(svg).startswith("points, mean and interval. Distilled: +2.7 [+1.3, +4.1]; ")


def test_small_differences_keep_two_figures():
    rows = [("One", Interval(0.0031, -0.0012, 0.0074), 1)]
    assert "+0.0031 [−0.0012, +0.0074]" in texts(intervals(rows, "error"))


def test_a_reliability_diagram_names_its_bins():
    svg = reliability_diagram([("S", Reliability((0.1, 0.9), (0.0, 1.0), (0.5, 0.5)), 1)])
    assert words(svg).endswith("S: 10 0, 90 100.")


def test_thirty_students_can_be_told_apart_from_each_other_and_from_the_teacher():
    looks = [look_of(number) for number in range(31)]
    assert len({(look.color, look.marker) for look in looks}) == 31
    assert looks[0].color not in {look.color for look in looks[1:]}
    lines = [Line(f"line {k}", [1, 2], [k, k + 1], look=k) for k in range(9)]
    assert {f"line {k}" for k in range(9)} <= set(texts(values_at(lines)))


def test_numbers_stand_where_something_was_tried_unless_they_collide():
    apart = Line("s", [0.01, 0.1, 1], [1, 2, 3])
    assert {"0.01", "0.1", "1"} <= set(texts(values_at([apart], log_x=True)))
    close = Line("s", [1, 1.01, 100], [1, 2, 3])
    assert "1.01" not in texts(values_at([close]))


def test_a_series_is_told_point_by_point():
    svg = drawn("series")
    assert (
        words(svg) == "accuracy, % against temperature. Student: 50.0 at 1, 60.0 at 2, 70.0 at 4."
    )
    assert "temperature (log scale)" in texts(svg)


def test_a_band_that_the_mean_lies_outside_of_draws_no_bar_backwards():
    values_at([Line("s", [1], [1.0], [1.2], [1.5])])


def test_of_many_residuals_some_are_drawn():
    few, many = (residuals(TRUE[:n], TRUE[:n] + RNG.normal(size=n)) for n in (100, 3000))
    assert 100 <= few.count("<use") < 130
    assert MOST_POINTS <= many.count("<use") < MOST_POINTS + 30
    assert "of 3000 examples" in words(many)


def test_residuals_leave_out_what_has_no_label():
    svg = residuals([1.0, math.nan, 3.0], [1.5, 2.0, 3.5])
    assert "of 2 examples" in words(svg)
    assert "the middle is 0.5" in words(svg)
    assert "no example" in words(residuals([math.nan], [1.0]))


def test_deltas_are_in_points_with_signs():
    svg = drawn("deltas")
    assert {"−10.0", "+25.0", "cat", "dog"} <= set(texts(svg))
    assert words(svg) == "points. cat −10.0, dog +25.0."


def test_long_names_keep_their_ends():
    name = "a very long class name with a number 17"
    shown = next(each for each in texts(deltas([(name, 1.0)], "x")) if "…" in each)
    assert len(shown) <= 22
    assert shown.endswith("17")


def test_values_have_three_figures():
    svg = paired([("a", [12.0, 13.0], 1), ("b", [10.0, 11.0], 2)], "error")
    assert words(svg).endswith("a: 12.0, 13.0; b: 10.0, 11.0.")
    svg = trade_off([Line("a", [0.1], [3000.0], [2900.0], [3100.0], 0)], "error")
    assert words(svg).endswith("a: 3,000 in 0.1 ms.")
    assert {"2900", "3100"} & set(texts(svg))
    svg = curves([Line("one", [1, 2], [50, 25])], "%")
    assert words(svg).endswith("one: from 50 to 25.")


def test_a_log_scale_has_two_numbers_however_near_the_values_are():
    for time in (0.05, 0.0942, 0.101, 0.3, 1.9):
        models = [Line("a", [time], [0.5]), Line("b", [time * 1.01], [0.6])]
        shown = {float(each) for each in texts(trade_off(models, "y"))
                 if re.fullmatch(r"[\d.]+", each)}  # fmt: skip
        assert len({each for each in shown if time / 3 < each < time * 3}) > 1
