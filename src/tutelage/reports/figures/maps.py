"""Images beside maps of their pixels' classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET
from tutelage.reports.samples import NO_CLASS, ImageSample, pixels_of

MOST_NAMED = 24
"""With more classes there is no legend."""

_WIDTH = 9.4  # inches


def maps(samples: Sequence[ImageSample], names: Sequence[str]) -> str:
    """Draw each sample as a row: the image, and each map of classes; return the SVG.

    Args:
        samples: With the same maps.
        names: Of the classes, for the legend.
    """
    whose = list(samples[0].maps)
    found = [
        (pixels_of(each.image), [pixels_of(each.maps[name]) for name in whose]) for each in samples
    ]
    heads = ["image", *whose]
    aspect = max(image.shape[0] / image.shape[1] for image, _ in found)
    used = sorted(
        {int(each) for _, ids in found for part in ids for each in np.unique(part)} - {NO_CLASS}
    )
    lines = -(-len(used) // 6) if len(used) <= MOST_NAMED else 0
    height = len(found) * _WIDTH / len(heads) * aspect + 0.35 + 0.28 * lines
    with canvas(_WIDTH, height) as (figure, axes):
        axes.remove()
        grid: Any = figure.subplots(len(found), len(heads), squeeze=False)
        for row, (image, ids) in zip(grid, found, strict=True):
            row[0].imshow(image)
            for place, part in zip(row[1:], ids, strict=True):
                shown = np.ma.masked_equal(part, NO_CLASS)
                place.imshow(
                    shown, cmap=_COLORS, vmin=-0.5, vmax=_COLORS.N - 0.5, interpolation="nearest"
                )
        for place, head in zip(grid[0], heads, strict=True):
            place.set_title(head)
        for place in grid.flat:
            place.set_axis_off()
        if lines:
            patches = [Patch(color=_COLORS(each % _COLORS.N), label=names[each]) for each in used]
            figure.legend(handles=patches, loc="outside lower center", ncols=6, labelcolor=QUIET)
        shown_by = ", ".join(whose)
        return to_svg(figure, f"{len(found)} images with the classes of their pixels: {shown_by}")


def _distinct() -> ListedColormap:
    """Return 20 colours that can be told apart, on a light page and on a dark one."""
    from matplotlib import colormaps  # noqa: PLC0415 - beside its use

    return ListedColormap([*colormaps["tab20"].colors])  # pyright: ignore[reportAttributeAccessIssue]


_COLORS = _distinct()
