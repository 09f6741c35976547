"""A data set of examples: batches are collated as a DataLoader does, in an order of our own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from tutelage.data.collate import collate
from tutelage.data.source import Order, Share, Source
from tutelage.errors import DataError
from tutelage.signals import Batch


class SetSource(Source):
    """Batches of a map-style data set, loaded in this process.

    Args:
        name: The argument's name, for messages.
        dataset: A set with `__len__` and `__getitem__`.
        order: Which positions make a batch.
        share: Which part of each batch is ours.
    """

    def __init__(self, name: str, dataset: Dataset[Any], order: Order, share: Share) -> None:
        self.name, self.dataset, self.order, self.share = name, dataset, order, share

    def __len__(self) -> int:
        return len(self.order)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield our share of the batches of epoch `number`, from batch `start` on."""
        batches = self.order.batches(number, start)
        ours = [positions[self.share.rows(len(positions))] for positions in batches]
        # A generator of its own, or the loader would draw from the global one when iterated.
        lists = [positions.tolist() for positions in ours]
        own = torch.Generator()
        loader = DataLoader(self.dataset, batch_sampler=lists, generator=own, collate_fn=collate)
        try:
            for whole, positions, raw in zip(batches, ours, loader, strict=True):
                batch = Batch.of(raw)
                index = positions if batch.index is None else batch.index
                yield replace(batch, index=index, copies=self.share.copies(len(whole)))
        except (TypeError, RuntimeError, KeyError) as error:
            raise DataError(
                f"`{self.name}` could not be loaded: {type(error).__name__}: {error}; its examples "
                "must be tensors, numbers, or tuples or dicts of them, of one shape"
            ) from error

    @property
    def description(self) -> dict[str, Any]:
        """The size and order of the data."""
        return {"examples": self.order.examples, "batch_size": self.order.batch_size}
