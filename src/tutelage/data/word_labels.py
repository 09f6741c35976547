"""Labels of the words of texts, of which each example has as many as its text has words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.labels import UNLABELLED


def with_labels_of_words(examples: list[Any]) -> list[Any]:
    """Return examples `(text, labels, …)` whose labels have one length, −100 behind the shorter.

    Other examples, and those whose labels are of one length already, do not change.
    """
    if not all(map(_has_labels_of_words, examples)):
        return examples
    longest = max(len(each[1]) for each in examples)
    return [(each[0], _lengthened(each[1], longest), *each[2:]) for each in examples]


def _has_labels_of_words(example: Any) -> bool:
    if not isinstance(example, tuple) or len(example) < 2 or not isinstance(example[0], str):  # noqa: PLR2004
        return False
    labels = example[1]
    return isinstance(labels, Tensor) and labels.ndim == 1 and labels.dtype == torch.int64


def _lengthened(labels: Tensor, length: int) -> Tensor:
    return torch.cat([labels, labels.new_full((length - len(labels),), UNLABELLED)])
