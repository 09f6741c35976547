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

    Texts as `input_ids` of different lengths are padded behind the shorter ones: see `padded`. In
    examples `(text, labels)` with labels of words, the shorter labels are padded with −100.

    Raises:
        DataError: Examples have different keys or shapes.
    """
    first = examples[0]
    if isinstance(first, IndexedExample):
        inner, index, view = map(list, zip(*examples, strict=True))
        return IndexedExample(collate(inner), default_collate(index), default_collate(view))
    if all(isinstance(each, Mapping) for each in examples):
        return _of_dicts([_with_tensors(each) for each in examples])
    if isinstance(first, (tuple, list)):
        if any(label_key(each) != label_key(first) for each in examples):
            raise DataError(
                "all examples of a batch must have inputs and targets in the same places, got "
                f"{describe(first)} and others; let the data set yield (inputs, targets) or dicts"
            )
        columns = [[_with_tensors(each) for each in part] for part in zip(*examples, strict=True)]
        return with_parts(first, *_of_columns(columns))
    return _stacked("inputs", [_with_tensors(each) for each in examples])


def _of_dicts(examples: list[dict[Any, Any]]) -> dict[Any, Any]:
    """Return the batch of examples that are dicts, by name."""
    if len(set(map(label_key, examples))) > 1:  # as of `unlabelled` rows, which have `labels`
        examples = [
            {"labels" if name == label_key(row) else name: each for name, each in row.items()}
            for row in examples
        ]
    examples = padded(examples)
    first = examples[0]
    odd = next((each for each in examples if each.keys() != first.keys()), None)
    if odd is not None:
        raise DataError(
            f"the examples of a batch must have the same keys, got {describe(first)} and "
            f"{describe(odd)}; give all the same, and mark those without labels: "
            "tl.data.unlabelled(set)"
        )
    columns = {name: [each[name] for each in examples] for name in first}
    targets = label_key(first)
    return {
        name: column if name == targets and any(map(_has_dicts, column)) else _stacked(name, column)
        for name, column in columns.items()
    }


def _of_columns(columns: list[list[Any]]) -> list[Any]:
    """Return the parts of the batch of examples `(inputs, labels, …)`, from all examples' parts."""
    if len(columns) > 1 and any(map(_has_dicts, columns[1])):
        return [PerExample(columns[0]), *columns[1:]]
    of_words = len(columns) > 1 and all(isinstance(each, str) for each in columns[0])
    if of_words and all(_is_sequence(each) and each.dtype == torch.int64 for each in columns[1]):
        longest = max(map(len, columns[1]))
        columns[1] = [_lengthened(each, longest, label=True) for each in columns[1]]
    return [_stacked(place, column) for place, column in enumerate(columns)]


def _stacked(part: Any, values: list[Any]) -> Any:
    """Return the values of one part of all examples as one; `part` names it in errors."""
    if len(set(map(type, values))) > 1:  # numbers in some examples, tensors in others
        values = [torch.as_tensor(each) if isinstance(each, Number) else each for each in values]
    try:
        return default_collate(values)
    except RuntimeError as error:
        kinds = list(dict.fromkeys(map(describe, values)))
        if len(kinds) == 1:
            raise
        raise DataError(
            f"the examples of a batch must have {part!r} of one shape, got {kinds[0]} and "
            f"{kinds[1]}; pad them to one length (only dicts with `input_ids` are padded by "
            "themselves), or give a DataLoader with a collate function that pads"
        ) from error


def _has_dicts(target: Any) -> bool:
    """Tell whether a target is a dict or a list of dicts."""
    listed = isinstance(target, (tuple, list)) and any(isinstance(each, Mapping) for each in target)
    return listed or isinstance(target, Mapping)


def _with_tensors(value: Any) -> Any:
    """Return a value whose arrays and lists of numbers, also nested ones, are tensors."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {key: _with_tensors(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return with_parts(value, *map(_with_tensors, value))
    if isinstance(value, list) and _is_numeric(value):
        try:
            return torch.tensor(value)
        except ValueError:  # lists of unequal length inside of one example
            return value
    return list(map(_with_tensors, value)) if isinstance(value, list) else value


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_numeric, value))
    return isinstance(value, Number)


_IDS, _DECODER_IDS = "input_ids", "decoder_input_ids"
_MASKS = {_IDS: "attention_mask", _DECODER_IDS: "decoder_attention_mask"}
_PADDED_ALONE = {*_MASKS, "decoder_attention_mask", *LABEL_KEYS}
"""What may have another length than `input_ids`."""


def padded(examples: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return examples whose tokens, if they have `input_ids`, have one length.

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
    empty = torch.zeros(0, dtype=torch.int64)
    found: list[dict[Any, Any]] = [
        {name: empty if isinstance(each, list) and not each else each for name, each in row.items()}
        for row in examples
    ]
    if not all(_is_sequence(each.get(_IDS)) for each in found):
        return examples
    tokens = [len(each[_IDS]) for each in found]
    for ids, mask in _MASKS.items():
        lengths = [len(each[ids]) for each in found if _is_sequence(each.get(ids))]
        needed = len(lengths) == len(found) and min(lengths) < max(1, *lengths)
        for each in found if needed or any(mask in each for each in found) else ():
            if _is_sequence(each.get(ids)):
                each.setdefault(mask, torch.ones(len(each[ids]), dtype=torch.int64))
    for name in [name for name in found[0] if all(name in each for each in found)]:
        column = [each[name] for each in found]
        if not all(map(_is_sequence, column)) or len({each.shape[1:] for each in column}) > 1:
            continue
        lengths = list(map(len, column))
        longest = max(1, *lengths)  # of empty texts, a token of padding
        # What is of something else than tokens is refused when it is stacked.
        if min(lengths) < longest and (name in _PADDED_ALONE or lengths == tokens):
            for example in found:
                example[name] = _lengthened(example[name], longest, name in LABEL_KEYS)
    return found


def _lengthened(values: Tensor, length: int, label: bool = False) -> Tensor:
    """Return values with others behind them that mean nothing."""
    if label:
        values = values if values.is_floating_point() else values.long()
    fill = 0 if not label else float("nan") if values.is_floating_point() else UNLABELLED
    return torch.cat([values, values.new_full((length - len(values), *values.shape[1:]), fill)])


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0
