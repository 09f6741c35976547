"""Data sets of Python, which are used as they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from tutelage.data import as_dataset, unlabelled
from tutelage.data.sets import is_map_style
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import partition
from tutelage.datasets.splits import Splits
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import label_key

_REFERENCE = re.compile(r"(.*\.py|[^\W\d][\w.]*):[^\W\d][\w.]*")
_NAMED = ("hf:", "timm:", "torchvision:")
"""Prefixes of references that look like `module:name`; models' too, of which recipes ask this."""


def is_python(given: object) -> bool:
    """Tell whether data is given as a Python object, or by a reference to one."""
    if isinstance(given, str):
        return _REFERENCE.fullmatch(given) is not None and not given.startswith(_NAMED)
    return not hasattr(given, "__fspath__")


def splits_of_python(
    argument: str, options: DataOptions, load: Callable[[str, str], object] | None
) -> Splits:
    """Return data sets of Python as they are; shares of them are random.

    Raises:
        ArgumentError: An option is for other data.
        DataError: A data set cannot be divided.
    """
    plain = DataOptions(train="")
    other = DataOptions.model_fields.keys() - {"train", "val", "test", "unlabelled", "split"}
    given = [name for name in sorted(other) if getattr(options, name) != getattr(plain, name)]
    of_tables = ("group", "column", "stratified")
    given += [f"split.{name}" for name in of_tables if getattr(options.split, name)]
    if given:
        train = options.train
        got = repr(train) if isinstance(train, str) else type(train).__name__
        raise ArgumentError(
            f"`{argument}.{given[0]}` is for data in files, got {got}; leave it "
            "out and let the data set yield (input, label)"
        )
    sets: dict[str, Any] = {
        name: _loaded(f"{argument}.{name}", each, load) for name, each in options.sources.items()
    }
    if options.shares:
        sets |= _shares(argument, sets["train"], options.shares, options.split.seed)
    labelled, more = sets["train"], sets.pop("unlabelled", None)
    if more is not None:
        if not is_map_style(labelled):
            raise DataError(
                f"`{argument}.train` must be a map-style data set (with __len__ and __getitem__) "
                f"beside `unlabelled`, got {type(labelled).__name__}; let it yield the unlabelled "
                "examples too, marked by −100 (NaN for values)"
            )
        sets["train"] = ConcatDataset([labelled, _without_labels(more, labelled)])
    sizes = [f"{len(each):,} for {name}" for name, each in sets.items() if hasattr(each, "__len__")]
    return Splits(**sets, labelled=labelled, described=f"data sets of Python: {', '.join(sizes)}")


def _without_labels(more: Any, labelled: Any) -> Any:
    """Return data whose labels, if any, are marked as missing, in the form of the labelled data."""
    example = labelled[0]
    at = label_key(example)
    if at is None:
        return more  # there are no labels at all
    label = torch.as_tensor(example[at])
    if label.is_floating_point():
        return unlabelled(more, values=tuple(label.shape))
    return unlabelled(more, ids=tuple(label.shape) or None)


def _loaded(argument: str, given: Any, load: Callable[[str, str], object] | None) -> Any:
    if isinstance(given, str):
        if load is None or not is_python(given):
            raise ArgumentError(
                f"`{argument}` must be a data set of Python, as the training data is, got "
                f"{given!r}; give a reference such as file.py:name"
            )
        given = load(argument, given)
    return as_dataset(argument, given)


def _shares(argument: str, train: Any, shares: dict[str, float], seed: int) -> dict[str, Any]:
    if isinstance(train, IterableDataset) or not hasattr(train, "__len__"):
        raise DataError(
            f"`{argument}.train` must have a length for shares to be taken of it, got "
            f"{type(train).__name__}; give validation and test data of their own"
        )
    rows = partition(range(len(train)), None, shares, seed)
    return {name: Subset(train, each.tolist()) for name, each in rows.items()}
