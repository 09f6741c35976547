"""The lengths of texts and other sequences, by which examples are put into batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.data import randomness
from tutelage.data.data_fingerprint import undisturbed
from tutelage.data.dataset_fingerprint import load
from tutelage.data.views import show_epoch
from tutelage.errors import DataError
from tutelage.nested import describe, label_key, split_dict
from tutelage.signals import IndexedExample

_READ_TWICE = 8


def lengths_of(name: str, dataset: Any, views: int | None = None) -> Tensor:
    """Return the length of each example's longest input, `[examples]`.

    That is the number of characters of a str, and else the size of the first dimension. All
    examples are loaded once, each under a seed of its own and in the first view, since the lengths
    decide the order, which must be the same in all processes and after a restart. Random states do
    not change.

    Args:
        name: Of the data, for messages.
        dataset: A map-style data set.
        views: The number of views to cycle through, as for `as_source`.

    Raises:
        DataError: An example cannot be loaded or has no length, or another one each time, or all
            have the same.
    """
    places = range(len(dataset))
    with randomness.preserved(), undisturbed(dataset):
        show_epoch(dataset, 0, views)
        lengths = torch.tensor([_length(dataset, place) for place in places])
        for place in places[:: max(1, len(places) // _READ_TWICE)]:
            again = _length(dataset, place)
            if again != lengths[place]:
                raise DataError(
                    f"`group_by_length` needs examples of the same length each time, got example "
                    f"{place} of `{name}` with {int(lengths[place])} and {again}; leave it out, or "
                    "let the data set draw from torch's, numpy's or Python's global generator"
                )
    if lengths.min() == lengths.max():
        raise DataError(
            f"`group_by_length` is for examples of several lengths, got `{name}` whose examples "
            f"all have the length {int(lengths[0])}; leave it out, or give texts that are padded "
            "batch by batch, not all at once"
        )
    return lengths


def _length(dataset: Any, place: int) -> int:
    """Return the length of the longest input of an example."""
    randomness.seed_augmentation(place)
    example = load(dataset, place)
    inner = example.example if isinstance(example, IndexedExample) else example
    if isinstance(inner, Mapping):
        inner, _ = split_dict(inner)
    elif isinstance(inner, (tuple, list)):
        inner = tuple(inner[: label_key(inner)])
    found = _longest(inner)
    if found is None:
        raise DataError(
            "`group_by_length` needs examples that have a length, such as texts or lists of "
            f"tokens, got {describe(example)}; leave it out"
        )
    return found


def _longest(inputs: Any) -> int | None:
    """Return the length of the longest of an example's inputs; None if none has a length."""
    if isinstance(inputs, (Mapping, tuple)):
        parts = inputs.values() if isinstance(inputs, Mapping) else inputs
        return max((each for each in map(_longest, parts) if each is not None), default=None)
    return len(inputs) if hasattr(inputs, "__len__") and getattr(inputs, "ndim", 1) else None
