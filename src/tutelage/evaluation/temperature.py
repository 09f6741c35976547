"""The one number that mends a classifier's confidence: a temperature fitted on held-out data."""

from __future__ import annotations

import math

from torch import Tensor

from tutelage.evaluation._labelled import labelled

_WIDEST = 100.0


def fit_temperature(output: Tensor, labels: Tensor) -> float:
    """Return the T that minimises the mean of −log softmax(z/T)_y (temperature scaling).

    Dividing by T changes no answer, only how confident the model is: T > 1 where it was too
    sure, T < 1 where it was not sure enough. Fit it on data that neither trained nor tests.

    The loss is convex in β = 1/T, with the derivative E_{softmax(βz)}[z] − z_y, whose root is taken
    between bounds: T stays within a hundredth and a hundred times of s, the root mean square of the
    logits around each example's mean (in either direction as far as 1, if that lies outside, so
    that a fit never does worse than none). The lower bound is returned where all is right, for
    which there is no best T, and the upper one where chance does better; where all logits of each
    example are equal, so that no T matters, it is 1.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Args:
        output: Logits z of held-out examples, `[examples, classes]`, finite.
        labels: Class ids y, `[examples]`; −100 is left out.

    Raises:
        DataError: Outputs and labels do not fit each other, or no example has a label.
        NonFiniteError: A logit is NaN or infinite.

    >>> import torch
    >>> logits = torch.tensor([[4.0, 0.0]] * 4)  # says 98 %, and is right in 75 %
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)
    3.641
    """
    from scipy.optimize import root_scalar  # noqa: PLC0415 - loaded where used, it takes its time

    logits, ids = labelled(output, labels)
    scale = (logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt().item()
    if scale == 0:
        return 1.0
    # As differences to the true class, so that its own term is 0 and not a rounding error.
    gaps = logits - logits.gather(1, ids[:, None])

    def slope(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        return ((inverse * gaps).softmax(dim=1) * gaps).sum(dim=1).mean().item() / scale

    low, high = min(1.0, scale / _WIDEST), max(1.0, scale * _WIDEST)
    if slope(-math.log(low)) <= 0:
        return low
    if slope(-math.log(high)) >= 0:
        return high
    found = root_scalar(slope, bracket=(-math.log(high), -math.log(low)), method="brentq")
    return math.exp(-found.root)
