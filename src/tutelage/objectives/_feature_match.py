"""Feature regression through a projector: a free one (FitNets), or an orthogonal one (VkD)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.layers.resolution import MakeProjector, check_kinds, fitting, projector, width
from tutelage.objectives._layers import (
    LayerObjective,
    mean_of_positions,
    same_features,
    without_padding,
)
from tutelage.objectives._tensors import directions, full_precision

_MAPS = 4


def feature_match(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """‖f_s − f_t‖² / n over the n elements of an example's feature.

    FitNets take half the sum; the mean does not depend on the width.

    Args:
        student: Feature of the student, `[batch, d]`, `[batch, tokens, d]` or
            `[batch, channels, height, width]`.
        teacher: That of the teacher, of the same shape.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`).

    Returns:
        `[batch]`, zero or more.

    >>> import torch
    >>> feature_match(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
    tensor([2.])
    """
    same_features(student, teacher)
    ours, theirs = (without_padding(feature, mask) for feature in (student, teacher))
    errors = F.mse_loss(ours, theirs, reduction="none")
    return mean_of_positions(errors, fitting(mask, teacher), _channels(teacher))


class FeatureMatch(LayerObjective):
    """FitNets' hints: squared difference between projected student features and the teacher's.

    Romero, Ballas, Kahou, Chassang, Gatta and Bengio 2015, "FitNets: Hints for Thin Deep Nets",
    https://arxiv.org/abs/1412.6550. Formula: `tutelage.objectives.feature_match`. A usual weight
    is 100.

    Args:
        layer_map: As in `LayerObjective`.
        projector: As in `LayerObjective`; by default a linear layer or a 1×1 convolution, or the
            identity for equal widths.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`.

    Raises:
        ArgumentError: The map is empty or has invalid layer paths.
    """

    formula = staticmethod(feature_match)

    def __init__(
        self, layer_map: Mapping[str, str] | None = None, projector: MakeProjector = projector
    ) -> None:
        super().__init__(layer_map, projector)


def vkd(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of h(f_s − s(f_t)) over the numbers of a feature, with h the Huber error, δ = 1.

    s(f) = (f − mean)/std over the width (the channels of a position) is a layer norm without its ε.
    So each target has length √width, whatever the teacher's level and scale. Where the teacher does
    not vary, the target is 0.

    This is the authors' code for classification, except that they average both sides over all
    positions first. Their whitening of the teacher's features for image generation is not offered:
    a batch smaller than the width does not determine it.

    Args:
        student: Feature of the student, `[batch, d]`, `[batch, tokens, d]` or
            `[batch, channels, height, width]`.
        teacher: That of the teacher, of the same shape.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`).

    Returns:
        `[batch]`, zero or more.

    >>> import torch
    >>> vkd(torch.zeros(1, 2), torch.tensor([[700.0, 500.0]]))
    tensor([0.5000])
    """
    same_features(student, teacher)
    channels = _channels(teacher)
    ours, theirs = (without_padding(feature, mask) for feature in (student, teacher))
    target = directions(theirs, channels)[0] * width(teacher) ** 0.5
    errors = F.huber_loss(ours, target, reduction="none", delta=1.0)
    return mean_of_positions(errors, fitting(mask, teacher), channels)


class VkD(LayerObjective):
    """VkD: Huber error of orthogonally projected features to the teacher's standardised ones.

    Miles, Elezi and Deng 2024, "VkD: Improving Knowledge Distillation using Orthogonal
    Projections", https://arxiv.org/abs/2403.06213. Formulas: `tutelage.objectives.vkd`, and
    `Orthogonal` for the projector: a matrix with orthonormal columns (rows if the student is
    wider). It preserves distances, so it cannot do the student's learning. It is built from one dry
    run and trained with the student, like the projectors of `FeatureMatch`. A usual weight is 1.

    Args:
        layer_map: As in `LayerObjective`.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`.
    """

    formula = staticmethod(vkd)

    def __init__(self, layer_map: Mapping[str, str] | None = None) -> None:
        super().__init__(layer_map, orthogonal_projector)


def orthogonal_projector(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return an orthogonal projector from the student's width to the teacher's, also if equal.

    >>> orthogonal_projector(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4))
    Orthogonal(3 → 4)
    """
    check_kinds(student, teacher)
    return Orthogonal(width(student), width(teacher), like=student)


class Orthogonal(nn.Module):
    """x ↦ Q x with QᵀQ = 1, which preserves lengths and angles, or QQᵀ = 1 where it narrows.

    Q is the trained matrix. Each forward pass in training makes it orthonormal again, by the Q of
    its QR decomposition with a positive diagonal of R, so that no optimizer's updates accumulate a
    deviation. The gradient is projected onto the tangent space of the orthonormal matrices: this is
    gradient descent on the Stiefel manifold with retraction. (Differentiating through the QR
    decomposition gets stuck near singular matrices, above all for equal widths.)

    Section 3 of the paper reaches the same matrices by a matrix exponential. The retraction is from
    Absil, Mahony and Sepulchre 2008, "Optimization Algorithms on Matrix Manifolds", chapter 4.

    Shape:
        `[…, narrow]` to `[…, wide]`; or `[batch, narrow, height, width]` to
        `[batch, wide, height, width]`.
    """

    def __init__(self, narrow: int, wide: int, like: Tensor | None = None) -> None:
        super().__init__()
        self.narrows = wide < narrow
        shape = (max(narrow, wide), min(narrow, wide))
        self.weight = nn.Parameter(torch.empty(shape) if like is None else like.new_empty(shape))
        nn.init.orthogonal_(self.weight)

    def matrix(self) -> Tensor:
        """Return Q, `[wide, narrow]`, with its gradient in the tangent space."""
        with full_precision(self.weight):
            with torch.no_grad():
                q = _orthonormal(self.weight)
                if self.training:
                    # Past autograd: between two forward passes only rounding errors change.
                    self.weight.data.copy_(q)
            q = q + (self.weight - self.weight.detach())  # the value of Q, the gradient of W
            # The value stays Q, since QᵀQ = 1; the gradient's part off the tangent space cancels.
            q = 1.5 * q - 0.5 * q @ (q.T @ q)
        return q.T if self.narrows else q

    def forward(self, feature: Tensor) -> Tensor:
        """Return the feature in the other width."""
        feature = feature.to(self.weight.dtype)
        with full_precision(feature):
            if feature.ndim == _MAPS:  # channels first
                turned = torch.bmm(self.matrix().expand(len(feature), -1, -1), feature.flatten(2))
                return turned.unflatten(2, feature.shape[2:])
            return feature @ self.matrix().T

    def extra_repr(self) -> str:
        """Show the widths."""
        wide, narrow = self.weight.shape
        return f"{wide} → {narrow}" if self.narrows else f"{narrow} → {wide}"


def _channels(feature: Tensor) -> int:
    """Return the dimension of a feature's channels."""
    return 1 if feature.ndim == _MAPS else feature.ndim - 1


def _orthonormal(matrix: Tensor) -> Tensor:
    """Return Q of the QR decomposition with a non-negative diagonal of R, which is unique."""
    q, r = torch.linalg.qr(matrix)
    return q * torch.where(r.diagonal() < 0, -1, 1)
