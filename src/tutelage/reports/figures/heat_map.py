"""A heat map of class similarities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_hex
from numpy.typing import NDArray

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET

_LEAST = 1e-4
_BRIGHT = 0.42


def shared_range(*matrices: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the least and greatest value off the diagonals, so that maps can be compared."""
    values = np.concatenate([np.asarray(each)[~np.eye(len(each), dtype=bool)] for each in matrices])
    low = max(float(values.min()), _LEAST)
    return low, max(float(values.max()), low * 10)


def heat_map(
    matrix: Sequence[Sequence[float]],
    classes: Sequence[str],
    limits: tuple[float, float],
    description: str,
) -> str:
    """Return fractions by true class (row) and predicted class as SVG, on a logarithmic scale.

    The diagonal is masked; `limits` are what the darkest and the brightest colour stand for.
    """
    values = np.asarray(matrix, dtype=float)
    size = len(classes)
    with canvas(4.7, 4.6) as (figure, axes):
        masked = np.ma.masked_array(values, np.eye(size, dtype=bool)).clip(*limits)
        axes.pcolormesh(
            masked, cmap="cividis", norm=LogNorm(*limits), edgecolors="none", linewidth=0
        )
        _write_numbers(axes, values, limits)
        centres = np.arange(size) + 0.5
        axes.set_xticks(centres, list(classes))
        axes.set_yticks(centres, list(classes))
        axes.tick_params(length=0)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        return to_svg(figure, description)


def _write_numbers(axes: Axes, values: NDArray[np.floating], limits: tuple[float, float]) -> None:
    """Write each fraction in per cent on its cell, light on dark and dark on light.

    Nothing in the row of a class without examples, whose fractions are all 0.
    """
    norm, colors = LogNorm(*limits, clip=True), colormaps["cividis"]
    for row, column in np.ndindex(*values.shape):
        if not values[row].any():
            continue
        fraction = float(values[row, column])
        color = QUIET
        if row != column:
            red, green, blue, _ = colors(float(norm(np.float64(fraction))))
            bright = 0.299 * red + 0.587 * green + 0.114 * blue > _BRIGHT
            color = to_hex("#0b0c0d" if bright else "#f8f9fa")
        axes.text(
            column + 0.5, row + 0.5, _short(fraction), ha="center", va="center", color=color,
            fontsize=8.5,
        )  # fmt: skip


def _short(fraction: float) -> str:
    """Return a fraction in per cent with two figures at most.

    >>> _short(0.123), _short(0.0123), _short(0.0004)
    ('12', '1.2', '0.0')
    """
    return f"{100 * fraction:.0f}" if fraction >= 0.0995 else f"{100 * fraction:.1f}"  # noqa: PLR2004
