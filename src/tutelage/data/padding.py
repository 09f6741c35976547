"""Texts of several lengths in one batch: tokens, masks and labels, padded on the right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_TOKENS, _MASK = "input_ids", "attention_mask"
_FILLS = {
    _TOKENS: 0,  # any id: the attention mask says that it is none
    _MASK: 0,
    "token_type_ids": 0,
    "position_ids": 0,
    "row_mask": 0,
    "labels": -100,
    "decoder_input_ids": 0,
    "decoder_attention_mask": 0,
}
"""What a tokenizer and its data return for each token, and by what it is padded."""


def padded(examples: Sequence[Any]) -> list[Any]:
    """Return examples that are dicts with `input_ids` of several lengths, padded to the longest.

    An `attention_mask` is made where there is none, since it alone tells padding from tokens (the
    id of padding may be that of the end of a text, which is a token). Other examples do not change.

    >>> batch = padded([{"input_ids": torch.tensor([5, 6])}, {"input_ids": torch.tensor([7])}])
    >>> batch[1]["input_ids"], batch[1]["attention_mask"]
    (tensor([7, 0]), tensor([1, 0]))
    """
    texts = [each for each in examples if isinstance(each, Mapping) and _is_text(each.get(_TOKENS))]
    if len(texts) < len(examples) or not _differ(texts):
        return list(examples)
    if any(_MASK not in each for each in texts):
        texts = [{_MASK: torch.ones_like(each[_TOKENS]), **each} for each in texts]
    longest = {
        key: max(len(each[key]) for each in texts)
        for key in _FILLS
        if all(_is_text(each.get(key)) for each in texts)
    }
    return [
        {**each, **{key: _to(each[key], key, longest[key]) for key in longest}} for each in texts
    ]


def _is_text(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1


def _differ(texts: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether the texts, or their labels, are of several lengths."""
    return any(
        len({len(each[key]) for each in texts if _is_text(each.get(key))}) > 1
        for key in (_TOKENS, "labels")
    )


def _to(values: Tensor, key: str, length: int) -> Tensor:
    return F.pad(values, (0, length - len(values)), value=_FILLS[key])
