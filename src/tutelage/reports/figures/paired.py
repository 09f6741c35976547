"""The same repetition under several conditions, joined by a line."""

from __future__ import annotations

from collections.abc import Sequence

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of
from tutelage.reports.numbers import significant


def paired(
    name: str,
    columns: Sequence[tuple[str, Sequence[float]]],
    y_label: str,
    looks: Sequence[int],
    *,
    as_percent: bool = True,
) -> str:
    """Return repetitions as lines across conditions, as SVG.

    Args:
        name: Of the figure, unique on its page.
        columns: For each condition its name and a value for each repetition, in the same order
            in all.
        y_label: What the values are.
        looks: Number of the look of each condition.
        as_percent: Whether the values are fractions in [0, 1], shown as per cent.
    """
    factor = 100 if as_percent else 1
    with canvas() as (figure, axes):
        for repetition in zip(*(values for _, values in columns), strict=True):
            heights = [factor * value for value in repetition]
            axes.plot(range(len(columns)), heights, color=QUIET, linewidth=0.9, alpha=0.6)
        for place, ((_, values), number) in enumerate(zip(columns, looks, strict=True)):
            look = look_of(number)
            heights = [factor * value for value in values]
            axes.plot(
                [place] * len(values), heights, look.marker, color=look.color, alpha=0.85, zorder=3
            )
            mean = sum(heights) / len(heights)
            axes.plot([place - 0.18, place + 0.18], [mean, mean], color=look.color, linewidth=2.6)
        axes.set_xticks(range(len(columns)), [label for label, _ in columns])
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.4, len(columns) - 0.6)
        axes.set_ylabel(y_label)
        return to_svg(figure, name, _described(columns, y_label, as_percent))


def _described(
    columns: Sequence[tuple[str, Sequence[float]]], y_label: str, as_percent: bool
) -> str:
    def text(value: float) -> str:
        return f"{100 * value:.1f}" if as_percent else significant(value)

    parts = "; ".join(
        f"{' '.join(label.split())}: " + ", ".join(map(text, values)) for label, values in columns
    )
    return f"{y_label}, repetition by repetition. {parts}."
