"""Data sets joined into one whose examples say where they come from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from torch.utils.data import Dataset

from tutelage.errors import DataError
from tutelage.nested import describe

_LABELLED = 2


class Domains(Dataset[Any]):
    """Sets after each other, each example with the name of its domain; made by `domains`.

    Args:
        sets: Map-style data sets by the name of their domain.
    """

    def __init__(self, sets: Mapping[str, Any]) -> None:
        self.sets = dict(sets)
        self._names = list(self.sets)
        self._ends = list(accumulate(len(each) for each in self.sets.values()))

    def __len__(self) -> int:
        """Return the number of examples of all domains."""
        return self._ends[-1]

    def __getitem__(self, place: int) -> Any:
        """Return an example with its domain, `(inputs, labels, domain)` or a dict with `domain`."""
        place = range(len(self))[place]
        number = bisect_right(self._ends, place)
        name = self._names[number]
        start = self._ends[number - 1] if number else 0
        return _tagged(self.sets[name][place - start], name)


def domains(sets: Mapping[str, Any]) -> Domains:
    """Join data sets into one whose examples say which domain they belong to.

    It is given to `distill`, `fit` or a `DataLoader` as any other set. Batches carry the names
    (`Batch.domain`); `teachers.Specialists` and transforms go by them, and validation figures are
    told for each domain too. Data of your own may carry names without this: a third item of a
    tuple, `(inputs, labels, name)`, or the key `domain` of a dict.

    Args:
        sets: Map-style data sets by the name of their domain, such as
            `{"photo": photos, "sketch": sketches}`. Examples are `(inputs, labels)` or dicts.

    Raises:
        DataError: There are none, one is empty or no map-style data set, or its examples have no
            labels (`unlabelled` gives them the mark for none).

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
    for name, each in sets.items():
        if not isinstance(name, str):
            raise DataError(f"a domain must be named by a str, got {name!r}; write {str(name)!r}")
        sized = hasattr(each, "__getitem__") and hasattr(each, "__len__")
        if not sized or not len(each):
            raise DataError(
                f"the domain {name!r} must have a data set (with __len__ and __getitem__) of at "
                f"least one example, got {'none' if sized else type(each).__name__}; wrap tensors "
                "in torch.utils.data.TensorDataset, or leave the domain out"
            )
    return Domains(sets)


def _tagged(example: Any, name: str) -> Any:
    if isinstance(example, Mapping):
        return {**example, "domain": name}
    if isinstance(example, (tuple, list)) and len(example) == _LABELLED:
        return (*example, name)
    raise DataError(
        f"examples of the domain {name!r} must be (inputs, labels) or dicts, got "
        f"{describe(example)}; where there are no labels, wrap the set: tl.data.unlabelled(set)"
    )
