"""Inputs without labels, in a form that stands beside labelled data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from tutelage._checks import whole_number
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe
from tutelage.signals import UNLABELLED

_LABELS = ("labels", "label")


class Unlabelled(Dataset[Any]):
    """A set whose examples have the mark for "no label"; made by `unlabelled`.

    Args:
        inputs: A map-style data set.
        label: What stands for no label.
    """

    def __init__(self, inputs: Any, label: Tensor) -> None:
        self.inputs, self.label = inputs, label

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.inputs)

    def __getitem__(self, place: int) -> Any:
        """Return an example without its label, if it had any."""
        example = self.inputs[place]
        if isinstance(example, Mapping):
            kept = {key: value for key, value in example.items() if key not in _LABELS}
            return {**kept, "labels": self.label.clone()}
        if isinstance(example, (tuple, list)):
            return (example[0], self.label.clone(), *example[2:])
        return example, self.label.clone()


def unlabelled(inputs: Any, values: Sequence[int] | None = None) -> Unlabelled:
    """Return inputs as examples without a label, to be put beside labelled ones.

    Terms that learn from labels average over the labelled examples, those that learn from a teacher
    over all, so that one run takes `ConcatDataset([labelled, unlabelled(more_inputs)])`.

    Args:
        inputs: A map-style data set, whose labels, if there are any, are left out; or a tensor
            `[examples, …]`.
        values: None where labels are class ids (the mark is −100); for values, the shape of one
            label, `()` or `(outputs,)` (the mark is NaN).

    Raises:
        ArgumentError: `values` holds something else than whole numbers from 1 on.
        DataError: `inputs` is no map-style data set.

    >>> labelled = TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> both = torch.utils.data.ConcatDataset([labelled, unlabelled(torch.ones(4, 3))])
    >>> len(both), both[2]
    (6, (tensor([1., 1., 1.]), tensor(-100)))
    """
    if isinstance(inputs, Tensor):
        inputs = TensorDataset(inputs)
    if not (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__")):
        raise DataError(
            "`inputs` must be a data set (with __len__ and __getitem__) or a tensor, got "
            f"{describe(inputs)}; in a stream of examples mark those without a label yourself, by "
            "-100 (NaN for values)"
        )
    if values is None:
        return Unlabelled(inputs, torch.tensor(UNLABELLED))
    advice = "it is the shape of one label, such as (3,) for three outputs"
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ArgumentError(f"`values` must be a tuple of whole numbers, got {values!r}; {advice}")
    shape = [whole_number("values", each, 1, advice) for each in values]
    return Unlabelled(inputs, torch.full(shape, torch.nan))
