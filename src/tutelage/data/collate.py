"""From examples to a batch, as a DataLoader makes it, where their labels differ in kind."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Number
from typing import Any

import torch
from torch.utils.data import default_collate

_LABELLED = 2


def collate(examples: list[Any]) -> Any:
    """Return a batch as `default_collate` does; beside labels in tensors, plain numbers will do.

    A set with labels `3` may stand beside an unlabelled one, whose marks are tensors.
    """
    kinds = {type(_label(each)) for each in examples}
    return default_collate([_mended(each) for each in examples] if len(kinds) > 1 else examples)


def _label(example: Any) -> Any:
    if isinstance(example, Mapping):
        return example.get("labels", example.get("label"))
    return example[1] if isinstance(example, (tuple, list)) and len(example) >= _LABELLED else None


def _mended(example: Any) -> Any:
    label = _label(example)
    if not isinstance(label, Number):
        return example
    if isinstance(example, Mapping):
        key = "labels" if "labels" in example else "label"
        return {**example, key: torch.as_tensor(label)}
    return (example[0], torch.as_tensor(label), *example[2:])
