"""A metric by class or group, since a good mean may hide a class or a group with a bad one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.evaluation._labelled import labelled
from tutelage.evaluation.metrics import Metric, evaluate_metric

Name = TypeVar("Name", bound=Hashable)


def by_class(output: Tensor, labels: Tensor) -> dict[int, float]:
    """Return each class's recall: the fraction of its examples that are predicted as that class.

    Args:
        output: Logits, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.

    Returns:
        In [0, 1], by class id, ascending; classes without examples are left out.

    Raises:
        DataError: The shapes do not match, no example has a label, or a class id is out of range.
        NonFiniteError: A logit is NaN or infinite.

    >>> import torch
    >>> by_class(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    {0: 1.0, 1: 0.5}
    """
    logits, ids = labelled(output, labels)
    correct = (logits.argmax(dim=1) == ids).double()
    return {each: correct[ids == each].mean().item() for each in ids.unique().tolist()}


def places(names: Iterable[Name]) -> dict[Name, list[int]]:
    """Return the positions of each name, in order of first occurrence."""
    found: dict[Name, list[int]] = {}
    for place, name in enumerate(names):
        found.setdefault(name, []).append(place)
    return found


def by_group(
    metric: Metric,
    output: Tensor,
    labels: Tensor,
    groups: Sequence[str | int] | Tensor,
    name: str = "metric",
) -> dict[str, float]:
    """Return a metric for the examples of each group, by group, in order of first occurrence.

    Args:
        metric: A function of (outputs, labels), or an object with reset, update and compute.
        output: Outputs of the model, `[examples, …]`.
        labels: `[examples, …]`.
        groups: The group of each example, `[examples]`: names or numbers.
        name: The metric's name, for messages.

    Raises:
        ArgumentError: The numbers of groups, labels and outputs differ, or the metric fails.

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
            f"{len(names)} and {len(labels)}; give the group of every example"
        )
    return {
        group: evaluate_metric(name, metric, output[members], labels[members])
        for group, members in places(names).items()
    }
