"""A data set of examples: batches are collated as a DataLoader does, in an order of our own."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from tutelage.data.collate import collate
from tutelage.data.contents import dataset_fingerprint
from tutelage.data.source import Order, Share, Source
from tutelage.data.turns import show_epoch, views_described, views_in
from tutelage.errors import DataError
from tutelage.signals import Batch


class SetSource(Source):
    """Batches of a map-style data set, loaded in this process.

    Args:
        name: The argument's name, for messages.
        dataset: A set with `__len__` and `__getitem__`.
        order: Which positions make a batch.
        share: Which part of each batch is ours.
        views: How many views of the data take turns; None for as many as it has.
    """

    def __init__(
        self,
        name: str,
        dataset: Dataset[Any],
        order: Order,
        share: Share,
        views: int | None = None,
    ) -> None:
        self.name, self.dataset, self.order, self.share = name, dataset, order, share
        self.views = views

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
            raws = iter(loader)
            for whole, positions in zip(batches, ours, strict=True):
                # With each batch, or another epoch of the same set could have changed it meanwhile.
                view = show_epoch(self.dataset, number, self.views)
                batch = replace(Batch.of(next(raws)), view=view)
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
        sizes = {"examples": self.order.examples, "batch_size": self.order.batch_size}
        return sizes | views_described(self.dataset, self.views)

    def fingerprint(self) -> str:
        """Return what tells the data from others where it is made of `Views`; else it is not seen.

        Views come out the same each time; of other sets nobody knows.
        """
        return dataset_fingerprint(self.dataset) if views_in(self.dataset) else "not seen"
