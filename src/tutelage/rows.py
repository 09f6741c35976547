"""The rows of an output with several answers an example: tokens, pixels, anchors.

A loss is a function of rows, `[rows, classes] → [rows]`, and knows nothing of positions. `Rows`
records which positions of each example are rows, and folds values of rows into values of examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Which positions of a batch's examples are rows of its output, in the order of positions.

    Args:
        mask: `[batch, …]` of bool, with any positions behind `batch`, such as `[batch, tokens]` or
            `[batch, height, width]`. What is padding or void is no row.
        complete: Whether all of the mask is true, where that is known without a look at it.

    >>> rows = Rows(torch.tensor([[True, True], [True, False]]))
    >>> rows.of(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2., 3.])
    >>> rows.mean(torch.tensor([1.0, 2.0, 3.0]))
    tensor([1.5000, 3.0000])
    """

    mask: Tensor
    complete: bool = False

    @classmethod
    def counted(cls, counts: Tensor) -> Rows:
        """Return the rows of examples that have so many of them, `[batch]`."""
        widest = int(counts.max()) if len(counts) else 0
        places = torch.arange(widest, device=counts.device)
        return cls(places < counts[:, None], bool((counts == widest).all()))

    @classmethod
    def single(cls, examples: int) -> Rows:
        """Return the rows of examples that have one each."""
        return cls(torch.ones(examples, 1, dtype=torch.bool), complete=True)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Return the rows of the examples of all parts; their positions may differ."""
        return cls.counted(torch.cat([part.counts for part in parts]))

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of an example's positions, rows or not."""
        return tuple(self.mask.shape[1:])

    @cached_property
    def counts(self) -> Tensor:
        """The number of rows of each example, `[batch]`."""
        return self.mask.flatten(1).sum(dim=1)

    @cached_property
    def examples(self) -> Tensor:
        """The example of each row, by its position in the batch, `[rows]`."""
        return self.mask.flatten(1).nonzero()[:, 0]

    def __len__(self) -> int:
        return self.mask.numel() if self.complete else int(self.counts.sum())

    def __getitem__(self, examples: slice | Tensor) -> Rows:
        return Rows(self.mask[examples], self.complete)

    def part(self, rows: slice) -> Rows:
        """Return some of the rows, by their numbers from `start` to `stop`, in the same mask."""
        numbers = self.mask.flatten().cumsum(0).reshape(self.mask.shape)
        return Rows(self.mask & (numbers > rows.start) & (numbers <= rows.stop))

    def to(self, device: torch.device) -> Rows:
        """Return the same on `device`."""
        return Rows(self.mask.to(device), self.complete)

    def of(self, values: Tensor) -> Tensor:
        """Return the values at the rows, `[rows, …]`, of `[batch, positions…, …]`."""
        if self.complete:
            return values.flatten(0, self.mask.ndim - 1)
        return values[self.mask]

    def padded(self, values: Tensor) -> Tensor:
        """Return values of rows, `[rows, …]`, as `[batch, positions…, …]`; 0 elsewhere."""
        shape = (*self.mask.shape, *values.shape[1:])
        if self.complete:
            return values.reshape(shape)
        result = values.new_zeros(shape)
        # Out of place, for the gradient.
        return result.masked_scatter(self.mask[(..., *[None] * (values.ndim - 1))], values)

    def selected(self, examples: Sequence[int]) -> Tensor:
        """Return the numbers of the rows that belong to some examples, in their order."""
        ends = self.counts.cumsum(0).tolist()
        starts = [0, *ends]
        ranges = [torch.arange(starts[each], ends[each]) for each in examples]
        return torch.cat(ranges) if ranges else torch.zeros(0, dtype=torch.int64)

    def mean(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return the mean of each example's rows, `[batch]`; 0 where it has no valid row.

        Args:
            values: One for each row, `[rows]`.
            valid: Which rows count, `[rows]` of bool; None for all.
        """
        if valid is not None:
            values = values.where(valid, 0)
        sums = self.padded(values).flatten(1).sum(dim=1)
        if valid is None:
            return sums / self.counts.clamp(min=1)
        return sums / self.padded(valid.to(values.dtype)).flatten(1).sum(dim=1).clamp(min=1)
