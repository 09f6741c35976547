"""The distance to what a layer of the teacher says, without level and scale."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._directions import directions
from tutelage.losses._features import mean_per_example, same_features
from tutelage.losses._tensors import at_least_float32

_MAPS = 4


def vkd(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of h(f_s − s(f_t)) over the numbers of a feature, with h the Huber error, δ = 1.

    s(f) = (f − mean)/std over the width, that is the channels of a position, with the width in the
    denominator of std: a layer norm without its ε. So each target has the same length, √width,
    whatever the teacher's level and scale there. Where the teacher does not vary the target is 0.

    Source: Miles et al. 2024 (VkD), https://arxiv.org/abs/2403.06213: what their code does for
    classification, where they take the mean over all positions of both sides before. For image
    generation they whiten the teacher's features instead, which a batch smaller than the width
    does not determine; that is not offered here.

    Args:
        student: Feature of the student, `[batch, d]`, `[batch, tokens, d]` or
            `[batch, channels, height, width]`.
        teacher: That of the teacher, of the same shape.
        mask: For `[batch, tokens, d]`: which tokens count, `[batch, tokens]`.

    Returns:
        `[batch]`, zero or more; computed in float32 at least.

    Raises:
        ModelError: The two have different shapes.

    >>> import torch
    >>> vkd(torch.zeros(1, 2), torch.tensor([[700.0, 500.0]]))
    tensor([0.5000])
    """
    same_features(student, teacher)
    dim = 1 if teacher.ndim == _MAPS else teacher.ndim - 1
    target = directions(at_least_float32(teacher), dim)[0] * teacher.shape[dim] ** 0.5
    errors = F.huber_loss(at_least_float32(student), target, reduction="none", delta=1.0)
    return mean_per_example(errors, mask)
