"""What each class or domain gains or loses."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of
from tutelage.reports.numbers import signed

MOST = 30
"""How many bars there is room for; of more, the largest losses and gains are drawn."""

_GAIN, _LOSS = 3, 1
_ROW, _REST = 0.2, 0.7
_LABEL = 22


def deltas(
    labels: Sequence[str], before: Sequence[float], after: Sequence[float], x_label: str
) -> str:
    """Return the change of each class's fraction as bars, as SVG: to the right what is gained.

    Classes without a value, NaN, are left out.
    """
    changes = [
        (label, 100 * (new - old))
        for label, old, new in zip(labels, before, after, strict=True)
        if math.isfinite(new - old)
    ]
    shown, note = _chosen(changes)
    with canvas(4.7, _REST + _ROW * max(len(shown), 3)) as (figure, axes):
        for place, (_, change) in enumerate(shown):
            look = look_of(_LOSS if change < 0 else _GAIN)
            axes.barh([place], [change], height=0.68, color=look.color, alpha=0.85, linewidth=0)
        axes.axvline(0, color=QUIET, linewidth=1)
        axes.set_yticks(range(len(shown)), [_short(label) for label, _ in shown])
        axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(x_label)
        axes.locator_params(axis="x", nbins=6)
        _write(axes, [change for _, change in shown])
        parts = ", ".join(f"{label} {signed(change)}" for label, change in shown)
        return to_svg(figure, f"{x_label}.{note} {parts or 'There are none'}.")


def _chosen(changes: list[tuple[str, float]]) -> tuple[list[tuple[str, float]], str]:
    """Return what is drawn, and a note on the rest."""
    if len(changes) <= MOST:
        return changes, ""
    ordered = sorted(changes, key=lambda each: each[1])
    half = MOST // 2
    note = f" Of {len(changes)}, these are the {half} that lose most and the {half} that gain most."
    return ordered[:half] + ordered[-half:], note


def _write(axes: Axes, changes: Sequence[float]) -> None:
    """Write each number at the end of its bar, and leave room for it."""
    low, high = min([0.0, *changes]), max([0.0, *changes])
    room = 0.2 * (high - low) or 1.0
    axes.set_xlim(low - room if low < 0 else -room / 4, high + room)
    for place, change in enumerate(changes):
        left = change < 0
        axes.annotate(
            signed(change), (change, place), xytext=(-3 if left else 3, 0),
            textcoords="offset points", ha="right" if left else "left", va="center_baseline",
            color=QUIET, fontsize=9,
        )  # fmt: skip


def _short(label: str) -> str:
    """Leave out the middle of a long name: what tells names apart is often at the end."""
    half = _LABEL // 2
    return label if len(label) <= _LABEL else f"{label[:half]}…{label[-half + 1 :]}"
