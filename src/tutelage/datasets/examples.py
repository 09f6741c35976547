"""Data sets of raw inputs, labels and domains."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, TensorDataset

from tutelage.data import domains as joined
from tutelage.datasets.content import Inputs
from tutelage.nested import DomainExample
from tutelage.signals import UNLABELLED


class Examples(Dataset[Any]):
    """Texts or images with labels and domains.

    Args:
        inputs: Texts, or images.
        labels: `[examples, …]`; None for none.
        domains: A name for each example; None for no domains.
        by_word: Whether labels are those of words, of which each text has as many as words.
    """

    def __init__(
        self,
        inputs: Any,
        labels: Tensor | None = None,
        domains: Sequence[str] | None = None,
        by_word: bool = False,
    ) -> None:
        self.inputs: Any = inputs
        self.labels, self.domains = labels, domains
        self.by_word = by_word

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        """Return `(input, label)`, `DomainExample`, or an input alone."""
        at = range(len(self))[index]
        if self.labels is None:
            return self.inputs[at]
        label = self.labels[at]
        label = label[: len(self.inputs[at].split())] if self.by_word else label
        example = self.inputs[at], label
        return example if self.domains is None else DomainExample(*example, self.domains[at])

    def whole_content(self) -> list[Any] | None:
        """Return what decides all examples, for a fingerprint; None where that is too large."""
        is_text = isinstance(self.inputs, list)
        content = json.dumps(self.inputs) if is_text else self.inputs.whole_content()
        if content is None:
            return None
        return [content, self.labels, json.dumps(self.domains), self.by_word]


def data_set(
    inputs: Inputs, labels: Tensor | None, domains: list[str] | None, by_word: bool = False
) -> Dataset[Any]:
    """Return a data set; rows of numbers become tensors, which are fast."""
    if domains is not None and labels is None:  # the domain stands behind a label
        labels = torch.full((len(inputs),), UNLABELLED)
    if not isinstance(inputs, Tensor):
        return Examples(inputs, labels, domains, by_word)
    if labels is None:
        return TensorDataset(inputs)
    return TensorDataset(inputs, labels) if domains is None else _by_domain(inputs, labels, domains)


def _by_domain(inputs: Tensor, labels: Tensor, domains: list[str]) -> Dataset[Any]:
    """Return tensors with their domains, in their order."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(domains))}
    of = np.array([numbers[each] for each in domains])
    order = np.argsort(of, kind="stable")
    sets = {}
    for name, number in numbers.items():
        rows = order[of[order] == number]
        sets[name] = TensorDataset(inputs[rows], labels[rows])
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return Subset(joined(sets), places.tolist())
