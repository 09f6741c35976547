"""Means of several teachers' outputs, and weights of the teachers.

A mean takes outputs `[members, batch, n]` and weights `[members, batch, 1]` that sum to 1 over the
members (or `[members, 1, 1]`, the same for all examples), and returns `[batch, n]`. A weighting
takes outputs and their batch, and returns weights `[members, batch]`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import DataError, ModelError
from tutelage.objectives import HardLabels
from tutelage.signals import Batch, Signals

_CROSS_ENTROPY = HardLabels()


def mean_of_outputs(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return Σ_k w_k·z_k: for values their mean, for logits the normalised geometric mean.

    For probabilities p_k = softmax(z_k) the softmax of the result is q ∝ Π_k p_k^{w_k}, which
    minimizes Σ_k w_k KL(q‖p_k). A class has probability 0 if any teacher gives it 0.

    >>> mean_of_outputs(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]), torch.full((2, 1, 1), 0.5))
    tensor([[2., 4.]])
    """
    # A logit of −∞ times a weight of 0 would be NaN.
    return (weights * outputs).masked_fill(weights == 0, 0).sum(dim=0)


def mean_of_probabilities(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return log Σ_k w_k·softmax(z_k): logits of the mean of the teachers' probabilities.

    It minimizes Σ_k w_k KL(p_k‖q). A class has probability 0 only if all teachers give it 0.

    Raises:
        ModelError: There is a single column, which is a value.

    >>> logits = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]).log()
    >>> mean_of_probabilities(logits, torch.full((2, 1, 1), 0.5)).exp()
    tensor([[0.7000, 0.3000]])
    """
    if outputs.shape[-1] < 2:  # noqa: PLR2004 - a single value
        raise ModelError(
            "the mean of probabilities needs logits of two classes or more, got one column; for "
            "values use average=mean_of_outputs, for the logit of a binary label "
            "average=mean_of_binary_probabilities"
        )
    return (outputs.log_softmax(dim=-1) + weights.log()).logsumexp(dim=0)


def mean_of_binary_probabilities(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return the logit of Σ_k w_k·σ(z_k), label by label: of the mean of the probabilities.

    For logits of binary labels, where `mean_of_probabilities` would take a softmax over the labels.
    It minimizes Σ_k w_k KL(p_k‖q) for each label.

    >>> logits = torch.tensor([[[0.9, 0.5]], [[0.5, 0.5]]]).logit()
    >>> mean_of_binary_probabilities(logits, torch.full((2, 1, 1), 0.5)).sigmoid()
    tensor([[0.7000, 0.5000]])
    """
    log_weights = weights.log()
    # By the logarithms of both answers' probabilities: 1 − p would round to 0.
    yes, no = ((F.logsigmoid(each) + log_weights).logsumexp(dim=0) for each in (outputs, -outputs))
    return yes - no


def mean_of_gaussians(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return the normalised geometric mean of normal distributions, weighted by precision.

    With precisions λ_k = w_k/σ_k², its mean is Σ_k λ_k·μ_k / Σ_k λ_k and its variance 1/Σ_k λ_k.
    It minimizes Σ_k w_k KL(q‖p_k). The mean of equal distributions is that distribution: teachers
    are not treated as independent evidence.

    Args:
        outputs: `[members, batch, 2·n]`: means, then log-variances.
        weights: As above.

    Raises:
        ModelError: The number of columns is odd.

    >>> first, second = [0.0, 0.0], [4.0, 1.0986]  # variances of 1 and 3
    >>> mean_of_gaussians(torch.tensor([[first], [second]]), torch.full((2, 1, 1), 0.5))
    tensor([[1.0000, 0.4055]])
    """
    if outputs.shape[-1] % 2:
        raise ModelError(
            "Gaussian outputs must be means and then log-variances, an even number of columns, "
            f"got {outputs.shape[-1]}; let all teachers return both"
        )
    means, log_variances = outputs.chunk(2, dim=-1)
    log_precisions = weights.log() - log_variances
    mean = (log_precisions.softmax(dim=0) * means).sum(dim=0)
    return torch.cat([mean, -log_precisions.logsumexp(dim=0)], dim=-1)


def by_label_confidence(outputs: Tensor, batch: Batch) -> Tensor:
    """Weight teachers by their confidence in the true label (CA-MKD).

    w_k = (1 − softmax_k(c_k))/(K − 1) with c_k the cross-entropy of teacher k with the label. The
    weights are 1/K for equal teachers, and for examples without a label.

    Source: Zhang, Chen and Wang 2022, "Confidence-aware multi-teacher knowledge distillation",
    https://arxiv.org/abs/2201.00007.

    Args:
        outputs: Logits, `[members, batch, classes]`.
        batch: With class labels.

    Returns:
        `[members, batch]`, with a sum of 1 over the members.

    Raises:
        DataError: The batch has no labels, or they are not class ids.

    >>> logits = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]])
    >>> by_label_confidence(logits, Batch(torch.zeros(1, 3), torch.tensor([0])))
    tensor([[0.9820],
            [0.0180]])
    """
    if batch.labels is None:
        raise DataError(
            "weights by label confidence need labels, got a batch without; give data with labels, "
            "or use weights=by_entropy"
        )
    # An example without a label costs 0 by every teacher, and equal costs give equal weights.
    return _weights_of(torch.stack([_CROSS_ENTROPY(Signals(x), Signals(), batch) for x in outputs]))


def by_entropy(outputs: Tensor, batch: Batch) -> Tensor:
    """Weight teachers by the entropy of their predictions: low entropy, high weight.

    w_k = (1 − softmax_k(H_k))/(K − 1) with H_k the entropy of teacher k's probabilities. A teacher
    may be confident and wrong; where labels are known, `by_label_confidence` is more reliable.

    Source: the form is that of `by_label_confidence`, with the entropy of Kwon, Na, Lee and Kim
    2020, "Adaptive knowledge distillation based on entropy" (ICASSP).

    Args:
        outputs: Logits, `[members, batch, classes]`.
        batch: Not used.

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
    return _weights_of(-terms.sum(dim=-1))


def _weights_of(costs: Tensor) -> Tensor:
    """Return (1 − softmax_k(c_k))/(K − 1), `[members, batch]`; 1 for a single member."""
    if len(costs) == 1:
        return torch.ones_like(costs)
    return (1 - costs.softmax(dim=0)) / (len(costs) - 1)
