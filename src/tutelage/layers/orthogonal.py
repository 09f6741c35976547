"""A projector that rotates: from the student's width to the teacher's, with distances kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tutelage.layers.projector import check_kinds, width
from tutelage.losses._tensors import at_least_float32, full_precision

_MAPS = 4


def orthogonal_projector(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return an orthogonal map from the student's width to the teacher's, also if they are equal.

    Args:
        student: A feature of the student, for its shape, device and dtype.
        teacher: The feature of the teacher that it is to be compared with.

    Raises:
        ModelError: The two are not of one kind.

    >>> orthogonal_projector(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4))
    Orthogonal(3 → 4)
    """
    check_kinds(student, teacher)
    like = at_least_float32(student[:1])
    return Orthogonal(width(student), width(teacher), device=like.device, dtype=like.dtype)


class Orthogonal(nn.Module):
    """x ↦ Q x with QᵀQ = 1, or QQᵀ = 1 where it narrows: lengths and angles are kept, or fall.

    Q is the trained matrix itself, which is made orthonormal again before each step of training, by
    the Q of its QR factors with the diagonal of R positive: what an optimiser adds to it cannot add
    up, whichever it is. Gradients are those along the matrices that are orthonormal (the gradient
    less its part that would stretch), so this is gradient descent on a manifold with retractions.
    Learning through the QR factors instead gets stuck near singular matrices, above all where the
    two widths are equal.

    Sources: Miles et al. 2024 (VkD), https://arxiv.org/abs/2403.06213, section 3, which reaches the
    same matrices by an exponential; Absil, Mahony and Sepulchre 2008, "Optimization Algorithms on
    Matrix Manifolds", chapter 4, for the retraction.

    Args:
        narrow: Width of what comes in.
        wide: Width of what goes out.
        device: Where the matrix is.
        dtype: Its type, of 32 bits at least.

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
        """Return Q, `[wide, narrow]`, with the gradient along the matrices that are orthonormal."""
        with full_precision(self.weight):
            with torch.no_grad():
                q = _orthonormal(self.weight)
                if self.training:
                    # Past autograd's count of versions: two passes in a row change roundings only.
                    self.weight.data.copy_(q)
            q = q + (self.weight - self.weight.detach())  # as a number Q, for the gradient W
            # As a number Q again, since QᵀQ = 1; but of the gradient, what would stretch cancels.
            q = 1.5 * q - 0.5 * q @ (q.T @ q)
        return q.T if self.narrows else q

    def forward(self, feature: Tensor) -> Tensor:
        """Return the feature in the other width."""
        feature = feature.to(self.weight.dtype)
        with full_precision(feature):
            if feature.ndim == _MAPS:  # in the layout that maps have
                turned = torch.bmm(self.matrix().expand(len(feature), -1, -1), feature.flatten(2))
                return turned.unflatten(2, feature.shape[2:])
            return feature @ self.matrix().T

    def extra_repr(self) -> str:
        """Show the widths."""
        wide, narrow = self.weight.shape
        return f"{wide} → {narrow}" if self.narrows else f"{narrow} → {wide}"


def _orthonormal(matrix: Tensor) -> Tensor:
    """Return Q of the QR factors with no negative number on R's diagonal, which makes it unique."""
    q, r = torch.linalg.qr(matrix)
    return q * torch.where(r.diagonal() < 0, -1, 1)
