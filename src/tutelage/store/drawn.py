"""Classes drawn from a teacher's answer: k ids an example, whose shares are p on average.

One draw from each k-th of the unit interval, through the cumulated probabilities: what a class's
share is on average is its probability, as with independent draws, and varies less.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.coarse import CoarseLogits


def draw_classes(logits: Tensor, count: int, temperature: float, first_row: int) -> Tensor:
    """Return ids `[batch, count]`, in order, drawn from softmax(logits / T) with replacement.

    The numbers are those of the row, so that a block that is made again is the same.

    Args:
        logits: `[batch, classes]`, finite.
        count: Draws of each example.
        temperature: T > 0.
        first_row: The row of the first example in its store.
    """
    shares = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    shares = shares / shares[:, -1:]  # ends at 1, above every draw
    numbers = np.random.Generator(np.random.Philox(key=first_row)).random((len(logits), count))
    places = (torch.arange(count) + torch.from_numpy(numbers)) / count
    # Rounding may make the last of them 1 itself.
    return torch.searchsorted(shares, places.clamp(max=1 - 2**-53), right=True)


def counted(ids: NDArray[np.int64], temperature: float) -> CoarseLogits:
    """Return ids in order `[batch, k]` as different classes, with the logarithm of their shares."""
    drawn = torch.from_numpy(ids)
    fresh = torch.ones_like(drawn)
    fresh[:, 1:] = drawn[:, 1:] != drawn[:, :-1]
    places = fresh.cumsum(dim=1) - 1
    shares = torch.zeros(drawn.shape).scatter_add_(
        1, places, torch.full(drawn.shape, 1 / drawn.shape[1])
    )
    classes = torch.full_like(drawn, -1).scatter_(1, places, drawn)
    rest = shares.new_full(shares.shape[:1], -torch.inf)
    return CoarseLogits(classes, shares.log(), rest, drawn_at=temperature)
