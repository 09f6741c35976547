"""Differences to a control with their intervals, a row for each arm: a forest plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib.axes import Axes

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, RULE, look_of
from tutelage.reports.numbers import signed

_LABEL_WIDTH = 20
_ROW, _LINE, _REST = 0.34, 0.17, 0.75
_EDGE = 0.08


@dataclass(frozen=True, slots=True)
class Row:
    """One arm against the control, in the unit that is shown.

    Args:
        label: Its name.
        mean: Mean difference.
        low: Lower end of its interval; NaN where there is none.
        high: Upper end; NaN where there is none.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    mean: float
    low: float
    high: float
    look: int = 1


def intervals(
    name: str,
    rows: Sequence[Row],
    x_label: str,
    *,
    margin: float | None = None,
) -> str:
    """Return a forest plot as SVG: mean differences and intervals, with their numbers beside them.

    Args:
        name: Of the figure, unique on its page.
        rows: From top to bottom.
        x_label: What the differences are, with their unit.
        margin: A loss that still counts as none; what lies further down than that is shaded.
    """
    labels = [fill(row.label, _LABEL_WIDTH) for row in rows]
    lines = max(label.count("\n") for label in labels)
    places = range(len(rows))
    with canvas(4.7, _REST + (_ROW + _LINE * lines) * len(rows)) as (figure, axes):
        low, high = _limits(rows, margin)
        axes.axvline(0, color=QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
        if margin is not None:
            _shade(axes, low, -margin)
        for place, row in zip(places, rows, strict=True):
            _draw(axes, place, row)
        axes.set_xlim(low, high)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(places, labels)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=5)
        shown = _decimals(rows)
        _write(axes, [_text(row, shown) for row in rows])
        return to_svg(figure, name, _described(rows, x_label, margin, shown))


def _draw(axes: Axes, place: int, row: Row) -> None:
    look = look_of(row.look)
    if _known(row):
        axes.plot([row.low, row.high], [place, place], color=look.color, linewidth=2)
        for end in (row.low, row.high):
            axes.plot([end], [place], "|", color=look.color, markersize=8, markeredgewidth=2)
    axes.plot([row.mean], [place], look.marker, color=look.color, markersize=7.5, zorder=3)


def _shade(axes: Axes, low: float, edge: float) -> None:
    """Mark where more is lost than the margin allows."""
    axes.axvspan(low, edge, color=RULE, alpha=0.45, linewidth=0)
    axes.axvline(edge, color=QUIET, linestyle=(0, (1, 1.6)), linewidth=1.2)
    axes.annotate(
        "margin", (edge, 1), xycoords=axes.get_xaxis_transform(), xytext=(0, 3),
        textcoords="offset points", ha="center", va="bottom", color=QUIET, fontsize=9,
    )  # fmt: skip


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


def _ends(rows: Sequence[Row]) -> list[float]:
    return [each for row in rows for each in (row.mean, row.low, row.high) if math.isfinite(each)]


def _limits(rows: Sequence[Row], margin: float | None) -> tuple[float, float]:
    ends = [0.0, -(margin or 0.0), *_ends(rows)]
    room = _EDGE * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _decimals(rows: Sequence[Row]) -> int:
    """Return how many decimals leave two figures of the largest number, and one at least."""
    largest = max(map(abs, _ends(rows)), default=0.0)
    return 1 if largest == 0 else max(1, 1 - math.floor(math.log10(largest)))


def _known(row: Row) -> bool:
    return math.isfinite(row.low) and math.isfinite(row.high)


def _text(row: Row, decimals: int) -> str:
    mean = signed(row.mean, decimals)
    if not _known(row):
        return mean
    return f"{mean} [{signed(row.low, decimals)}, {signed(row.high, decimals)}]"


def _described(rows: Sequence[Row], x_label: str, margin: float | None, decimals: int) -> str:
    parts = "; ".join(f"{row.label}: {_text(row, decimals)}" for row in rows)
    bound = "" if margin is None else f" The margin is {margin:g}."
    return f"{x_label}, mean and interval. {parts}.{bound}"
