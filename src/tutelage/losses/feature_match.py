"""The distance between what two layers say."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._features import mean_per_example, same_features
from tutelage.losses._tensors import at_least_float32


def feature_match(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """‖f_s − f_t‖² / n over the n numbers of an example's feature.

    Source: Romero et al. 2015 (FitNets), https://arxiv.org/abs/1412.6550, which halves the sum;
    here it is a mean, so that its size does not depend on the width.

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
    >>> feature_match(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
    tensor([2.])
    """
    same_features(student, teacher)
    squares = F.mse_loss(at_least_float32(student), at_least_float32(teacher), reduction="none")
    return mean_per_example(squares, mask)
