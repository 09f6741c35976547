"""Batches of examples as `default_collate` makes them, with lists of numbers as tensors.

Targets that are dicts, such as boxes, stay a list, and texts are padded to one length.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from tutelage.data.padding import padded
from tutelage.data.word_labels import with_labels_of_words
from tutelage.errors import DataError
from tutelage.nested import PerExample, describe, label_key
from tutelage.signals import IndexedExample


def collate(examples: list[Any]) -> Any:
    """Return a batch of examples.

    Unlike `default_collate`, this accepts rows of lists as the `datasets` library yields them, and
    labels that are numbers in some examples and tensors in others.

    Targets that are a dict, such as a detector's boxes, or a list of dicts, are never stacked: they
    stay a list with one item per example, and in examples `(inputs, targets)` the inputs become a
    `PerExample`. In examples that are dicts the inputs are stacked.

    Texts as `input_ids` of different lengths are padded behind the shorter ones: see `padded`.

    Raises:
        DataError: Examples have different keys or shapes.
    """
    if all(isinstance(each, IndexedExample) for each in examples):
        inner, index, view = map(list, zip(*examples, strict=True))
        return IndexedExample(collate(inner), default_collate(index), default_collate(view))
    prepared = [_with_tensors(each) for each in examples]
    if len(set(map(_key_in_dict, prepared))) > 1:  # as of `unlabelled` rows, which have `labels`
        prepared = [_with_key_labels(each) for each in prepared]
    prepared = padded(prepared)
    if any(map(_has_structured_target, prepared)):
        return _with_list_of_targets(prepared)
    # `default_collate` leaves out what the first example lacks.
    odd = next((each for each in prepared if _keys(each) != _keys(prepared[0])), None)
    if odd is not None:
        raise DataError(
            f"the examples of a batch must have the same keys, got {describe(prepared[0])} and "
            f"{describe(odd)}; give all the same, and mark those without labels: "
            "tl.data.unlabelled(set)"
        )
    prepared = with_labels_of_words(prepared)
    keys = [label_key(each) for each in prepared]
    labels = [key if key is None else each[key] for key, each in zip(keys, prepared, strict=True)]
    if len(set(map(type, labels))) > 1:
        prepared = [_with_label_as_tensor(each) for each in prepared]
    try:
        return default_collate(prepared)
    except RuntimeError as error:
        _check_shapes(prepared, error)
        raise


def _key_in_dict(example: Any) -> Any:
    return label_key(example) if isinstance(example, Mapping) else None


def _with_key_labels(example: Any) -> Any:
    """Return an example that is a dict with its labels, if any, under `labels`."""
    key = _key_in_dict(example)
    if key is None:
        return example
    return {"labels" if name == key else name: each for name, each in example.items()}


def _keys(example: Any) -> Any:
    return set(example) if isinstance(example, Mapping) else None


def _has_structured_target(example: Any) -> bool:
    """Tell whether the target of an example is a dict or a list of dicts."""
    key = label_key(example)
    target = None if key is None else example[key]
    listed = isinstance(target, (tuple, list)) and any(isinstance(each, Mapping) for each in target)
    return listed or isinstance(target, Mapping)


def _with_list_of_targets(examples: list[Any]) -> Any:
    """Return a batch whose targets are a list, and whose inputs may differ in size."""
    first, key = examples[0], label_key(examples[0])
    if key is None or any(label_key(each) != key for each in examples):
        raise DataError(
            "all examples of a batch must have their targets in the same place, got "
            f"{describe(first)} and others; let the data set yield (inputs, targets) or dicts"
        )
    targets = [_arrays_as_tensors(each[key]) for each in examples]
    if isinstance(first, Mapping):
        others = [{name: each[name] for name in each if name != key} for each in examples]
        return {**collate(others), key: targets}
    if key != 1:
        raise DataError(
            "examples with a dict of targets must be (inputs, targets), or a dict of inputs with "
            f"the targets under 'labels', got {describe(first)}; let the data set yield such"
        )
    domains = [list(each) for each in zip(*[each[2:] for each in examples], strict=True)]
    return (PerExample(_arrays_as_tensors(each[0]) for each in examples), targets, *domains)


def _arrays_as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {key: _arrays_as_tensors(each) for key, each in value.items()}
    return [_arrays_as_tensors(each) for each in value] if isinstance(value, list) else value


def _with_tensors(example: Any) -> Any:
    """Convert an example's lists of numbers to tensors."""
    if isinstance(example, Mapping):
        return {key: _as_tensor(value) for key, value in example.items()}
    if isinstance(example, (tuple, list)) and not hasattr(example, "_fields"):
        return tuple(_as_tensor(value) for value in example)
    return example


def _as_tensor(value: Any) -> Any:
    if isinstance(value, (Mapping, tuple)):
        return _with_tensors(value)
    try:
        return torch.tensor(value) if isinstance(value, list) and _is_numeric(value) else value
    except ValueError:  # lists of unequal length inside of one example
        return value


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numeric, value))
    return isinstance(value, Number)


def _with_label_as_tensor(example: Any) -> Any:
    key = label_key(example)
    if key is None or not isinstance(example[key], Number):
        return example
    label = torch.as_tensor(example[key])
    if isinstance(example, Mapping):
        return {**example, key: label}
    return (*example[:key], label, *example[key + 1 :])


def _check_shapes(examples: list[Any], error: Exception) -> None:
    """Refuse parts of dicts or tuples that must be padded."""
    first = examples[0]
    positions = range(len(first)) if isinstance(first, (tuple, list)) else ()
    for part in first if isinstance(first, Mapping) else positions:
        column = [each[part] for each in examples]
        if all(isinstance(each, Tensor) for each in column):
            kinds = list(dict.fromkeys(map(describe, column)))
            if len({each.shape for each in column}) > 1:
                raise DataError(
                    f"the examples of a batch must have {part!r} of one shape, got {kinds[0]} and "
                    f"{kinds[1]}; pad them to one length (only dicts with `input_ids` are padded "
                    "by themselves), or give a DataLoader with a collate function that pads"
                ) from error
