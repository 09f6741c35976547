"""Projectors from the student's width to the teacher's, trained with the student and discarded."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.resolution import over_channels, resize, sizes
from tutelage.nested import describe

MakeProjector = Callable[[Tensor, Tensor], nn.Module]
"""Callable: (student feature, teacher feature) → projector module between their widths."""

_VECTORS, _TOKENS, _MAPS = 2, 3, 4


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
    # Under autocast features have fewer bits than what is trained.
    autocast = torch.is_autocast_enabled(student.device.type)
    dtype = torch.promote_types(student.dtype, torch.float32) if autocast else student.dtype
    where = {"device": student.device, "dtype": dtype}
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
