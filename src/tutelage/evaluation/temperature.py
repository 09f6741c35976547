"""Temperature scaling: correct a classifier's confidence by one number fitted on held-out data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.evaluation._labelled import labelled
from tutelage.labels import known

_WIDEST = 100.0
_MOST_EXAMPLES = 200_000  # more change T by less than a percent, and images have millions of pixels


def fit_temperature(output: Tensor, labels: Tensor) -> float:
    """Return the T that minimizes the mean of −log softmax(z/T)_y (temperature scaling).

    Dividing logits by T changes no prediction, only the confidence: T > 1 for an overconfident
    model, T < 1 for an underconfident one. Fit it on data that is used neither for training nor for
    testing.

    The loss is convex in β = 1/T, and the root of its derivative E_{softmax(βz)}[z] − z_y is found
    between bounds: s/100 and 100·s, where s is the root mean square of the logits around each
    example's mean; for the lower bound half the median distance of the two largest logits where
    that is less, as with classes that are ruled out by −1e4. The bounds are widened to include 1,
    so that the fit is never worse than no fit. The result is the lower bound if all predictions are
    correct (the best T would be 0), the upper bound if the model is worse than chance, and 1 if all
    logits of each example are equal.

    Of more than 200,000 labelled examples, such as pixels, it is fitted on as many of them, always
    the same.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599.

    Args:
        output: Logits z of held-out examples, `[examples, classes]`, finite.
        labels: Class ids y, `[examples]`; −100 is left out.

    Raises:
        DataError: The shapes do not match, no example has a label, or a class id is out of range.
        NonFiniteError: A logit is NaN or infinite.

    >>> import torch
    >>> logits = torch.tensor([[4.0, 0.0]] * 4)  # 98 % confident, 75 % correct
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)
    3.641
    """
    from scipy.optimize import root_scalar  # noqa: PLC0415 - slow to import

    logits, ids = labelled(*_some(output, labels))
    scale = (logits - logits.mean(dim=1, keepdim=True)).square().mean().sqrt().item()
    if scale == 0:
        return 1.0
    # As differences to the true class, so that its own term is 0 and not a rounding error.
    gaps = logits - logits.gather(1, ids[:, None])

    def slope(log_inverse: float) -> float:
        inverse = math.exp(log_inverse)
        return ((inverse * gaps).softmax(dim=1) * gaps).sum(dim=1).mean().item() / scale

    largest = logits.topk(2, dim=1).values
    near = (largest[:, 0] - largest[:, 1]).median().item() / 2 or scale
    low, high = min(1.0, near / _WIDEST, scale / _WIDEST), max(1.0, scale * _WIDEST)
    if slope(-math.log(low)) <= 0:
        return low
    if slope(-math.log(high)) >= 0:
        return high
    found = root_scalar(slope, bracket=(-math.log(high), -math.log(low)), method="brentq")
    return math.exp(-found.root)


def _some(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return outputs and labels, of many the same random sample of the labelled ones."""
    places = known(labels).nonzero()
    if labels.shape != output.shape[:1] or len(places) <= _MOST_EXAMPLES:
        return output, labels
    drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    rows = places.ravel()[drawn[:_MOST_EXAMPLES].to(places.device)]
    return output[rows], labels[rows]
