"""Prepare raw images for a model: resize, crop and normalise, in operations of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage._checks import finite_number, integer, positive
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe

Interpolation = Literal["nearest", "bilinear", "bicubic"]

_LARGEST = 10.0  # a raw image lies in [0, 1]; mixed and noisy ones hardly leave it
_IMAGES = 4


class ImageInputs(nn.Module):
    """From raw images, `[batch, channels, height, width]` in [0, 1], to a model's inputs.

    The images are resized, cropped about their centre and normalised, (x·scale − mean) / std. It
    has no parameters or buffers, and can be exported with the model.

    Args:
        resize: `(height, width)`, or the length of the shorter edge; None to leave the size.
        crop: `(height, width)`, or the edge of a square; None to leave the image whole.
        mean: Of each channel, or one for all.
        std: Of each channel, or one for all; positive.
        interpolation: `"bilinear"` and `"bicubic"` are antialiased, as in PIL.
        scale: What the values are multiplied by, such as 255 for a model of bytes.

    Raises:
        ArgumentError: An argument is outside its range.

    >>> ImageInputs(resize=8, crop=6, mean=0.5, std=0.5)(torch.ones(2, 3, 10, 20)).shape
    torch.Size([2, 3, 6, 6])
    """

    def __init__(
        self,
        resize: int | Sequence[int] | None = None,
        crop: int | Sequence[int] | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        interpolation: Interpolation = "bilinear",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if interpolation not in get_args(Interpolation):
            raise ArgumentError(
                f"`interpolation` must be one of {get_args(Interpolation)}, got {interpolation!r}; "
                "choose the one that the model was trained with"
            )
        advice = "such as 224, or (224, 224)"
        self.resize: int | tuple[int, int] | None = None
        if isinstance(resize, int):
            self.resize = integer("resize", resize, 1, advice)
        elif resize is not None:
            self.resize = _pair("resize", resize, advice)
        self.crop = None if crop is None else _pair("crop", crop, advice)
        advice = "one number for each channel"
        self.mean = tuple(finite_number("mean", each, advice) for each in _numbers(mean))
        self.std = tuple(positive("std", each, advice) for each in _numbers(std))
        self.interpolation: Interpolation = interpolation
        self.scale = positive("scale", scale, "255 for a model of bytes, otherwise 1")

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's inputs.

        Raises:
            DataError: The images are not floats in [0, 1], or of other channels.
        """
        self._check(images)
        images = self._resized(images)
        if self.crop is not None:
            images = _centre(images, self.crop)
        mean, std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images * self.scale - mean) / std

    def _check(self, images: Tensor) -> None:
        if not (isinstance(images, Tensor) and images.ndim == _IMAGES):
            raise DataError(
                "raw images must be a tensor [batch, channels, height, width], got "
                f"{describe(images)}; let the data set yield images of one size"
            )
        if not images.is_floating_point():
            raise DataError(
                f"raw images must be floats in [0, 1], got {describe(images)}; divide bytes by 255"
            )
        channels = {len(self.mean), len(self.std), 1} - {1}
        if channels and channels != {images.shape[1]}:
            raise DataError(
                f"raw images must have the model's {max(channels)} channels, got "
                f"{describe(images)}; convert them (a grey image has three equal channels)"
            )
        # On a device, reading a value would wait for it; in a graph, it cannot be read.
        if images.device.type == "cpu" and not torch.compiler.is_compiling() and images.numel():
            largest = float(images.detach().amax())
            if largest > _LARGEST:
                raise DataError(
                    f"raw images must lie in [0, 1], got values up to {largest:g}; divide bytes by "
                    "255, and leave normalisation to the model"
                )

    def _resized(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if self.resize is None:
            return images
        if isinstance(self.resize, tuple):
            size = self.resize
        else:  # rounded down, as torchvision does
            shorter = min(height, width)
            size = (self.resize * height // shorter, self.resize * width // shorter)
        if size == (height, width):
            return images
        if self.interpolation == "nearest":
            return F.interpolate(images, size=size, mode="nearest-exact")
        images = F.interpolate(
            images, size=size, mode=self.interpolation, align_corners=False, antialias=True
        )
        # Bicubic interpolation overshoots at edges; in bytes, as models are trained, it cannot.
        return images.clamp(0, 1) if self.interpolation == "bicubic" else images

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"resize={self.resize}, crop={self.crop}, mean={self.mean}, std={self.std}, "
            f"interpolation={self.interpolation!r}, scale={self.scale:g}"
        )


def _centre(images: Tensor, crop: tuple[int, int]) -> Tensor:
    """Return the middle of images."""
    (height, width), (rows, columns) = images.shape[2:], crop
    if height < rows or width < columns:
        raise DataError(
            f"raw images must not be smaller than the part {list(crop)} that the model takes, got "
            f"{describe(images)}; resize them, or set `resize`"
        )
    top, left = round((height - rows) / 2), round((width - columns) / 2)
    return images[:, :, top : top + rows, left : left + columns]


def _pair(name: str, value: object, advice: str) -> tuple[int, int]:
    items = [value, value] if isinstance(value, int) else value
    if not isinstance(items, Sequence) or len(items) != 2:  # noqa: PLR2004
        raise ArgumentError(f"`{name}` must be (height, width), got {value!r}; {advice}")
    height, width = (integer(name, each, 1, advice) for each in items)
    return height, width


def _numbers(value: object) -> Sequence[object]:
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
