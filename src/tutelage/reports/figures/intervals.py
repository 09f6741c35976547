"""Differences to a control with their intervals, a row for each arm: a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes

from tutelage.evaluation import Interval
from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of
from tutelage.reports.numbers import signed

_LABEL_WIDTH = 20
_ROW, _LINE, _REST = 0.34, 0.17, 0.75
_EDGE = 0.08


def intervals(rows: Sequence[tuple[str, Interval, int]], x_label: str, *, as_percent: bool) -> str:
    """Return mean differences and their intervals as SVG, with the numbers beside them.

    Each row has a name, its interval and the number of its look.
    """
    factor = 100 if as_percent else 1
    means = [factor * each.mean for _, each, _ in rows]
    ends = [(factor * each.low, factor * each.high) for _, each, _ in rows]
    low, high = min(0.0, *means, *map(min, ends)), max(0.0, *means, *map(max, ends))
    room = _EDGE * (high - low) or 1.0
    labels = [fill(label, _LABEL_WIDTH) for label, *_ in rows]
    texts = _texts(means, ends, max(-low, high))
    lines = max(label.count("\n") for label in labels)
    with canvas(4.7, _REST + (_ROW + _LINE * lines) * len(rows)) as (figure, axes):
        axes.axvline(0, color=QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
        for place, (_, _, number) in enumerate(rows):
            look = look_of(number)
            axes.plot(ends[place], [place, place], color=look.color, linewidth=2)
            for end in ends[place]:
                axes.plot([end], [place], "|", color=look.color, markersize=8, markeredgewidth=2)
            axes.plot(
                [means[place]], [place], look.marker, color=look.color, markersize=7.5, zorder=3
            )
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=5)
        _write(axes, texts)
        parts = "; ".join(f"{row[0]}: {text}" for row, text in zip(rows, texts, strict=True))
        return to_svg(figure, f"{x_label}, mean and interval. {parts}.")


def _texts(
    means: Sequence[float], ends: Sequence[tuple[float, float]], largest: float
) -> list[str]:
    """Write numbers with two digits of the largest, and one decimal at least."""
    decimals = 1 if largest == 0 else max(1, 1 - math.floor(math.log10(largest)))
    return [
        f"{signed(mean, decimals)} [{signed(low, decimals)}, {signed(high, decimals)}]"
        for mean, (low, high) in zip(means, ends, strict=True)
    ]


def _write(axes: Axes, texts: Sequence[str]) -> None:
    """Write a row's numbers to the right of it, and take away what frames no values."""
    right = axes.twinx()
    right.set_ylim(axes.get_ylim())
    right.set_yticks(range(len(texts)), texts)
    for side in (axes, right):
        side.tick_params(axis="y", length=0)
        side.grid(visible=False, axis="y")
        side.spines["left"].set_visible(False)
    right.grid(visible=False)
