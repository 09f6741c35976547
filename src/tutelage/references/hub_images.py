"""The preprocessing of an image processor of transformers, in operations of PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError, ModelError
from tutelage.layers import ImageInputs
from tutelage.layers.image_inputs import Interpolation
from tutelage.references.hub_files import HubFiles

_INTERPOLATION: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # of PIL
_SHAPES = ((80, 61), (300, 420))
_TOLERANCE = 0.05  # rounding to bytes between the steps


def image_inputs(files: HubFiles) -> ImageInputs:
    """Return the preprocessing of a model's image processor, compared with it on two images.

    Raises:
        ModelError: The two differ, as where images are padded.
    """
    with files.reported():
        processor = files.hf.AutoImageProcessor.from_pretrained(files.name, **files.settings)
        settings = processor.to_dict()
    inputs = _inputs(settings)
    for height, width in _SHAPES:
        # Smooth, since interpolation in bytes cuts off what exceeds them at sharp edges.
        rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
        image = torch.stack(
            torch.broadcast_tensors(rows[:, None], columns, rows[:, None] * columns)
        )
        pixels = (image * 255).round().byte()
        with files.reported():
            expected = processor(pixels, return_tensors="pt")["pixel_values"]
        if not _equal(inputs, pixels, expected):
            raise ModelError(
                f"`{files.reference.argument}` {files.reference.text!r} must prepare images by "
                f"resizing, cropping and normalising, got {type(processor).__name__} with other "
                "steps; load it in your own code, with tl.layers.Prepared: file.py:function"
            )
    return inputs


def _equal(inputs: ImageInputs, pixels: Tensor, expected: Tensor) -> bool:
    try:
        found = inputs(pixels[None].float() / 255)
    except DataError:  # the image is too small for the crop, and the processor pads it
        return False
    reach = _TOLERANCE * max(1.0, float(expected.abs().amax()))
    return found.shape == expected.shape and bool((found - expected).abs().amax() <= reach)


def _inputs(settings: Mapping[str, Any]) -> ImageInputs:
    """Return the preprocessing that an image processor's settings describe."""
    resize: Any = _size(settings.get("size")) if settings.get("do_resize") else None
    crop = _size(settings.get("crop_size")) if settings.get("do_center_crop") else None
    fraction = settings.get("crop_pct")
    if fraction and isinstance(resize, int):  # ConvNeXT: small images have a margin
        small = resize < 384  # noqa: PLR2004 - its own constant
        crop, resize = (resize, resize), (int(resize / fraction) if small else (resize, resize))
    normalises = settings.get("do_normalize")
    scale = float(settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale") else 1.0
    return ImageInputs(
        resize,
        crop,
        settings["image_mean"] if normalises else 0.0,
        settings["image_std"] if normalises else 1.0,
        _INTERPOLATION.get(int(settings.get("resample") or 0), "bilinear"),
        scale=scale * 255,  # raw images lie in [0, 1]
    )


def _size(value: Any) -> Any:
    """Return a size as `ImageInputs` has it: `(height, width)`, or the shorter edge."""
    if isinstance(value, Mapping) and "shortest_edge" in value and "longest_edge" not in value:
        return int(value["shortest_edge"])
    if isinstance(value, Mapping) and {"height", "width"} <= value.keys():
        return int(value["height"]), int(value["width"])
    return None
