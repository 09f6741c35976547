"""Data held in tensors: whole batches are indexed at once, without collating examples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from tutelage.data.fingerprint import fingerprint
from tutelage.data.source import Order, Share, Source
from tutelage.signals import Batch

_BYTES_AT_ONCE = 4 * 2**20


class TensorSource(Source):
    """Batches of `(inputs, labels)` or `(inputs,)` tensors.

    Args:
        tensors: One or two tensors of equal length: inputs, labels.
        rows: Which rows of them are the data, `[examples]`; None for all.
        order: Which positions make a batch.
        share: Which part of each batch is ours.
    """

    def __init__(
        self, tensors: tuple[Tensor, ...], rows: Tensor | None, order: Order, share: Share
    ) -> None:
        self.tensors, self.rows, self.order, self.share = tensors, rows, order, share

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield our share of the batches of epoch `number`, from batch `start` on."""
        batches = self.order.batches(number, start)
        at_once = self._batches_at_once()
        for first in range(0, len(batches), at_once):
            yield from self._gathered(batches[first : first + at_once])

    def _batches_at_once(self) -> int:
        """Return for how many batches one look-up serves: as many as a few megabytes hold."""
        row = sum(each[:1].numel() * each.element_size() for each in self.tensors)
        return max(1, _BYTES_AT_ONCE // max(1, row * self.order.batch_size))

    def _gathered(self, batches: list[Tensor]) -> Iterator[Batch]:
        """Look the rows of several batches up at once and yield them batch by batch."""
        ours = [positions[self.share.rows(len(positions))] for positions in batches]
        lengths = [len(each) for each in ours]
        index = torch.cat(ours)
        rows = index if self.rows is None else self.rows[index]
        columns = [
            each.index_select(0, rows.to(each.device)).split(lengths) for each in self.tensors
        ]
        for place, positions in enumerate(batches):
            inputs, labels = (*(column[place] for column in columns), None)[:2]
            copies = self.share.copies(len(positions))
            yield Batch(inputs, labels, ours[place], copies=copies)

    @property
    def description(self) -> dict[str, Any]:
        """The size and order of the data."""
        return {"examples": self.order.examples, "batch_size": self.order.batch_size}

    def fingerprint(self) -> str:
        """Return a hash of the tensors and of which rows are taken."""
        columns = {str(place): each for place, each in enumerate(self.tensors)}
        return fingerprint(columns | {"rows": self.rows})


def tensors_of(data: object) -> tuple[tuple[Tensor, ...], Tensor | None] | None:
    """Return the tensors that a data set holds and the rows it takes, if that is all it is.

    That is so for a `TensorDataset` of one or two tensors and for a `Subset` of one (what
    `random_split` returns); anything else, a subclass too, may compute its examples: None.
    """
    if type(data) is TensorDataset:
        fits = 1 <= len(data.tensors) <= 2  # noqa: PLR2004 - inputs, labels
        return (data.tensors, None) if fits else None
    if type(data) is Subset:
        inner = tensors_of(data.dataset)
        if inner is None:
            return None
        tensors, rows = inner
        chosen = torch.as_tensor(data.indices, dtype=torch.int64)
        return tensors, chosen if rows is None else rows[chosen]
    return None
