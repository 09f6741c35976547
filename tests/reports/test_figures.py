"""Figures: what they draw, what they write beside it, and what they say in words."""

import math
import re
from functools import cache, partial
from html import unescape

import numpy as np
import pytest

from tutelage.evaluation import Interval, Reliability
from tutelage.reports.canvas import LOOKS, look_of
from tutelage.reports.figures import (
    MOST_BARS,
    Line,
    curves,
    deltas,
    heat_map,
    intervals,
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
TRIED = Line("Student", [1, 2, 4], [0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.6, 0.7, 0.8])
FIGURES = {
    "curves": partial(curves, [TRIED], "loss"),
    "trade_off": partial(
        trade_off, [Line("one", [0.1], [0.9], [0.8], [0.95], 0)], "accuracy", as_percent=True
    ),
    "paired": partial(
        paired, [("a", [0.5, 0.6], 1), ("b", [0.7, 0.9], 2)], "accuracy", as_percent=True
    ),
    "heat_map": partial(heat_map, MATRIX, ["x", "y", "z"], shared_range(MATRIX), "alike"),
    "intervals": partial(intervals, ROWS, "points", as_percent=False),
    "reliability_diagram": partial(reliability_diagram, [("Student", BINS, 1)]),
    "series": partial(series, [TRIED], "temperature", "accuracy, %", log_x=True, as_percent=True),
    "residuals": partial(residuals, TRUE, TRUE + 1),
    "deltas": partial(deltas, ["cat", "dog"], [0.5, 0.5], [0.4, 0.75], "points"),
}


@cache
def drawn(name):
    return FIGURES[name]()


def values_at(lines, log_x=False):
    return series(lines, "width", "error", log_x=log_x, as_percent=False)


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
    assert len(drawn(name)) < 60_000


def test_intervals_are_written_beside_their_rows():
    fractions = [
        (name, Interval(each.mean / 100, each.low / 100, each.high / 100), look)
        for name, each, look in ROWS
    ]
    for rows, as_percent in ((ROWS, False), (fractions, True)):
        svg = intervals(rows, "points", as_percent=as_percent)
        assert {"+2.7 [+1.3, +4.1]", "−0.3 [−1.4, +0.8]"} <= set(texts(svg))
        assert words(svg).startswith("points, mean and interval. Distilled: +2.7 [+1.3, +4.1]; ")


def test_small_differences_keep_two_figures():
    rows = [("One", Interval(0.0031, -0.0012, 0.0074), 1)]
    assert "+0.0031 [−0.0012, +0.0074]" in texts(intervals(rows, "error", as_percent=False))


def test_a_reliability_diagram_names_its_bins():
    svg = reliability_diagram([("S", Reliability((0.1, 0.9), (0.0, 1.0), (0.5, 0.5)), 1)])
    assert words(svg).endswith("S: 10 0, 90 100.")


def test_more_lines_than_looks_begin_again_without_the_teachers():
    assert look_of(len(LOOKS)) is LOOKS[1]
    assert all(look_of(number) is not LOOKS[0] for number in range(1, 30))
    lines = [Line(f"line {k}", [1, 2], [k, k + 1], look=k) for k in range(9)]
    assert {f"line {k}" for k in range(9)} <= set(texts(values_at(lines)))


def test_numbers_stand_where_something_was_tried_unless_they_collide():
    apart = Line("s", [0.01, 0.1, 1], [1, 2, 3])
    assert {"0.01", "0.1", "1"} <= set(texts(values_at([apart], log_x=True)))
    close = Line("s", [1, 1.01, 100], [1, 2, 3])
    assert "1.01" not in texts(values_at([close]))


def test_a_series_of_fractions_is_in_per_cent():
    svg = drawn("series")
    assert (
        words(svg) == "accuracy, % against temperature. Student: 50.0 at 1, 60.0 at 2, 70.0 at 4."
    )
    assert "temperature (log scale)" in texts(svg)


def test_a_band_that_the_mean_lies_outside_of_draws_no_bar_backwards():
    values_at([Line("s", [1], [1.0], [1.2], [1.5])])


def test_many_residuals_become_a_few_squares():
    few, many = (residuals(TRUE[:n], TRUE[:n] + RNG.normal(size=n)) for n in (100, 3000))
    assert 100 <= few.count("<use") < 130
    assert many.count("<use") < 450
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


def test_of_many_classes_the_largest_losses_and_gains_are_drawn():
    count = 100
    after = np.linspace(-0.5, 0.5, count)
    svg = deltas([f"class {k}" for k in range(count)], [0.0] * count, after, "points")
    shown = [text for text in texts(svg) if text.startswith("class ")]
    assert len(shown) == MOST_BARS
    assert {"class 0", "class 14", "class 85", "class 99"} <= set(shown)
    assert not {"class 15", "class 84"} & set(shown)
    assert "Of 100, these are the 15 that lose most and the 15 that gain most." in words(svg)


def test_classes_without_examples_have_no_bar():
    svg = deltas(["a", "b"], [0.5, math.nan], [0.6, 0.7], "points")
    assert words(svg) == "points. a +10.0."
    assert words(deltas([], [], [], "points")) == "points. There are none."


def test_long_names_keep_their_ends():
    name = "a very long class name with a number 17"
    shown = next(each for each in texts(deltas([name], [0], [1], "x")) if "…" in each)
    assert len(shown) <= 22
    assert shown.endswith("17")


def test_plain_values_stay_as_they_are():
    svg = paired([("a", [12.0, 13.0], 1), ("b", [10.0, 11.0], 2)], "error", as_percent=False)
    assert words(svg).endswith("a: 12.0, 13.0; b: 10.0, 11.0.")
    assert not any(text.startswith("1200") for text in texts(svg))
    marks = [Line("a", [0.1], [3000.0], [2900.0], [3100.0], 0)]
    svg = trade_off(marks, "error", as_percent=False)
    assert words(svg).endswith("a: 3000 in 0.1 ms.")
    assert {"2900", "3100"} & set(texts(svg))


def test_curves_of_fractions_are_in_per_cent():
    svg = curves([Line("one", [1, 2], [0.5, 0.25])], "%", as_percent=True)
    assert words(svg).endswith("one: from 50 to 25.")


def test_a_log_scale_has_two_numbers_however_near_the_values_are():
    for time in (0.05, 0.0942, 0.101, 0.3, 1.9):
        models = [Line("a", [time], [0.5]), Line("b", [time * 1.01], [0.6])]
        shown = {float(each) for each in texts(trade_off(models, "y", as_percent=False))
                 if re.fullmatch(r"[\d.]+", each)}  # fmt: skip
        assert len({each for each in shown if time / 3 < each < time * 3}) > 1
