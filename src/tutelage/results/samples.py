"""Test examples with the answers of student and teacher, to be looked at."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

NO_CLASS = 255
"""A pixel without an answer or a label."""
LEAST_SCORE = 0.5
"""Of the detected boxes that are shown."""
Box = tuple[float, float, float, float, int]
"""x1, y1, x2, y2 and the class id."""


@dataclass(frozen=True)
class ImageSample:
    """An image with maps of class ids, or with boxes.

    Args:
        image: A PNG, in base64.
        maps: PNGs of class ids in base64, `NO_CLASS` for none, by whose they are.
        boxes: (x1, y1, x2, y2) in pixels and class ids, by whose they are.
    """

    image: str
    maps: dict[str, str] = field(default_factory=dict)
    boxes: dict[str, tuple[Box, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TextSample:
    """A text with the class ids of its words.

    Args:
        words: Those that have a label.
        classes: Class ids of the words, by whose they are.
    """

    words: tuple[str, ...]
    classes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def image_sample(
    image: NDArray[np.floating],
    maps: Mapping[str, NDArray[np.integer]],
    boxes: Mapping[str, tuple[Box, ...]] | None = None,
) -> ImageSample:
    """Return a sample of an image `[1 or 3, height, width]`, shown from least to greatest value.

    By whose they are, there are maps of class ids `[height, width]`, below 0 for none, and boxes.
    """
    low, high = float(image.min()), float(image.max())
    shown = ((image - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    pixels = np.moveaxis(np.broadcast_to(shown, (3, *shown.shape[1:])), 0, -1)
    ids = {
        whose: _png(np.where((each < 0) | (each > NO_CLASS), NO_CLASS, each).astype(np.uint8))
        for whose, each in maps.items()
    }
    return ImageSample(_png(pixels), ids, dict(boxes or {}))


def pixels_of(png: str) -> NDArray[np.uint8]:
    """Return the pixels of a PNG in base64."""
    from PIL import Image  # noqa: PLC0415 - slow to import

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image  # noqa: PLC0415 - slow to import

    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
