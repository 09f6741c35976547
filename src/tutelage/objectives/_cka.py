"""Centered kernel alignment (CKA)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vector_norm

from tutelage.objectives._layers import LayerObjective, same_examples, without_padding
from tutelage.objectives._tensors import full_precision, rounding


def cka(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 − CKA over the batch, where CKA = ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖), the same for every example.

    X and Y are the features of student and teacher, `[batch, d]`, minus their means over the batch;
    the norms are Frobenius norms. CKA is 1 if one is a rotated and scaled copy of the other, and 0
    if no feature of one correlates with any of the other; the widths may differ. It is a property
    of the batch: each example gets the batch's value. In a batch smaller than the widths any two
    sides look similar, so use large batches. If a side does not vary, as in a batch of one, CKA is
    set to 0 and has no gradient.

    Args:
        student: Feature of the student, `[batch, …]`; what follows the batch is flattened.
        teacher: That of the teacher, `[batch, …]`.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`); the others are set to 0 on both sides.

    Returns:
        `[batch]`, from 0 to 1, all equal.

    >>> import torch
    >>> teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    >>> cka(teacher[:, :1], teacher)
    tensor([0.3572, 0.3572, 0.3572])
    """
    same_examples(student, teacher)
    (x, x_mean), (y, y_mean) = _centred(student, mask), _centred(teacher, mask)
    with full_precision(student):
        cross, ours, theirs = _products(_scaled(x, x_mean), _scaled(y, y_mean))
        norms = ours * theirs
    return (1 - cross / torch.where(norms > 0, norms, torch.inf)).expand(len(student))


class CKA(LayerObjective):
    """Centered kernel alignment: 1 − linear CKA of the two sides' features over a batch.

    Kornblith, Norouzi, Lee and Hinton 2019, "Similarity of Neural Network Representations
    Revisited", https://arxiv.org/abs/1905.00414. Formula: `tutelage.objectives.cka`. It is one
    value per batch (of one process); a usual weight is 1. It needs no projector. A batch of one
    example has no alignment and is left out of the mean.

    Args:
        layer_map: As in `LayerObjective`.

    Shape:
        Features or outputs `[batch, …]`, which are flattened; any two widths.
    """

    relates_examples = True
    formula = staticmethod(cka)


def _centred(feature: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return rows minus their mean, and the mean without its gradient."""
    rows = without_padding(feature, mask).flatten(1)
    mean = rows.mean(dim=0)
    return rows - mean, mean.detach()


def _products(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ‖XᵀY‖², ‖XᵀX‖ and ‖YᵀY‖, by the cheaper of two ways."""
    rows, wide, wider = len(x), x.shape[1], y.shape[1]
    if rows * (wide + wider) < wide**2 + wide * wider + wider**2:
        ours, theirs = x @ x.T, y @ y.T  # ‖XᵀY‖² is the product of these, element by element
        return (ours * theirs).sum(), vector_norm(ours), vector_norm(theirs)
    return (x.T @ y).square().sum(), vector_norm(x.T @ x), vector_norm(y.T @ y)


def _scaled(centred: Tensor, mean: Tensor) -> Tensor:
    """Divide rows by their largest magnitude; return 0 if they are only rounding errors."""
    # The divisor needs no gradient, as CKA does not depend on the scale.
    largest = centred.detach().abs().amax()
    noise = rounding(mean) * mean.abs().amax()
    return centred / torch.where(largest > noise, largest, torch.inf)
