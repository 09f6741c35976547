"""Means of several teachers' outputs.

Each takes outputs `[members, batch, n]` and weights `[members, batch, 1]` that sum to 1 over the
members (or `[members, 1, 1]`, the same for all examples), and returns `[batch, n]`.
"""

import torch
from torch import Tensor

from tutelage.errors import ModelError


def mean_of_outputs(outputs: Tensor, weights: Tensor) -> Tensor:
    """Σ_k w_k·z_k: of values their mean, of logits the normalised geometric mean.

    For probabilities p_k = softmax(z_k) the softmax of the result is q ∝ Π_k p_k^{w_k}, which of
    all q has the least Σ_k w_k KL(q‖p_k). A class that one teacher rules out is as good as gone.

    >>> mean_of_outputs(torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]]), torch.full((2, 1, 1), 0.5))
    tensor([[2., 4.]])
    """
    # A logit of −∞ times a weight of 0 would be NaN.
    return (weights * outputs).masked_fill(weights == 0, 0).sum(dim=0)


def mean_of_probabilities(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return log Σ_k w_k·softmax(z_k): logits of the mean of the teachers' probabilities.

    Of all q it has the least Σ_k w_k KL(p_k‖q). What one teacher holds possible stays possible.

    Raises:
        ModelError: There is one column, which is a value and no logits.

    >>> logits = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]).log()
    >>> mean_of_probabilities(logits, torch.full((2, 1, 1), 0.5)).exp()
    tensor([[0.7000, 0.3000]])
    """
    if outputs.shape[-1] < 2:  # noqa: PLR2004 - of one class all is certain
        raise ModelError(
            "the mean of probabilities needs logits of two classes or more, got one column; for "
            "values use average=mean_of_outputs"
        )
    return (outputs.log_softmax(dim=-1) + weights.log()).logsumexp(dim=0)


def mean_of_gaussians(outputs: Tensor, weights: Tensor) -> Tensor:
    """Return the normalised geometric mean of normal distributions: sure teachers count for more.

    With precisions λ_k = w_k/σ_k², its mean is Σ_k λ_k·μ_k / Σ_k λ_k, weighed by inverse variance,
    and its variance 1/Σ_k λ_k. Of all distributions q it has the least Σ_k w_k KL(q‖p_k), and the
    mean of equal ones is that one: no teacher is taken for independent evidence.

    Args:
        outputs: `[members, batch, 2·n]`: means, then logarithms of variances.
        weights: As above.

    Raises:
        ModelError: The number of columns is odd.

    >>> sure, unsure = [0.0, 0.0], [4.0, 1.0986]  # variances of 1 and 3
    >>> mean_of_gaussians(torch.tensor([[sure], [unsure]]), torch.full((2, 1, 1), 0.5))
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
