"""Relational knowledge distillation (RKD)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.errors import ArgumentError
from tutelage.objectives._layers import LayerObjective, same_examples, without_padding
from tutelage.objectives._tensors import full_precision, scaled_by_max

# Examples closer than this fraction of the mean distance are treated as equal: the direction
# between them is rounding error, and its gradient would explode.
_NEAR = 1e-5


def rkd(
    student: Tensor,
    teacher: Tensor,
    distance: float = 25.0,
    angle: float = 50.0,
    mask: Tensor | None = None,
) -> Tensor:
    """λ_d · mean_j h(d^s_ij − d^t_ij) + λ_a · mean_jk h(cos^s_ijk − cos^t_ijk) for example i.

    d_ij is the distance between the examples i and j over the mean distance of the batch, cos_ijk
    the cosine of the angle at i between j and k, h the Huber error with δ = 1. Only pairwise
    relations within the batch matter: neither side's translation, rotation or
    (positive) scale changes it, and the widths may differ. The means run over the whole batch,
    including i, as in the authors' code, so the mean over the examples is their loss.

    Angles take batch² · d + batch³ values of memory, so d should be that of an embedding. Between
    examples that coincide the cosine is 0, without a gradient; a batch of one has loss 0.

    Args:
        student: Feature of the student, `[batch, …]`; what follows the batch is flattened.
        teacher: That of the teacher, `[batch, …]`.
        distance: λ_d ≥ 0.
        angle: λ_a ≥ 0; with 0 no angles are computed.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`); the others are set to 0 on both sides.

    Returns:
        `[batch]`, zero or more.

    >>> import torch
    >>> teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> rkd(2 * teacher.flip(1) + 7, teacher).round(decimals=6)
    tensor([0., 0., 0.])
    >>> rkd(torch.tensor([[0.0], [1.0], [2.0]]), teacher)
    tensor([ 6.5972, 13.2639,  2.3056])
    """
    same_examples(student, teacher)
    with full_precision(student):
        lengths, ours = _relations(student, mask)
        expected, theirs = _relations(teacher, mask)
        values = distance * _huber(lengths, expected).mean(dim=1)
        if angle:
            cosines, wanted = (torch.bmm(each, each.mT) for each in (ours, theirs))
            values = values + angle * _huber(cosines, wanted).mean(dim=(1, 2))
    return values


class RKD(LayerObjective):
    """Relational knowledge distillation: distances and angles between the examples of a batch.

    Park, Kim, Lu and Cho 2019, "Relational Knowledge Distillation",
    https://arxiv.org/abs/1904.05068. Formula: `tutelage.objectives.rkd`. It needs no projector. The
    relations are those within one batch of one process; time and memory grow with the third power
    of its size. A batch of one example has no relations and is left out of the mean.

    Args:
        layer_map: As in `LayerObjective`.
        distance: Weight of the distances, zero or more.
        angle: Weight of the angles, zero or more; 0 saves their cost.

    Shape:
        Features or outputs `[batch, …]`, which are flattened; any two widths.
    """

    relates_examples = True
    formula = staticmethod(rkd)

    def __init__(
        self,
        layer_map: Mapping[str, str] | None = None,
        distance: float = 25.0,
        angle: float = 50.0,
    ) -> None:
        super().__init__(layer_map)
        self.distance = not_negative("distance", distance, "the authors' weight is 25")
        self.angle = not_negative("angle", angle, "the authors' weight is 50")
        if not self.distance and not self.angle:
            raise ArgumentError(
                "`distance` or `angle` must be positive, got 0 for both; the authors' weights are "
                "25 and 50"
            )


def _relations(feature: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return distances over their mean, `[batch, batch]`, and unit vectors, `[batch, batch, d]`."""
    rows = scaled_by_max(without_padding(feature, mask).flatten(1), dim=(0, 1))
    differences = rows.unsqueeze(0) - rows.unsqueeze(1)
    lengths = torch.linalg.vector_norm(differences, dim=2)
    mean = lengths.sum() / max(len(rows) * (len(rows) - 1), 1)
    relative = lengths / torch.where(mean > 0, mean, 1)
    apart = relative.detach() > _NEAR
    inverse = torch.where(apart, 1 / torch.where(apart, lengths, 1), 0)
    return relative, differences * inverse.unsqueeze(2)


def _huber(ours: Tensor, theirs: Tensor) -> Tensor:
    return F.huber_loss(ours, theirs, reduction="none", delta=1.0)
