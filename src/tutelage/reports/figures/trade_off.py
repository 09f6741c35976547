"""Quality against time: what is bought, and for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import look_of
from tutelage.reports.numbers import significant

_ROOM = 1.6


@dataclass(frozen=True, slots=True)
class Mark:
    """One model.

    Args:
        label: Its name.
        milliseconds: Time for an input.
        quality: A fraction in [0, 1], or a plain value.
        low: Lower end of its interval.
        high: Upper end.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    milliseconds: float
    quality: float
    low: float
    high: float
    look: int


def trade_off(name: str, marks: Sequence[Mark], y_label: str, *, as_percent: bool = True) -> str:
    """Return models by time (logarithmic) and quality as SVG; bars are their intervals.

    Marks of equal time stand a little apart, or their bars would cover each other.

    Args:
        name: Of the figure, unique on its page.
        marks: The models.
        y_label: What the quality is.
        as_percent: Whether it is a fraction, shown as per cent.
    """
    factor = 100 if as_percent else 1
    with canvas() as (figure, axes):
        for mark, place in zip(marks, _places(marks), strict=True):
            look = look_of(mark.look)
            low, high = mark.low, mark.high
            if as_percent:
                low, high = max(low, 0.0), min(high, 1.0)
            axes.errorbar(
                [place],
                [factor * mark.quality],
                yerr=[[factor * (mark.quality - low)], [factor * (high - mark.quality)]],
                color=look.color,
                linestyle="none",
                elinewidth=1.6,
                capsize=4,
            )
            axes.plot(
                [place],
                [factor * mark.quality],
                look.marker,
                color=look.color,
                markersize=8,
                label=mark.label,
            )
        axes.set_xscale("log")
        axes.set_xlim(*_limits([mark.milliseconds for mark in marks]))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("milliseconds for one input (log scale)")
        axes.set_ylabel(y_label)
        figure.legend(loc="outside upper left", labelspacing=0.3)
        return to_svg(figure, name, _described(marks, y_label, as_percent))


def _places(marks: Sequence[Mark]) -> list[float]:
    """Return where marks stand, those of equal time side by side."""
    places = []
    for number, mark in enumerate(marks):
        twins = [i for i, other in enumerate(marks) if other.milliseconds == mark.milliseconds]
        offset = twins.index(number) - (len(twins) - 1) / 2
        places.append(mark.milliseconds * 1.06**offset)
    return places


def _limits(times: list[float]) -> tuple[float, float]:
    return min(times) / _ROOM, max(times) * _ROOM


def _described(marks: Sequence[Mark], y_label: str, as_percent: bool) -> str:
    def text(value: float) -> str:
        return f"{100 * value:.1f} %" if as_percent else significant(value)

    models = "; ".join(
        f"{mark.label}: {text(mark.quality)} in {mark.milliseconds:.3g} ms" for mark in marks
    )
    return f"{y_label} against milliseconds for one input. {models}."
