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

    Q is the orthogonal factor of the trained matrix W = QR, with the diagonal of R positive, which
    makes it unique and smooth in W. It is orthonormal to rounding after any number of steps of any
    optimiser: nothing is added up. (torch's `parametrizations.orthogonal` drifts in training, by
    5e-6 to 1 in 500 steps, and takes several times as long.)

    Source: Miles et al. 2024 (VkD), https://arxiv.org/abs/2403.06213, section 3, which reaches the
    same matrices by an exponential.

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
        """Return Q, `[wide, narrow]`."""
        with full_precision(self.weight):
            q, r = torch.linalg.qr(self.weight)
            diagonal = r.detach().diagonal()
            q = q * torch.where(diagonal < 0, -1, 1)
        return q.T if self.narrows else q

    def forward(self, feature: Tensor) -> Tensor:
        """Return the feature in the other width."""
        channels = 1 if feature.ndim == _MAPS else -1
        rows = feature.to(self.weight.dtype).movedim(channels, -1)
        with full_precision(rows):
            return (rows @ self.matrix().T).movedim(-1, channels)

    def extra_repr(self) -> str:
        """Show the widths."""
        wide, narrow = self.weight.shape
        return f"{wide} → {narrow}" if self.narrows else f"{narrow} → {wide}"
