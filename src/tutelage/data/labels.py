"""Data sets with a chosen column of labels, or without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tutelage._checks import integer
from tutelage.data.as_dataset import as_dataset, as_map_style, is_map_style
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe, label_key
from tutelage.signals import UNLABELLED

_BESIDE = ("index", "domain", "row_mask")


class Labelled(Dataset[Any]):
    """A data set with a chosen column of labels; made by `labelled`."""

    def __init__(
        self, dataset: Any, labels: str | int, inputs: tuple[str | int, ...] | None
    ) -> None:
        self.dataset, self.labels, self.inputs = dataset, labels, inputs

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an example as a dict with `labels`, or as `(inputs, labels)`."""
        example: Any = self.dataset[index]
        at: Any = self.labels
        try:
            labels = example[at]
            if isinstance(example, Mapping):
                keys = self.inputs or [key for key in example if key != self.labels]
                extra = {key: example[key] for key in _BESIDE if key in example}
                return {**{key: example[key] for key in keys}, **extra, "labels": labels}
            at = range(len(example))[at]
            chosen = self.inputs or [each for each in range(len(example)) if each != at]
            inputs = tuple(example[each] for each in chosen)
            return (inputs[0] if len(inputs) == 1 else inputs), labels
        except (KeyError, IndexError, TypeError) as error:
            raise DataError(
                f"examples must have labels at {self.labels!r}"
                + (f" and inputs at {list(self.inputs)}" if self.inputs else "")
                + f", got {describe(example)}; give a key of the examples, or a position"
            ) from error


def labelled(
    dataset: Any, labels: str | int, inputs: Sequence[str | int] | None = None
) -> Labelled:
    """Choose the column of a data set that holds the labels, and those of the inputs.

    Not needed for tuples `(inputs, labels)`, nor for dicts with a key `labels`, `label`, `targets`,
    `target` or `y`.

    Args:
        dataset: A map-style data set of dicts or tuples.
        labels: The key of the labels in a dict, or their position in a tuple.
        inputs: The keys or positions of the inputs; None for all other columns.

    Raises:
        ArgumentError: `labels` is neither a key nor a position.
        DataError: `dataset` is not map-style.

    >>> rows = [{"x": torch.zeros(3), "breed": 4, "age": 2}]
    >>> sorted(labelled(rows, labels="breed", inputs=["x"])[0])
    ['labels', 'x']
    """
    if isinstance(labels, bool) or not isinstance(labels, (str, int)):
        raise ArgumentError(
            f"`labels` must be a key of the examples or a position, got {labels!r}; for instance "
            'labelled(dataset, labels="breed")'
        )
    if isinstance(inputs, str) or not (inputs is None or len(inputs)):
        raise ArgumentError(
            f"`inputs` must be a list of keys or positions, got {inputs!r}; for instance "
            'labelled(dataset, labels="breed", inputs=["image"])'
        )
    keys = None if inputs is None else tuple(inputs)
    return Labelled(as_map_style("labelled", dataset), labels, keys)


class Unlabelled(Dataset[Any]):
    """A data set whose examples have a mark, −100 or NaN, as label; made by `unlabelled`."""

    def __init__(self, inputs: Any, label: Tensor) -> None:
        self.inputs, self.label = inputs, label

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        """Return an example with the mark as its label."""
        example, label = self.inputs[index], self.label.clone()
        at = label_key(example)
        if isinstance(example, Mapping):
            kept = {key: value for key, value in example.items() if key != at}
            return {**kept, "labels": label}
        if isinstance(example, (tuple, list)):
            at = len(example) if at is None else at
            return (*example[:at], label, *example[at + 1 :])
        return example, label


def unlabelled(
    inputs: Any, values: Sequence[int] | None = None, ids: Sequence[int] | None = None
) -> Unlabelled:
    """Return a data set whose examples are marked as unlabelled, to be joined with labelled ones.

    Loss terms on labels average over the labelled examples, terms on the teacher over all, so a run
    can train on `ConcatDataset([labelled, unlabelled(more_inputs)])`.

    Args:
        inputs: A map-style data set, whose labels, if any, are replaced; or a tensor or array
            `[examples, …]`.
        values: None if labels are class ids (the mark is −100); for values, and for binary labels
            as floats, the shape of one label, `()` or `(outputs,)` (the mark is NaN).
        ids: Where an example has several class ids, or binary labels as integers, their shape, such
            as `(height, width)`; None for one class id.

    Raises:
        ArgumentError: `values` or `ids` are not positive integers, or both are given.
        DataError: `inputs` is not a map-style data set.

    >>> from torch.utils.data import ConcatDataset, TensorDataset
    >>> labelled = TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> both = ConcatDataset([labelled, unlabelled(torch.ones(4, 3))])
    >>> len(both), both[2]
    (6, (tensor([1., 1., 1.]), tensor(-100)))
    """
    inputs = as_dataset("inputs", inputs)
    if not is_map_style(inputs):
        raise DataError(
            "`inputs` must be a data set (with __len__ and __getitem__) or a tensor, got "
            f"{describe(inputs)}; in an iterable data set mark examples without a label yourself, "
            "by -100 (NaN for values)"
        )
    if values is None:
        advice = "it is the shape of an example's class ids, such as (120, 160) for pixels"
        return Unlabelled(inputs, torch.full(_shape("ids", ids or (), advice), UNLABELLED))
    if ids is not None:
        raise ArgumentError(
            f"`values` and `ids` must not be given together, got {values!r} and {ids!r}; leave out "
            "the one that your labels are not"
        )
    advice = "it is the shape of one label, such as (3,) for three outputs"
    return Unlabelled(inputs, torch.full(_shape("values", values, advice), torch.nan))


def _shape(name: str, given: Sequence[int], advice: str) -> list[int]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ArgumentError(f"`{name}` must be a tuple of integers, got {given!r}; {advice}")
    return [integer(name, each, 1, advice) for each in given]
