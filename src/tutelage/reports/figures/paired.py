"""The same repetition under several conditions, joined by a line."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of
from tutelage.reports.numbers import significant


def paired(
    columns: Sequence[tuple[str, Sequence[float], int]], y_label: str, *, as_percent: bool
) -> str:
    """Return repetitions as lines across conditions, as SVG.

    Each condition has a name, a value for each repetition, in the same order in all, and the number
    of its look.
    """
    factor = 100 if as_percent else 1
    columns = [(name, [factor * each for each in values], look) for name, values, look in columns]
    with canvas() as (figure, axes):
        for heights in zip(*(values for _, values, _ in columns), strict=True):
            axes.plot(range(len(columns)), heights, color=QUIET, linewidth=0.9, alpha=0.6)
        for place, (_, heights, number) in enumerate(columns):
            look, mean = look_of(number), sum(heights) / len(heights)
            axes.plot(
                [place] * len(heights), heights, look.marker, color=look.color, alpha=0.85, zorder=3
            )
            axes.plot([place - 0.18, place + 0.18], [mean, mean], color=look.color, linewidth=2.6)
        axes.set_xticks(range(len(columns)), [label for label, *_ in columns])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.4, len(columns) - 0.6)
        axes.set_ylabel(y_label)
        parts = "; ".join(
            f"{' '.join(label.split())}: "
            + ", ".join(f"{each:.1f}" if as_percent else significant(each) for each in values)
            for label, values, _ in columns
        )
        return to_svg(figure, f"{y_label}, repetition by repetition. {parts}.")
