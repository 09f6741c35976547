"""Residuals: predicted minus true values."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET, look_of

MOST_POINTS = 250
"""How many examples are drawn one by one; more are counted in squares."""

_BINS = (24, 18)
_SIZES = (1.8, 3.0, 4.2, 5.4, 6.6, 7.8)


def residuals(labels: ArrayLike, predictions: ArrayLike, *, look: int = 1) -> str:
    """Return predicted minus true values against the true ones (NaN: left out), as SVG.

    Many examples are counted in squares, so that the figure is a few hundred marks at most.
    """
    true = np.asarray(labels, dtype=float).ravel()
    missed = np.asarray(predictions, dtype=float).ravel() - true
    known = np.isfinite(missed)
    true, missed = true[known], missed[known]
    with canvas() as (figure, axes):
        if len(true) > MOST_POINTS:
            _draw_counts(axes, true, missed, look_of(look).color)
        else:
            axes.plot(true, missed, "o", color=look_of(look).color, markersize=4, alpha=0.6)
        axes.axhline(0, color=QUIET, linestyle=(0, (5, 3)), linewidth=1.1)
        axes.set_xlabel("true value")
        axes.set_ylabel("predicted − true")
        return to_svg(figure, _described(true, missed))


def _draw_counts(
    axes: Axes, true: NDArray[np.floating], missed: NDArray[np.floating], color: str
) -> None:
    """Draw a square for each cell of a grid, of a few sizes: its area stands for its examples."""
    counts, x_edges, y_edges = np.histogram2d(true, missed, bins=_BINS)
    columns, rows = np.nonzero(counts)
    x, y = ((edges[:-1] + edges[1:]) / 2 for edges in (x_edges, y_edges))
    sides = np.sqrt(counts[columns, rows] / counts.max())
    steps = np.ceil(sides * len(_SIZES)).astype(int) - 1
    for step, size in enumerate(_SIZES):
        here = steps == step
        axes.plot(
            x[columns[here]], y[rows[here]], "s", color=color, markersize=size,
            markeredgewidth=0, alpha=0.8,
        )  # fmt: skip


def _described(true: NDArray[np.floating], missed: NDArray[np.floating]) -> str:
    if not len(true):
        return "Predicted less true value: no example has both."
    low, middle, high = np.quantile(missed, [0.05, 0.5, 0.95])
    return (
        f"Predicted less true value, of {len(true)} examples whose true "
        f"value lies from {true.min():.3g} to {true.max():.3g}. Half of them are off by "
        f"{np.median(np.abs(missed)):.3g} or less; the middle is {middle:.3g}, and 90 % lie from "
        f"{low:.3g} to {high:.3g}."
    )
