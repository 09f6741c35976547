"""Images beside maps of their pixels' classes, or with boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from tutelage.reports.figures._canvas import canvas, to_svg
from tutelage.reports.figures._palette import QUIET
from tutelage.reports.samples import NO_CLASS, ImageSample, pixels_of

MOST_NAMED = 24
"""With more classes there is no legend."""

_WIDTH = 9.4  # inches
_TAB20: Any = colormaps["tab20"]
# 20 colours that can be told apart, on a light page and on a dark one: strong first.
_COLORS = ListedColormap([*_TAB20.colors[::2], *_TAB20.colors[1::2]])


def maps(samples: Sequence[ImageSample], named: Callable[[int], str]) -> str:
    """Draw each sample as a row: the image, and each map of classes, named in a legend, as SVG."""
    whose = list(samples[0].maps)
    found = [
        (pixels_of(each.image), [pixels_of(each.maps[name]) for name in whose]) for each in samples
    ]
    used = {int(each) for _, ids in found for part in ids for each in np.unique(part)}
    images = [image for image, _ in found]
    with _grid(images, ["image", *whose], used - {NO_CLASS}, named) as (figure, grid):
        for row, (image, ids) in zip(grid, found, strict=True):
            row[0].imshow(image)
            for place, part in zip(row[1:], ids, strict=True):
                shown = np.ma.masked_equal(part, NO_CLASS)
                place.imshow(
                    shown, cmap=_COLORS, vmin=-0.5, vmax=_COLORS.N - 0.5, interpolation="nearest"
                )
        shown_by = ", ".join(whose)
        return to_svg(figure, f"{len(found)} images with the classes of their pixels: {shown_by}")


def boxes(samples: Sequence[ImageSample], named: Callable[[int], str]) -> str:
    """Draw each sample as a row: the image with each side's boxes, named in a legend, as SVG."""
    whose = list(samples[0].boxes)
    images = [pixels_of(each.image) for each in samples]
    used = {box[4] for each in samples for found in each.boxes.values() for box in found}
    with _grid(images, whose, used, named) as (figure, grid):
        for row, image, sample in zip(grid, images, samples, strict=True):
            for place, side in zip(row, whose, strict=True):
                place.imshow(image)
                for left, top, right, bottom, label in sample.boxes[side]:
                    size = right - left, bottom - top
                    color = _COLORS(label % _COLORS.N)
                    place.add_patch(Rectangle((left, top), *size, fill=False, color=color, lw=1.2))
        return to_svg(figure, f"{len(samples)} images with boxes: {', '.join(whose)}")


@contextmanager
def _grid(
    images: Sequence[NDArray[np.uint8]],
    heads: Sequence[str],
    used: set[int],
    named: Callable[[int], str],
) -> Iterator[tuple[Any, Any]]:
    """Give a figure and its axes, a row for each image and a column for each head.

    With a legend of the classes that are used, if they are few.
    """
    aspect = max(image.shape[0] / image.shape[1] for image in images)
    lines = -(-len(used) // 6) if len(used) <= MOST_NAMED else 0
    height = len(images) * _WIDTH / len(heads) * aspect + 0.35 + 0.28 * lines
    with canvas(_WIDTH, height) as (figure, axes):
        axes.remove()
        grid: Any = figure.subplots(len(images), len(heads), squeeze=False)
        for place, head in zip(grid[0], heads, strict=True):
            place.set_title(head)
        for place in grid.flat:
            place.set_axis_off()
        if lines:
            patches = [
                Patch(color=_COLORS(each % _COLORS.N), label=named(each)) for each in sorted(used)
            ]
            figure.legend(handles=patches, loc="outside lower center", ncols=6, labelcolor=QUIET)
        yield figure, grid
