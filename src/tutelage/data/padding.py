"""Texts of several lengths in one batch: tokens, masks and labels, padded behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.labels import UNLABELLED
from tutelage.nested import LABEL_KEYS

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
