"""A metric by class or group: a good mean may hide a class or a group that does badly."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.evaluation._labelled import labelled
from tutelage.evaluation.metrics import Metric, evaluate_metric


def by_class(output: Tensor, labels: Tensor) -> dict[int, float]:
    """Return each class's recall: the fraction of its examples whose largest logit is its own.

    Args:
        output: Logits, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.

    Returns:
        In [0, 1], by class id, ascending; classes that do not occur are left out.

    Raises:
        DataError: Outputs and labels do not fit each other, or no example has a label.
        NonFiniteError: A logit is NaN or infinite.

    >>> import torch
    >>> by_class(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    {0: 1.0, 1: 0.5}
    """
    logits, ids = labelled(output, labels)
    right = (logits.argmax(dim=1) == ids).double()
    return {each: right[ids == each].mean().item() for each in ids.unique().tolist()}


def by_group(
    metric: Metric,
    output: Tensor,
    labels: Tensor,
    groups: Sequence[str | int] | Tensor,
    name: str = "metric",
) -> dict[str, float]:
    """Return a metric on the examples of each group alone.

    Args:
        metric: A function of (outputs, labels), or an object with reset, update and compute.
        output: Outputs of the model, `[examples, …]`.
        labels: What the metric compares it with, `[examples, …]`.
        groups: What each example belongs to, `[examples]`: names or numbers.
        name: The metric's name, for messages.

    Returns:
        By group, in the order in which they first come.

    Raises:
        ArgumentError: There are not as many groups and labels as outputs, or the metric is none.

    >>> import torch
    >>> from tutelage.evaluation import accuracy
    >>> logits, labels = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    >>> by_group(accuracy, logits, labels, ["day", "night", "day"])
    {'day': 1.0, 'night': 0.0}
    """
    names = [str(each) for each in (groups.tolist() if isinstance(groups, Tensor) else groups)]
    if not len(names) == len(output) == len(labels):
        raise ArgumentError(
            f"`groups` and `labels` must have one entry for each of {len(output)} outputs, got "
            f"{len(names)} and {len(labels)}; name the group of every example"
        )
    rows: dict[str, list[int]] = {}
    for place, each in enumerate(names):
        rows.setdefault(each, []).append(place)
    return {
        each: evaluate_metric(name, metric, output[places], labels[places])
        for each, places in rows.items()
    }
