"""Data sets joined into one, each example with the name of its domain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from tutelage.data.as_dataset import as_dataset, is_map_style
from tutelage.errors import DataError
from tutelage.nested import describe

_LABELLED = 2


class Domains(Dataset[Any]):
    """Concatenated map-style data sets by domain; made by `domains`."""

    def __init__(self, sets: Mapping[str, Any]) -> None:
        self.sets = dict(sets)
        self._names = list(self.sets)
        self._ends = list(accumulate(len(each) for each in self.sets.values()))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Any:
        """Return an example with its domain, `(inputs, labels, domain)` or a dict with `domain`."""
        position = range(len(self))[index]
        number = bisect_right(self._ends, position)
        name = self._names[number]
        start = self._ends[number - 1] if number else 0
        example = self.sets[name][position - start]
        if isinstance(example, Mapping):
            return {**example, "domain": name}
        if isinstance(example, (tuple, list)) and len(example) >= _LABELLED:
            return (*example, name)
        raise DataError(
            f"examples of the domain {name!r} must be (inputs, labels) or dicts, got "
            f"{describe(example)}; where there are no labels, wrap the set: "
            "tl.data.unlabelled(set)"
        )


def domains(sets: Mapping[str, Any]) -> Domains:
    """Join data sets into one, each example with the name of its domain.

    The result is a data set for `distill`, `fit` or a `DataLoader`. `teachers.Specialists` and
    transforms read the names (`Batch.domain`), and validation metrics are also computed for each
    domain. Your own data may contain the names instead: third in a tuple, `(inputs, labels, name)`,
    or under the key `domain` of a dict.

    Args:
        sets: Map-style data sets (or `(inputs, labels)` as tensors or arrays) by domain, such as
            `{"photo": photos, "sketch": sketches}`. Examples are `(inputs, labels)`,
            `(x1, x2, …, labels)` or dicts.

    Raises:
        DataError: There are none, one is empty or not map-style, or its examples have no labels
            (wrap it in `unlabelled`).

    >>> import torch
    >>> day = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> night = torch.utils.data.TensorDataset(torch.ones(1, 3), torch.tensor([1]))
    >>> both = domains({"day": day, "night": night})
    >>> len(both), both[2]
    (3, (tensor([1., 1., 1.]), tensor(1), 'night'))
    """
    if not isinstance(sets, Mapping) or not sets:
        raise DataError(
            "`domains` must be given data sets by name, got "
            f"{describe(sets)}; write {{'photo': photos, 'sketch': sketches}}"
        )
    found = {}
    for name, each in sets.items():
        if not isinstance(name, str):
            raise DataError(f"a domain must be named by a str, got {name!r}; write {str(name)!r}")
        found[name] = as_dataset(name, each)
        empty = is_map_style(found[name]) and not len(found[name])
        if empty or not is_map_style(found[name]):
            raise DataError(
                f"the domain {name!r} must have a data set (with __len__ and __getitem__) of at "
                f"least one example, got {'none' if empty else type(each).__name__}; wrap tensors "
                "in torch.utils.data.TensorDataset, or leave the domain out"
            )
    return Domains(found)
