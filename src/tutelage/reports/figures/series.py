"""Values against a number that was varied: a fraction of labels, a temperature, a width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import look_of

_FEW_LINES, _LINE_HEIGHT = 2, 0.19
_LEAST_GAP = 0.07
_ASIDE = 2.5


@dataclass(frozen=True, slots=True)
class SeriesLine:
    """One line.

    Args:
        label: Its name.
        x: The number that was varied, ascending.
        mean: A value for each of them.
        low: Lower ends of their intervals, if any.
        high: Upper ends.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1


def series(
    name: str,
    lines: Sequence[SeriesLine],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    as_percent: bool = False,
) -> str:
    """Return values with their intervals against a number as SVG.

    Args:
        name: Of the figure, unique on its page.
        lines: The lines; their bars stand a little apart, or they would cover each other.
        x_label: What was varied.
        y_label: What the values are.
        log_x: Whether the scale of what was varied is logarithmic.
        as_percent: Whether the values are fractions, shown as per cent.
    """
    height = 3.5 + _LINE_HEIGHT * max(0, len(lines) - _FEW_LINES)
    with canvas(4.7, height) as (figure, axes):
        if log_x:
            axes.set_xscale("log")
        for place, line in enumerate(lines):
            _draw(figure, axes, line, place - (len(lines) - 1) / 2, 100 if as_percent else 1)
        axes.margins(x=0.06)
        _mark_what_was_tried(axes, sorted({x for line in lines for x in line.x}), log_x)
        axes.set_xlabel(f"{x_label} (log scale)" if log_x else x_label)
        axes.set_ylabel(y_label)
        if len(lines) > 1:
            figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
        return to_svg(figure, name, _described(lines, x_label, y_label, as_percent))


def _draw(figure: Figure, axes: Axes, line: SeriesLine, aside: float, factor: float) -> None:
    look, mean = look_of(line.look), factor * np.asarray(line.mean, dtype=float)
    bars = None
    if line.low is not None and line.high is not None:
        low, high = (factor * np.asarray(side, dtype=float) for side in (line.low, line.high))
        bars = np.maximum([mean - low, high - mean], 0)
    shift = ScaledTranslation(aside * _ASIDE / 72, 0, figure.dpi_scale_trans)
    drawn = axes.errorbar(
        line.x,
        mean,
        yerr=bars,
        color=look.color,
        linestyle=look.line,
        marker=look.marker,
        elinewidth=1.2,
        capsize=2.5,
        label=line.label,
    )
    for part in drawn.get_children():  # once the limits of the axes know where they are
        part.set_transform(axes.transData + shift)


def _mark_what_was_tried(axes: Axes, tried: Sequence[float], log_x: bool) -> None:
    """Set the scale's numbers where values are, unless they would run into each other."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    places = np.log(tried) if log_x else np.asarray(tried, dtype=float)
    if len(tried) == 1 or np.diff(places).min() > _LEAST_GAP * (places[-1] - places[0]):
        axes.set_xticks(tried)
        axes.xaxis.set_minor_locator(NullLocator())


def _described(lines: Sequence[SeriesLine], x_label: str, y_label: str, as_percent: bool) -> str:
    def text(value: float) -> str:
        return f"{100 * value:.1f}" if as_percent else f"{value:.3g}"

    parts = "; ".join(
        f"{line.label}: "
        + ", ".join(f"{text(mean)} at {x:g}" for x, mean in zip(line.x, line.mean, strict=True))
        for line in lines
    )
    return f"{y_label} against {x_label}. {parts}."
