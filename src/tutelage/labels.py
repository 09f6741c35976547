"""Labels: which examples have one, and the second label of examples that are mixed from two."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.nested import to_device

UNLABELLED = -100
"""The label of an example without one, in classification (in regression it is NaN)."""


def is_known(labels: Tensor) -> Tensor:
    """Return which labels are known, of the shape of the labels."""
    if labels.is_floating_point():
        return ~labels.isnan()
    return labels.long() != UNLABELLED  # unsigned bytes cannot hold −100


def known_at(labels: Tensor, shape: torch.Size) -> Tensor | None:
    """Return which positions, `[batch, …]`, have a label; None where labels have no such positions.

    Floats may have several values at each position, last or second.
    """
    found = is_known(labels)
    if found.shape == shape:
        return found
    if found.ndim == len(shape) + 1 and labels.is_floating_point():
        if found.shape[:-1] == shape:
            return found.any(dim=-1)
        if found.shape[:1] + found.shape[2:] == shape:
            return found.any(dim=1)
    return None


def by_example(entries: Tensor) -> Tensor:
    """Return which examples have an entry that is true, `[batch]`, of `[batch, …]` of bool."""
    return entries if entries.ndim == 1 else entries.flatten(1).any(dim=1)


@dataclass(frozen=True, slots=True)
class Mixture:
    """The second labels of examples that are mixed from two, and the fractions of the first.

    Args:
        labels: `[batch]` class ids of the partners (−100: no label).
        fraction: `[batch]` in [0, 1]: the weight of each example; the partner's is 1 minus it.
    """

    labels: Tensor
    fraction: Tensor

    def known(self, own: Tensor) -> Tensor:
        """Return which examples have all labels, `[batch]`; `own` tells which have their own."""
        partner = by_example(is_known(self.labels))
        return (own | (self.fraction == 0)) & (partner | (self.fraction == 1))

    def __getitem__(self, rows: slice | Tensor) -> Mixture:
        return Mixture(self.labels[rows], self.fraction[rows])

    def to(self, device: torch.device) -> Mixture:
        """Return the same on a device."""
        return Mixture(to_device(self.labels, device), to_device(self.fraction, device))
