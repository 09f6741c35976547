"""Features of different sizes: one rule for resizing them, and the masks of their positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.nested import describe

_TOKENS, _MAPS = 3, 4


def resize(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Resize the student's tokens, or height and width, to the teacher's number.

    To fewer by averaging, to more by (bi)linear interpolation with pixels as areas
    (`align_corners=False`). Bilinear interpolation to fewer would read some positions only. A
    feature of the teacher's size is returned as it is; others are computed and returned in float32
    at least.

    Args:
        student: `[batch, tokens, d]` or `[batch, channels, height, width]`; anything else is
            returned as it is.
        teacher: Of the same number of dimensions; else the student's is returned as it is.
        mask: The student's valid positions, `[batch, tokens]` or `[batch, height, width]` of
            bool; None for all. A new position is the weighted mean of the valid ones alone, as if
            the others were beyond the border; where there are none, it is 0.
    """
    size = sizes(teacher)
    if student.ndim != teacher.ndim or sizes(student) == size:
        return student
    if student.dtype in (torch.float16, torch.bfloat16):
        student = student.float()
    if mask is None:
        return _resized(student, size)
    valid = over_channels(mask, student)
    weights = _resized(valid.to(student.dtype), size)
    sums = _resized(student.masked_fill(~valid, 0), size)
    return sums / torch.where(weights > 0, weights, 1)


def reached(mask: Tensor, teacher: Tensor) -> Tensor:
    """Return which positions of the teacher's size `resize` makes from at least one valid one."""
    size = sizes(teacher)
    if list(mask.shape[1:]) == size:
        return mask
    return _interpolate(mask.unsqueeze(1).float(), size).squeeze(1) > 0


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Return a mask of another size: valid is where more than half of the covered area is.

    Args:
        mask: `[batch, tokens]` or `[batch, height, width]` of bool.
        size: The number of tokens, or height and width.
    """
    if list(mask.shape[1:]) == list(size):
        return mask
    area = F.interpolate(mask.unsqueeze(1).float(), list(size), mode="area")
    return area.squeeze(1) > 0.5  # noqa: PLR2004


def fitting(mask: Tensor | None, feature: Tensor) -> Tensor | None:
    """Return a mask of this feature's positions, or None if the mask belongs to something else.

    A mask `[batch, height, width]` is brought to the size of a feature
    `[batch, channels, height, width]`. A mask `[batch, tokens]` fits a feature
    `[batch, tokens, d]` of as many tokens.

    Raises:
        ModelError: The mask has another number of dimensions, is not of bool, or that of a map is
            of another number of examples.
    """
    if mask is None:
        return None
    if mask.ndim not in (_TOKENS - 1, _MAPS - 1):
        raise ModelError(
            "a mask of positions must be [batch, tokens] or [batch, height, width], got "
            f"{describe(mask)}; remove dimensions of 1"
        )
    if mask.ndim != feature.ndim - 1:
        return None
    if feature.ndim == _MAPS:
        if len(mask) != len(feature) or mask.dtype != torch.bool:
            raise ModelError(
                "the mask of a feature [batch, channels, height, width] must be [batch, height, "
                f"width] of bool for the same examples, got {describe(mask)} for a feature "
                f"{describe(feature)}; give True for each valid position of each example"
            )
        return resize_mask(mask, sizes(feature))
    if feature.ndim != _TOKENS or mask.shape != feature.shape[:2]:
        return None
    if mask.dtype != torch.bool:
        raise ModelError(
            "the mask of a feature [batch, tokens, d] must be [batch, tokens] of bool, got "
            f"{describe(mask)}; write mask.bool()"
        )
    return mask


def over_channels(mask: Tensor, feature: Tensor) -> Tensor:
    """Return the mask with a dimension of 1 for the channels of the feature."""
    return mask.unsqueeze(1 if feature.ndim == _MAPS else 2)


def sizes(feature: Tensor) -> list[int]:
    """Return the number of tokens, or height and width; nothing for a feature without positions."""
    if feature.ndim == _TOKENS:
        return list(feature.shape[1:2])
    return list(feature.shape[2:]) if feature.ndim == _MAPS else []


def _resized(feature: Tensor, size: list[int]) -> Tensor:
    if feature.ndim == _TOKENS:
        return _interpolate(feature.transpose(1, 2), size).transpose(1, 2)
    return _interpolate(feature, size)


def _interpolate(feature: Tensor, size: list[int]) -> Tensor:
    """Resize what follows the channels, `[batch, channels, …]`, each dimension by its rule."""
    fewer = [min(pair) for pair in zip(size, feature.shape[2:], strict=True)]
    if fewer != list(feature.shape[2:]):
        feature = F.interpolate(feature, fewer, mode="area")
    if fewer == size:
        return feature
    mode = "bilinear" if len(size) > 1 else "linear"
    return F.interpolate(feature, size, mode=mode, align_corners=False)
