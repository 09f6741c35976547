"""Lines with an interval around each value: over steps, over a number, and quality over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import ScaledTranslation

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import look_of
from tutelage.reports.numbers import significant

_MARKS = 8
_FEW_LINES, _LINE_HEIGHT = 2, 0.19
_LEAST_GAP = 0.07
_ASIDE = 2.5
_ROOM = 2.6  # on both sides: so that at least two of 1, 2, 5, 10, … are on the scale


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Args:
        label: Its name.
        x: Ascending.
        values: One for each x.
        low: Lower ends of their intervals, if any.
        high: Upper ends.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    x: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1


def curves(
    name: str, lines: Sequence[Line], y_label: str, *, log: bool = False, as_percent: bool = False
) -> str:
    """Return values over optimizer steps as SVG, their intervals as bands.

    Args:
        name: Of the figure, unique on its page.
        lines: The curves.
        y_label: What the values are.
        log: Whether the scale of the values is logarithmic.
        as_percent: Whether the values are fractions, shown as per cent.
    """
    factor = 100 if as_percent else 1
    with canvas() as (figure, axes):
        for line in lines:
            look = look_of(line.look)
            axes.plot(
                line.x,
                [value * factor for value in line.values],
                color=look.color,
                linestyle=look.line,
                marker=look.marker,
                markevery=max(1, len(line.x) // _MARKS),
                markersize=5,
                label=line.label,
            )
            if line.low is not None and line.high is not None:
                low, high = ([edge * factor for edge in side] for side in (line.low, line.high))
                axes.fill_between(line.x, low, high, color=look.color, alpha=0.15, linewidth=0)
        if log:
            axes.set_yscale("log")
            _number_log_scale(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(left=0)
        ends = "; ".join(
            f"{line.label}: from {factor * line.values[0]:.3g} to {factor * line.values[-1]:.3g}"
            for line in lines
        )
        return _finished(figure, axes, name, lines, ("optimizer steps", y_label), ends)


def series(
    name: str,
    lines: Sequence[Line],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    as_percent: bool = False,
) -> str:
    """Return values with their intervals against a number that was varied, as SVG.

    Args:
        name: Of the figure, unique on its page.
        lines: The lines; their bars stand a little apart, or they would cover each other.
        x_label: What was varied.
        y_label: What the values are.
        log_x: Whether the scale of what was varied is logarithmic.
        as_percent: Whether the values are fractions, shown as per cent.
    """
    factor = 100 if as_percent else 1
    height = 3.5 + _LINE_HEIGHT * max(0, len(lines) - _FEW_LINES)
    with canvas(4.7, height) as (figure, axes):
        if log_x:
            axes.set_xscale("log")
        for place, line in enumerate(lines):
            shift = _ASIDE * (place - (len(lines) - 1) / 2)
            _draw(figure, axes, line, factor, shift)
        axes.margins(x=0.06)
        _mark_what_was_tried(axes, sorted({x for line in lines for x in line.x}), log_x)
        shown = "; ".join(
            f"{line.label}: "
            + ", ".join(
                f"{_text(value, as_percent)} at {x:g}"
                for x, value in zip(line.x, line.values, strict=True)
            )
            for line in lines
        )
        return _finished(figure, axes, name, lines, (x_label, y_label), shown)


def trade_off(name: str, models: Sequence[Line], y_label: str, *, as_percent: bool = False) -> str:
    """Return models by time (logarithmic) and quality as SVG; bars are their intervals.

    Models of equal time stand a little apart, or their bars would cover each other.

    Args:
        name: Of the figure, unique on its page.
        models: Each with one value, its quality, at the milliseconds that it takes for an input.
        y_label: What the quality is.
        as_percent: Whether it is a fraction, shown as per cent.
    """
    times = [model.x[0] for model in models]
    with canvas() as (figure, axes):
        axes.set_xscale("log")
        axes.set_xlim(min(times) / _ROOM, max(times) * _ROOM)
        for place, model in enumerate(models):
            twins = [other for other, time in enumerate(times) if time == times[place]]
            shift = 9 * (twins.index(place) - (len(twins) - 1) / 2)
            _draw(figure, axes, model, 100 if as_percent else 1, shift)
        _number_log_scale(axes.xaxis)
        unit = " %" if as_percent else ""
        shown = "; ".join(
            f"{model.label}: {_text(model.values[0], as_percent)}{unit} in {time:.3g} ms"
            for model, time in zip(models, times, strict=True)
        )
        labels = ("milliseconds for one input", y_label)
        return _finished(figure, axes, name, models, labels, shown)


def _draw(figure: Figure, axes: Axes, line: Line, factor: float, shift: float) -> None:
    """Draw a line with error bars, so many points aside from where its values are."""
    look, values = look_of(line.look), factor * np.asarray(line.values, dtype=float)
    bars = None
    if line.low is not None and line.high is not None:
        low, high = (factor * np.asarray(side, dtype=float) for side in (line.low, line.high))
        bars = np.maximum([values - low, high - values], 0)
    drawn = axes.errorbar(
        line.x,
        values,
        yerr=bars,
        color=look.color,
        linestyle=look.line if len(line.x) > 1 else "none",
        marker=look.marker,
        elinewidth=1.2,
        capsize=2.5,
        label=line.label,
    )
    moved = axes.transData + ScaledTranslation(shift / 72, 0, figure.dpi_scale_trans)
    for part in drawn.get_children():  # once the limits of the axes know where they are
        part.set_transform(moved)


def _mark_what_was_tried(axes: Axes, tried: Sequence[float], log_x: bool) -> None:
    """Set the scale's numbers where values are, unless they would run into each other."""
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    places = np.log(tried) if log_x else np.asarray(tried, dtype=float)
    if len(tried) == 1 or np.diff(places).min() > _LEAST_GAP * (places[-1] - places[0]):
        axes.set_xticks(tried)
        axes.xaxis.set_minor_locator(NullLocator())


def _number_log_scale(axis: Any) -> None:
    """Write numbers at 1, 2, 5, 10, …: a scale of less than a decade has several of them."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _finished(
    figure: Figure,
    axes: Axes,
    name: str,
    lines: Sequence[Line],
    labels: tuple[str, str],
    shown: str,
) -> str:
    """Add labels and legend, and return the SVG with its description."""
    x_label, y_label = labels
    axes.set_xlabel(f"{x_label} (log scale)" if axes.get_xscale() == "log" else x_label)
    axes.set_ylabel(y_label)
    if len(lines) > 1:
        figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
    relation = "over" if x_label == "optimizer steps" else "against"
    return to_svg(figure, name, f"{y_label} {relation} {x_label}. {shown}.")


def _text(value: float, as_percent: bool) -> str:
    return f"{100 * value:.1f}" if as_percent else significant(value)
