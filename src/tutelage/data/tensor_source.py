"""Data held in tensors: whole batches are indexed at once, without collating examples."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from tutelage.data.fingerprint import fingerprint
from tutelage.data.source import Order, Share, Source
from tutelage.data.table import Table
from tutelage.signals import Batch

_BYTES_AT_ONCE = 4 * 2**20


class TensorSource(Source):
    """Batches of inputs, labels and domains that are held in tensors.

    Args:
        table: The data.
        order: Which positions make a batch.
        share: Which part of each batch is ours.
    """

    def __init__(self, table: Table, order: Order, share: Share) -> None:
        self.table, self.order, self.share = table, order, share

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
        row = sum(column.row_bytes() for column in self.table.columns)
        return max(1, _BYTES_AT_ONCE // max(1, row * self.order.batch_size))

    def _gathered(self, batches: list[Tensor]) -> Iterator[Batch]:
        """Look the rows of several batches up at once and yield them batch by batch."""
        ours = [positions[self.share.rows(len(positions))] for positions in batches]
        lengths = [len(each) for each in ours]
        index, table = torch.cat(ours), self.table
        rows = index if table.rows is None else table.rows[index]
        columns = [column.take(rows).split(lengths) for column in table.columns]
        domains = self._domains(rows, lengths)
        for place, positions in enumerate(batches):
            inputs, labels = (*(column[place] for column in columns), None)[:2]
            copies = self.share.copies(len(positions))
            yield Batch(inputs, labels, ours[place], domains[place], copies=copies)

    def _domains(self, rows: Tensor, lengths: list[int]) -> list[list[str] | None]:
        """Return the names of each batch's domains, or None for each."""
        if self.table.domain is None:
            return [None] * len(lengths)
        numbers = self.table.domain[rows].split(lengths)
        return [[self.table.names[number] for number in batch.tolist()] for batch in numbers]

    @property
    def description(self) -> dict[str, Any]:
        """The size and order of the data."""
        return {"examples": self.order.examples, "batch_size": self.order.batch_size}

    def fingerprint(self) -> str:
        """Return a hash of the tensors and of which rows are taken."""
        columns = {
            f"{place}.{number}": part
            for place, column in enumerate(self.table.columns)
            for number, part in enumerate(column.parts)
        }
        chosen = {"rows": self.table.rows, "domain": self.table.domain}
        return " ".join([fingerprint(columns | chosen), *self.table.names])


def held_tensors(data: object) -> tuple[tuple[Tensor, ...], Tensor | None] | None:
    """Return the tensors that a data set holds and the rows it takes, if that is all it is.

    That is so for a `TensorDataset` and for a `Subset` of one (what `random_split` returns);
    anything else, a subclass too, may compute its examples: None.
    """
    if type(data) is TensorDataset:
        return data.tensors, None
    if type(data) is Subset:
        inner = held_tensors(data.dataset)
        if inner is None:
            return None
        tensors, rows = inner
        chosen = torch.as_tensor(data.indices, dtype=torch.int64)
        return tensors, chosen if rows is None else rows[chosen]
    return None
