"""Weights of several teachers, for each example or for all."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import positive
from tutelage.errors import DataError
from tutelage.losses import hard_labels
from tutelage.signals import Batch


def by_label_confidence(outputs: Tensor, batch: Batch) -> Tensor:
    """Weigh teachers by how well they know an example's label.

    w_k = (1 − softmax_k(c_k))/(K − 1) with c_k teacher k's cross-entropy with the label. Equal
    teachers weigh 1/K each, and so do all where there is no label.

    Source: confidence-aware multi-teacher distillation (CA-MKD), Zhang, Chen and Wang 2022,
    https://arxiv.org/abs/2201.00007.

    Args:
        outputs: Logits, `[members, batch, classes]`.
        batch: With class labels.

    Returns:
        `[members, batch]`, with a sum of 1 over the members.

    Raises:
        DataError: The batch has no labels, or they are no class ids.

    >>> logits = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]])
    >>> by_label_confidence(logits, Batch(torch.zeros(1, 3), torch.tensor([0])))
    tensor([[0.9820],
            [0.0180]])
    """
    if batch.labels is None:
        raise DataError(
            "weights by label confidence need labels, got a batch without; give data with labels, "
            "or weigh by_entropy"
        )
    labels, mixture = batch.labels, batch.mixture
    costs = torch.stack([hard_labels(each, labels) for each in outputs])
    if mixture is not None:
        partners = torch.stack([hard_labels(each, mixture.labels) for each in outputs])
        share = mixture.fraction.to(costs.dtype)
        costs = share * costs + (1 - share) * partners
    # Equal costs make equal weights.
    return _less_for_more(costs.where(batch.labelled(), 0))


def by_entropy(outputs: Tensor, batch: Batch) -> Tensor:
    """Weigh teachers by how sure they are of an example, whatever its label.

    w_k = (1 − softmax_k(H_k))/(K − 1) with H_k the entropy of teacher k's probabilities. A teacher
    may be sure and wrong; where labels are known, `by_label_confidence` knows better.

    Source: the form is that of `by_label_confidence`, with the entropy of Kwon, Na, Lee and Kim
    2020, "Adaptive knowledge distillation based on entropy" (ICASSP).

    Args:
        outputs: Logits, `[members, batch, classes]`.
        batch: Is not looked at.

    Returns:
        `[members, batch]`, with a sum of 1 over the members.

    >>> logits = torch.tensor([[[9.0, 0.0]], [[0.0, 0.0]]])
    >>> by_entropy(logits, Batch(torch.zeros(1, 3)))
    tensor([[0.6664],
            [0.3336]])
    """
    del batch
    log_p = F.log_softmax(outputs, dim=-1)
    terms = (log_p.exp() * log_p).masked_fill(log_p == -torch.inf, 0)
    return _less_for_more(-terms.sum(dim=-1))


def inverse_variance(variances: Sequence[float]) -> list[float]:
    """Return weights 1/σ_k² for teachers whose squared error is known, such as on validation data.

    Of all weighted means of estimates whose errors are independent, this has the least variance.
    For teachers that state a variance with each answer, `mean_of_gaussians` weighs by it.

    Args:
        variances: Each teacher's mean squared error, above 0.

    Raises:
        ArgumentError: A variance is not positive and finite.

    >>> inverse_variance([0.5, 2.0])
    [2.0, 0.5]
    """
    advice = "give each teacher's mean squared error on data that it was not trained on"
    return [1 / positive("variances", each, advice) for each in variances]


def _less_for_more(costs: Tensor) -> Tensor:
    """Return (1 − softmax_k(c_k))/(K − 1), `[members, batch]`; 1 for a single member."""
    if len(costs) == 1:
        return torch.ones_like(costs)
    return (1 - costs.softmax(dim=0)) / (len(costs) - 1)
