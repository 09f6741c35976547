"""Lines with an interval around each value: over steps, over a number, and quality over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """A value at each of the ascending x, perhaps with its interval; look 0 is the teacher's."""

    label: str
    x: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1


def curves(
    lines: Sequence[Line], y_label: str, *, log: bool = False, as_percent: bool = False
) -> str:
    """Return values over optimizer steps as SVG, their intervals as bands."""
    lines = _in_percent(lines) if as_percent else lines
    with canvas() as (figure, axes):
        for line in lines:
            look = look_of(line.look)
            axes.plot(
                line.x, line.values, color=look.color, linestyle=look.line, marker=look.marker,
                markevery=max(1, len(line.x) // _MARKS), markersize=5, label=line.label,
            )  # fmt: skip
            if line.low is not None and line.high is not None:
                axes.fill_between(
                    line.x, line.low, line.high, color=look.color, alpha=0.15, linewidth=0
                )
        if log:
            axes.set_yscale("log")
            _number_log_scale(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlim(left=0)
        ends = "; ".join(
            f"{line.label}: from {line.values[0]:.3g} to {line.values[-1]:.3g}" for line in lines
        )
        return _finished(figure, axes, lines, ("optimizer steps", y_label), ends)


def series(
    lines: Sequence[Line], x_label: str, y_label: str, *, log_x: bool, as_percent: bool
) -> str:
    """Return values with their intervals against a number that was varied, as SVG.

    Lines stand a little apart, or their bars would cover each other.
    """
    lines = _in_percent(lines) if as_percent else lines
    with canvas(4.7, 3.5 + _LINE_HEIGHT * max(0, len(lines) - _FEW_LINES)) as (figure, axes):
        if log_x:
            axes.set_xscale("log")
        for place, line in enumerate(lines):
            _draw(figure, axes, line, _ASIDE * (place - (len(lines) - 1) / 2))
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
        return _finished(figure, axes, lines, (x_label, y_label), shown)


def trade_off(models: Sequence[Line], y_label: str, *, as_percent: bool) -> str:
    """Return models by milliseconds for an input and quality as SVG; bars are their intervals.

    Models of equal time stand a little apart, or their bars would cover each other.
    """
    models = _in_percent(models) if as_percent else models
    times = [model.x[0] for model in models]
    with canvas() as (figure, axes):
        axes.set_xscale("log")
        axes.set_xlim(min(times) / _ROOM, max(times) * _ROOM)
        for place, model in enumerate(models):
            twins = [other for other, time in enumerate(times) if time == times[place]]
            _draw(figure, axes, model, 9 * (twins.index(place) - (len(twins) - 1) / 2))
        _number_log_scale(axes.xaxis)
        unit = " %" if as_percent else ""
        shown = "; ".join(
            f"{model.label}: {_text(model.values[0], as_percent)}{unit} in {time:.3g} ms"
            for model, time in zip(models, times, strict=True)
        )
        labels = ("milliseconds for one input", y_label)
        return _finished(figure, axes, models, labels, shown)


def _draw(figure: Figure, axes: Axes, line: Line, shift: float) -> None:
    """Draw a line with error bars, so many points aside from where its values are."""
    look, bars = look_of(line.look), None
    if line.low is not None and line.high is not None:
        values = np.asarray(line.values, dtype=float)
        bars = np.maximum([values - np.asarray(line.low), np.asarray(line.high) - values], 0)
    drawn = axes.errorbar(
        line.x, line.values, yerr=bars, color=look.color,
        linestyle=look.line if len(line.x) > 1 else "none", marker=look.marker, elinewidth=1.2,
        capsize=2.5, label=line.label,
    )  # fmt: skip
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
    figure: Figure, axes: Axes, lines: Sequence[Line], labels: tuple[str, str], shown: str
) -> str:
    """Add labels and legend, and return the SVG with its description."""
    x_label, y_label = labels
    axes.set_xlabel(f"{x_label} (log scale)" if axes.get_xscale() == "log" else x_label)
    axes.set_ylabel(y_label)
    if len(lines) > 1:
        figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
    relation = "over" if x_label == "optimizer steps" else "against"
    return to_svg(figure, f"{y_label} {relation} {x_label}. {shown}.")


def _in_percent(lines: Sequence[Line]) -> list[Line]:
    def times(values: Sequence[float]) -> list[float]:
        return [100 * each for each in values]

    return [
        replace(
            line,
            values=times(line.values),
            low=line.low and times(line.low),
            high=line.high and times(line.high),
        )
        for line in lines
    ]


def _text(value: float, in_percent: bool) -> str:
    return f"{value:.1f}" if in_percent else significant(value)
