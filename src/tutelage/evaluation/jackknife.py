"""Intervals over examples for metrics that are no means over examples: the jackknife."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import describe
from tutelage.tasks.metrics import CountedMetric


def jackknife(counts: Tensor, metric: CountedMetric) -> Tensor:
    """Return n·θ − (n−1)·θ₋ᵢ for each example i, with θ the metric and θ₋ᵢ that without i.

    These pseudo-values take the place of one value for each example, which a metric such as the
    mean IoU does not have. They are shifted so that their mean is θ, and an interval of their mean,
    such as `mean_interval`, or `paired_interval` of the differences of two models, is one over
    examples.

    Tukey 1958, "Bias and confidence in not quite large samples",
    https://doi.org/10.1214/aoms/1177706647; Efron and Stein 1981, "The Jackknife Estimate of
    Variance", https://doi.org/10.1214/aos/1176345462.

    Args:
        counts: `[examples, …]`, of at least two examples with labels; leave those without out:
            their value would be θ and would make the interval narrower.
        metric: Gives the metric of counts.

    Returns:
        `[examples]` of float64.

    Raises:
        DataError: There is only one example.

    >>> import torch
    >>> from tutelage.evaluation import MeanIoU
    >>> counts = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [1, 0]], [[1, 1], [0, 1]]])
    >>> [round(each, 3) for each in jackknife(counts, MeanIoU()).tolist()]
    [0.828, 0.328, 0.494]
    """
    if len(counts) < 2:  # noqa: PLR2004 - one has no spread
        raise DataError(
            f"a jackknife needs at least two examples, got {describe(counts)}; evaluate more"
        )
    total = counts.sum(dim=0)
    return pseudo_values(metric.of_counts(total), metric.of_counts(total - counts))


def pseudo_values(whole: Tensor, others: Tensor) -> Tensor:
    """Return them from a metric of all examples, and of all without each of n parts, `[n]`."""
    return whole + (len(others) - 1) * (others.mean() - others)
