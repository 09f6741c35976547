"""An orthogonal projector from the student's width to the teacher's: it preserves distances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.layers.projector import check_kinds, width
from tutelage.losses._tensors import at_least_float32, full_precision

_MAPS = 4


def orthogonal_projector(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return an orthogonal projector from the student's width to the teacher's, also if equal.

    Args:
        student: A feature of the student, for its shape, device and dtype.
        teacher: The feature of the teacher that it is to be compared with.

    Raises:
        ModelError: The two have different numbers of dimensions.

    >>> orthogonal_projector(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4))
    Orthogonal(3 → 4)
    """
    check_kinds(student, teacher)
    like = at_least_float32(student[:1])
    return Orthogonal(width(student), width(teacher), device=like.device, dtype=like.dtype)


class Orthogonal(nn.Module):
    """x ↦ Q x with QᵀQ = 1, which preserves lengths and angles, or QQᵀ = 1 where it narrows.

    Q is the trained matrix itself. Before each training step it is made orthonormal again, by the Q
    of its QR decomposition with a positive diagonal of R, so that updates of any optimiser cannot
    accumulate a deviation. The gradient is projected onto the tangent space of the orthonormal
    matrices: this is gradient descent on the Stiefel manifold with retraction. Differentiating
    through the QR decomposition instead gets stuck near singular matrices, above all where the two
    widths are equal.

    Sources: Miles et al. 2024 (VkD), https://arxiv.org/abs/2403.06213, section 3, which reaches the
    same matrices by a matrix exponential; Absil, Mahony and Sepulchre 2008, "Optimization
    Algorithms on Matrix Manifolds", chapter 4, for the retraction.

    Args:
        narrow: Width of the input.
        wide: Width of the output.
        device: Of the matrix.
        dtype: Of the matrix, with at least 32 bits.

    Shape:
        `[…, narrow]` to `[…, wide]`; or `[batch, narrow, height, width]` to
        `[batch, wide, height, width]`.
    """

    def __init__(
        self,
        narrow: int,
        wide: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.narrows = wide < narrow
        shape = (max(narrow, wide), min(narrow, wide))
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        nn.init.orthogonal_(self.weight)

    def matrix(self) -> Tensor:
        """Return Q, `[wide, narrow]`, with its gradient in the tangent space."""
        with full_precision(self.weight):
            with torch.no_grad():
                q = _orthonormal(self.weight)
                if self.training:
                    # Not seen by autograd: between two forward passes only roundings change.
                    self.weight.data.copy_(q)
            q = q + (self.weight - self.weight.detach())  # the value of Q, the gradient of W
            # The value stays Q, since QᵀQ = 1; the part of the gradient off the tangent cancels.
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


def _orthonormal(matrix: Tensor) -> Tensor:
    """Return Q of the QR decomposition with a non-negative diagonal of R, which is unique."""
    q, r = torch.linalg.qr(matrix)
    return q * torch.where(r.diagonal() < 0, -1, 1)
