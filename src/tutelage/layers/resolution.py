"""Features of different sizes and widths: resizing, masks of positions, and projectors.

Projectors are trained with the student and discarded afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.nested import describe

_VECTORS, _TOKENS, _MAPS = 2, 3, 4

MakeProjector = Callable[[Tensor, Tensor], nn.Module]
"""Callable: (student feature, teacher feature) → projector module between their widths."""


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
        ModelError: The mask has another number of dimensions.
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
        return resize_mask(mask, sizes(feature))
    return mask if mask.shape == feature.shape[:2] else None


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


def projector(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return a projector from the width of the student's feature to that of the teacher's.

    A linear layer for `[batch, d]` and `[batch, tokens, d]`, a 1×1 convolution for
    `[batch, channels, height, width]`; where the widths are equal, the identity.

    Source: Romero et al. 2015 (the regressor of FitNets), https://arxiv.org/abs/1412.6550.
    """
    check_kinds(student, teacher)
    narrow, wide = width(student), width(teacher)
    if narrow == wide:
        return nn.Identity()
    where = {"device": student.device, "dtype": student.dtype}
    if student.ndim == _MAPS:
        return nn.Conv2d(narrow, wide, kernel_size=1, **where)
    return nn.Linear(narrow, wide, **where)


def check_kinds(student: Tensor, teacher: Tensor) -> None:
    """Refuse features of different numbers of dimensions, between which there is no projector."""
    kinds = {student.ndim, teacher.ndim}
    if len(kinds) > 1 or not kinds <= {_VECTORS, _TOKENS, _MAPS}:
        raise ModelError(
            "layers that are compared must both give [batch, d], [batch, tokens, d] or [batch, "
            f"channels, height, width], got {describe(student)} (student) and {describe(teacher)} "
            "(teacher); choose other layers, or give a `projector` of your own"
        )


def width(feature: Tensor) -> int:
    """Return the channels of `[batch, channels, height, width]`, else the last dimension."""
    return feature.shape[1] if feature.ndim == _MAPS else feature.shape[-1]


def project(
    module: nn.Module, student: Tensor, teacher: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Project the student's feature to the teacher's width, and resize it to the teacher's size.

    Both steps are linear and commute; the projection is done at the smaller size. `mask` has the
    student's valid positions, as in `resize`: the projector reads 0 at the others.
    """
    if mask is not None:
        student = student.masked_fill(~over_channels(mask, student), 0)
    if prod(sizes(student)) > prod(sizes(teacher)):  # tokens or pixels
        return module(resize(student, teacher, mask).to(student.dtype))
    projected = module(student)
    moved = mask is not None and list(mask.shape[1:]) != sizes(projected)  # by a custom projector
    return resize(projected, teacher, None if moved else mask)
