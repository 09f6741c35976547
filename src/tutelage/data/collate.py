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

from tutelage.errors import DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import LABEL_KEYS, PerExample, describe, label_key, with_parts
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
    inputs = PerExample(_arrays_as_tensors(each[0]) for each in examples)
    others = [list(each) for each in zip(*[each[2:] for each in examples], strict=True)]
    return with_parts(first, inputs, targets, *others)


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
    if isinstance(example, (tuple, list)):
        return with_parts(example, *map(_as_tensor, example))
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
    return with_parts(example, example[0], label)


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


_IDS, _DECODER_IDS = "input_ids", "decoder_input_ids"
_MASKS = {_IDS: "attention_mask", _DECODER_IDS: "decoder_attention_mask"}


def padded(examples: list[Any]) -> list[Any]:
    """Return examples whose tokens, if they are dicts with `input_ids`, have one length.

    Zeros are added behind, also to all else that has a value for each token, and labels are −100
    there (NaN if they are floats). `attention_mask`, which is made where there is none, is 0 there,
    so that the token that is added matters to no model; where only some examples have one, that of
    the others is of ones. Labels of another length than the inputs, such as the texts that an
    encoder-decoder answers, are padded among themselves, and so are its `decoder_input_ids`, with a
    `decoder_attention_mask`. Other examples do not change.

    >>> batch = padded([{"input_ids": torch.tensor([5, 6])}, {"input_ids": torch.tensor([7])}])
    >>> batch[1]["input_ids"], batch[1]["attention_mask"]
    (tensor([7, 0]), tensor([1, 0]))
    """
    inner = [_with_sequences(each) for each in examples]
    if not all(isinstance(each, Mapping) and _is_sequence(each.get(_IDS)) for each in inner):
        return examples
    for ids, mask in _MASKS.items():
        lengths = [len(each[ids]) for each in inner if _is_sequence(each.get(ids))]
        needed = len(lengths) == len(inner) and min(lengths) < max(1, *lengths)
        for each in inner if needed or any(mask in each for each in inner) else ():
            if _is_sequence(each.get(ids)):
                each.setdefault(mask, torch.ones(len(each[ids]), dtype=torch.int64))
    names = [name for name in inner[0] if all(name in each for each in inner)]
    found = [dict(each) for each in inner]
    for name in names:
        column = [each[name] for each in inner]
        alike = all(map(_is_sequence, column)) and len({each.shape[1:] for each in column}) == 1
        longest = max(1, *map(len, column)) if alike else 0  # of empty texts, a token of padding
        if not alike or all(len(each) == longest for each in column):
            continue
        own = name in (*_MASKS, _MASKS[_DECODER_IDS], *LABEL_KEYS)
        if not own and any(len(each[name]) != len(each[_IDS]) for each in inner):
            continue  # of something else than tokens: `default_collate` refuses it
        for example, given in zip(found, column, strict=True):
            example[name] = _lengthened(given, longest, name in LABEL_KEYS)
    return found


def _lengthened(values: Tensor, length: int, label: bool = False) -> Tensor:
    """Return values with others behind them that mean nothing."""
    if label:
        values = values if values.is_floating_point() else values.long()
    fill = 0 if not label else float("nan") if values.is_floating_point() else UNLABELLED
    return torch.cat([values, values.new_full((length - len(values), *values.shape[1:]), fill)])


def _with_sequences(example: Any) -> Any:
    """Return an example of a text with arrays and empty lists as tensors."""
    if not isinstance(example, Mapping) or _IDS not in example:
        return example
    found = dict(example)
    for name, each in example.items():
        if isinstance(each, np.ndarray) and each.ndim and each.dtype.kind in "biuf":
            found[name] = torch.from_numpy(each)
        elif isinstance(each, list) and not each:
            found[name] = torch.zeros(0, dtype=torch.int64)
    return found


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def with_labels_of_words(examples: list[Any]) -> list[Any]:
    """Return examples `(text, labels, …)` whose labels have one length, −100 behind the shorter.

    Other examples, and those whose labels are of one length already, do not change.
    """
    if not all(map(_has_labels_of_words, examples)):
        return examples
    longest = max(len(each[1]) for each in examples)
    return [with_parts(each, each[0], _labels_lengthened(each[1], longest)) for each in examples]


def _has_labels_of_words(example: Any) -> bool:
    if not isinstance(example, tuple) or len(example) < 2 or not isinstance(example[0], str):  # noqa: PLR2004
        return False
    labels = example[1]
    return isinstance(labels, Tensor) and labels.ndim == 1 and labels.dtype == torch.int64


def _labels_lengthened(labels: Tensor, length: int) -> Tensor:
    return torch.cat([labels, labels.new_full((length - len(labels),), UNLABELLED)])
