"""A model that makes images much larger than the data has them."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from tutelage.datasets import Splits
from tutelage.layers import ImageInputs, Prepared

_ENLARGED = 1.5


def note_enlarged(argument: str, model: Any, data: Splits) -> None:
    """Warn, once, of a model that takes the time for large images and is given small ones."""
    prepare = model.prepare if isinstance(model, Prepared) else None
    if data.form != "image" or not isinstance(prepare, ImageInputs) or prepare.resize is None:
        return
    first: Any = data.train[0]
    height, width = (first[0] if isinstance(first, tuple) else first).shape[-2:]
    edge = prepare.resize if isinstance(prepare.resize, int) else min(prepare.resize)
    if edge > _ENLARGED * min(height, width):
        _warn_once(
            f"`{argument}` enlarges images of {height} × {width} pixels to {edge}, which takes "
            f"time and adds no detail: write image_size: {edge} if the files are larger, or, for "
            f"a model of timm or torchvision, ?size={min(height, width)} behind its name, with "
            "which it runs on images as they are"
        )


@cache
def _warn_once(message: str) -> None:
    logging.getLogger("tutelage.recipes").warning(message)
