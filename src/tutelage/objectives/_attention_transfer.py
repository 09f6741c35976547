"""Attention transfer."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.layers.resolution import sizes
from tutelage.objectives._layers import (
    LayerObjective,
    by_position,
    mean_of_positions,
    same_examples,
)
from tutelage.objectives._tensors import scaled_by_max


def attention_transfer(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """‖A(f_s) − A(f_t)‖² / n, where A(f) is the mean over the channels of f², made of length 1.

    A has one value for each of the n positions, pixels or tokens. It does not depend on the scale
    of a feature, and the widths may differ. A feature that is 0 throughout has A = 0 and no
    gradient.

    The authors' equation 2 has β/2 · ‖·‖, with β = 1000 divided by n; their code has this formula
    times β = 1000.

    Args:
        student: Feature of the student, `[batch, channels, height, width]` or
            `[batch, tokens, d]`.
        teacher: That of the teacher, with as many positions.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`).

    Returns:
        `[batch]`, from 0 to 2/n.

    >>> import torch
    >>> student = torch.tensor([[[3.0], [0.0]]])  # two tokens: only the first is active ...
    >>> attention_transfer(student, torch.tensor([[[0.0, 0.0], [5.0, 5.0]]]))  # only the second
    tensor([1.])
    """
    if student.ndim != teacher.ndim or not sizes(student) or sizes(student) != sizes(teacher):
        raise ModelError(
            "attention is compared between features [batch, tokens, d], or [batch, channels, "
            f"height, width], with the same positions, got {list(student.shape)} (student) and "
            f"{list(teacher.shape)} (teacher); choose layers of one kind, and resize one of the two"
        )
    same_examples(student, teacher)
    (ours, valid), (theirs, _) = (by_position(feature, mask) for feature in (student, teacher))
    gap = _attention(ours) - _attention(theirs)
    return mean_of_positions(gap.square().unsqueeze(1), valid)


class AttentionTransfer(LayerObjective):
    """Attention transfer: where each side's features are active, position by position.

    Zagoruyko and Komodakis 2017, "Paying More Attention to Attention: Improving the Performance of
    Convolutional Neural Networks via Attention Transfer", https://arxiv.org/abs/1612.03928.
    Formula: `tutelage.objectives.attention_transfer`. A usual weight is 1000: the difference is a
    mean over the positions, and the squares of a map's numbers sum to 1.

    Args:
        layer_map: As in `LayerObjective`; it must be given.

    Shape:
        Features `[batch, channels, height, width]` or `[batch, tokens, d]`; widths may differ, and
        where the positions do, the student's feature is resized to the teacher's
        (`layers.resolution.resize`).

    Raises:
        ArgumentError: The map is empty or has invalid layer paths.
    """

    formula = staticmethod(attention_transfer)

    def __init__(self, layer_map: Mapping[str, str]) -> None:
        super().__init__(layer_map)


def _attention(feature: Tensor) -> Tensor:
    """Return each example's map, of length 1, `[batch, positions]`."""
    # Of the sum over the channels: normalization makes it equal to that of the mean.
    return F.normalize(scaled_by_max(feature.square().sum(dim=1), dim=1), dim=1)
