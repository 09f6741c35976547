"""Values over optimizer steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, NullFormatter

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import look_of

_MARKS = 8


@dataclass(frozen=True, slots=True)
class Curve:
    """One line.

    Args:
        label: Its name.
        steps: Optimizer steps, ascending.
        values: One for each of them.
        low: Lower edge of the band around it, if any.
        high: Upper edge.
        look: Number of its look; 0 is the teacher's.
    """

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    look: int = 1


def curves(
    name: str, lines: Sequence[Curve], y_label: str, *, log: bool = False, as_percent: bool = False
) -> str:
    """Return curves over steps as SVG.

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
                line.steps,
                [value * factor for value in line.values],
                color=look.color,
                linestyle=look.line,
                marker=look.marker,
                markevery=max(1, len(line.steps) // _MARKS),
                markersize=5,
                label=line.label,
            )
            if line.low is not None and line.high is not None:
                low, high = ([edge * factor for edge in side] for side in (line.low, line.high))
                axes.fill_between(line.steps, low, high, color=look.color, alpha=0.15, linewidth=0)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(left=0)
        axes.set_xlabel("optimizer steps")
        axes.set_ylabel(y_label)
        if len(lines) > 1:
            figure.legend(loc="outside upper left", handlelength=3.6, labelspacing=0.3)
        return to_svg(figure, name, _described(lines, y_label, factor))


def _described(lines: Sequence[Curve], y_label: str, factor: float) -> str:
    ends = "; ".join(
        f"{line.label}: from {factor * line.values[0]:.3g} to {factor * line.values[-1]:.3g}"
        for line in lines
    )
    return f"{y_label} over optimizer steps. {ends}."
