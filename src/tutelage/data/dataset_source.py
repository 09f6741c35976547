"""Batches of map-style data sets in a seeded order: by rows of tensors, or example by example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data.collate import collate
from tutelage.data.source import Order, Shard, Source, loaded
from tutelage.data.tensor_table import Table
from tutelage.data.views import describe_views, show_epoch
from tutelage.nested import tell_unused
from tutelage.signals import Batch

_BYTES_AT_ONCE = 4 * 2**20


class _OrderedSource(Source):
    """Batches whose positions are given by an `Order`."""

    def __init__(self, order: Order, shard: Shard) -> None:
        self.order, self.shard = order, shard

    def __len__(self) -> int:
        return len(self.order)

    def _ours(self, epoch: int, start: int) -> list[tuple[Tensor, int]]:
        """Return the positions of this process's part of each batch, and the part's copies."""
        batches, shard = self.order.batches(epoch, start), self.shard
        if shard.world_size == 1:
            return [(each, 1) for each in batches]
        return [(each[shard.rows(len(each))], shard.replicas(len(each))) for each in batches]

    @property
    def description(self) -> dict[str, Any]:
        """The size and order of the data."""
        sizes = {"examples": self.order.examples, "batch_size": self.order.batch_size}
        return sizes if self.order.lengths is None else sizes | {"group_by_length": True}


class TensorSource(_OrderedSource):
    """Batches of a data set that consists of tensors, indexed by whole batches."""

    def __init__(self, table: Table, order: Order, shard: Shard) -> None:
        super().__init__(order, shard)
        self.table = table
        own = table.inputs if table.labels is None else (*table.inputs, table.labels)
        self._columns = [table.columns[each] for each in own]
        if len(own) < len(table.columns) and table.inputs == (0,) and table.labels == 1:
            tell_unused(len(table.columns) - len(own))

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches; one look-up serves as many of them as a few megabytes hold."""
        table, batches = self.table, self._ours(number, start)
        row_bytes = sum(column.row_bytes() for column in self._columns)
        at_once = max(1, _BYTES_AT_ONCE // max(1, row_bytes * self.order.batch_size))
        for first in range(0, len(batches), at_once):
            several = batches[first : first + at_once]
            lengths = [len(positions) for positions, _ in several]
            index = torch.cat([positions for positions, _ in several])
            rows = index if table.rows is None else table.rows[index]
            columns = [column.take(rows).split(lengths) for column in self._columns]
            domains = self._domains(rows, lengths)
            examples = zip(*columns, strict=True)
            for parts, domain, (positions, replicas) in zip(
                examples, domains, several, strict=True
            ):
                *inputs, labels = (*parts, None) if table.labels is None else parts
                one = inputs[0] if len(inputs) == 1 else tuple(inputs)
                yield Batch(one, labels, positions, domain, replicas=replicas)

    def _domains(self, rows: Tensor, lengths: list[int]) -> list[list[str] | None]:
        """Return the names of each batch's domains, or None for each."""
        if self.table.domain is None:
            return [None] * len(lengths)
        numbers = self.table.domain[rows].split(lengths)
        return [[self.table.names[number] for number in batch.tolist()] for batch in numbers]


class SetSource(_OrderedSource):
    """Batches of any map-style data set, loaded and collated in this process."""

    def __init__(
        self, name: str, dataset: Dataset[Any], order: Order, shard: Shard, views: int | None = None
    ) -> None:
        super().__init__(order, shard)
        self.name, self.dataset, self.views = name, dataset, views

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches, each collated from its examples."""
        return self.chosen(number, range(start, len(self)))

    def chosen(self, number: int, places: Iterable[int]) -> Iterator[Batch]:
        """Yield some of the batches of an epoch, by their places in it."""
        ours = self._ours(number, 0)
        batches = [ours[place] for place in places]
        # With its own generator, since the loader would otherwise use the global one.
        lists, own = [positions.tolist() for positions, _ in batches], torch.Generator()
        loader = DataLoader(self.dataset, batch_sampler=lists, generator=own, collate_fn=collate)
        raws = loaded(iter(loader), self.name, self.dataset)
        for positions, replicas in batches:
            # For each batch, since another epoch of the same set may have changed the view.
            view = show_epoch(self.dataset, number, self.views)
            batch = Batch.of(next(raws))
            index = positions if batch.index is None else batch.index
            yield replace(batch, index=index, replicas=replicas, view=view)

    @property
    def description(self) -> dict[str, Any]:
        """The size, order and views of the data."""
        return super().description | describe_views(self.dataset, self.views)
