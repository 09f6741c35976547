"""The lengths of texts and other sequences, by which examples are put into batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.data import randomness
from tutelage.errors import DataError, TutelageError, in_short
from tutelage.nested import LABEL_KEYS, describe
from tutelage.signals import IndexedExample


def lengths_of(name: str, dataset: Dataset[Any]) -> Tensor:
    """Return the length of each example's longest input, `[examples]`.

    That is the number of characters of a str, and else the size of the first dimension. All
    examples are loaded once; random states do not change.

    Args:
        name: Of the data, for messages.
        dataset: A map-style data set.

    Raises:
        DataError: An example cannot be loaded or has no length, or all have the same.
    """
    found = []
    with randomness.preserved():
        for place in range(len(dataset)):  # type: ignore[arg-type]
            try:
                found.append(_length(dataset[place]))
            except TutelageError:
                raise
            except Exception as error:
                raise DataError(
                    f"example {place} of `{name}` must be readable, got {in_short(error)}"
                ) from error
    lengths = torch.tensor(found)
    if lengths.min() == lengths.max():
        raise DataError(
            f"`group_by_length` is for examples of several lengths, got `{name}` whose examples "
            f"all have the length {int(lengths[0])}; leave it out, or give texts that are padded "
            "batch by batch, not all at once"
        )
    return lengths


def _length(example: Any) -> int:
    """Return the length of the longest input of an example."""
    inner = example.example if isinstance(example, IndexedExample) else example
    if isinstance(inner, tuple) and len(inner) > 1:
        inner = inner[:-1]
    parts = [inner]
    if isinstance(inner, Mapping):
        parts = [each for key, each in inner.items() if key not in (*LABEL_KEYS, "domain")]
    elif isinstance(inner, tuple):
        parts = list(inner)
    known = [len(each) for each in parts if hasattr(each, "__len__") and getattr(each, "ndim", 1)]
    if not known:
        raise DataError(
            "`group_by_length` needs examples that have a length, such as texts or lists of "
            f"tokens, got {describe(example)}"
        )
    return max(known)
