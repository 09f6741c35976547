"""A user's DataLoader: its batches in its own order, replayed when a run is taken up again."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Any, cast

import torch
from torch.utils.data import DataLoader

from tutelage.data import randomness
from tutelage.data.contents import dataset_fingerprint
from tutelage.data.source import Share, Source
from tutelage.data.turns import show_epoch, views_described, views_in
from tutelage.errors import DataError
from tutelage.signals import Batch, Placed


class LoaderSource(Source):
    """Epochs of a DataLoader.

    A loader draws from random generators when its iterator is made: from its own, its sampler's,
    or the global one. So the state *before* that moment is kept; to go on in mid-epoch the
    iterator is made from that state again and the batches already seen are loaded and dropped.
    That is exact, with workers too, for samplers that draw when they are iterated, or from a torch
    generator that is their attribute `generator`, as torch's own do. Out of reach are random
    augmentation in persistent workers (but for `Views`) and samplers that keep random state
    elsewhere.

    Args:
        name: The argument's name, for messages.
        loader: The loader; its batches are global, see `Share`.
        share: Which part of each batch is ours.
        views: How many views of the data take turns; None for as many as it has.

    Raises:
        DataError: The loader is known to yield nothing.
    """

    def __init__(
        self, name: str, loader: DataLoader[Any], share: Share, views: int | None = None
    ) -> None:
        self.name, self.loader, self.share, self.views = name, loader, share, views
        self._begun: dict[str, Any] | None = None
        if self.batches_per_epoch() == 0:
            raise DataError(
                f"`{name}` must yield at least one batch, got an empty DataLoader; "
                "fill its data set, or set drop_last=False"
            )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield our share of the batches of epoch `number`, from batch `start` on."""
        view = show_epoch(self.loader.dataset, number, self.views)
        for raw in self._from(number, start):
            batch = Batch.of(raw)
            if view and not isinstance(raw, Placed):
                batch = replace(batch, view=view)
            yield batch if self.share.of == 1 else self._ours(batch)
        self._begun = None

    def state(self) -> dict[str, Any]:
        """Return the random state at the beginning of the present epoch."""
        return self._begun or self._capture()

    def load(self, state: dict[str, Any]) -> None:
        """Take up a state; the next `epoch` begins from it."""
        self._begun = state
        for generator, kept in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(kept)

    def reseed(self, seed: int) -> None:
        """Let the loader's own generators, if it has any, begin from a seed."""
        for generator in self._generators():
            generator.manual_seed(seed)

    @property
    def description(self) -> dict[str, Any]:
        """The number of batches and how they are drawn."""
        sampler = type(getattr(self.loader, "sampler", None)).__name__
        sizes = {"batches": self.batches_per_epoch(), "batch_size": self.loader.batch_size}
        views = views_described(self.loader.dataset, self.views)
        return sizes | {"sampler": sampler} | views

    def fingerprint(self) -> str:
        """Return what tells the data from others where it is made of `Views`; else it is not seen.

        Views come out the same each time; of other sets nobody knows.
        """
        dataset = self.loader.dataset
        return dataset_fingerprint(dataset) if views_in(dataset) else "not seen"

    def _from(self, number: int, start: int) -> Iterator[Any]:
        """Return the loader's batches from `start` on; see the class for the random states."""
        self._tell_epoch(number)
        self._wake_workers()
        if start == 0:
            self._begun = self._capture()
            return iter(self.loader) if self.share.of == 1 else self._agreed()
        now = randomness.capture()
        randomness.restore(self.state()["global"])
        batches = iter(self.loader)
        deque(islice(batches, start), maxlen=0)
        randomness.restore(now)
        return batches

    def _ours(self, batch: Batch) -> Batch:
        length = len(batch)
        return replace(batch[self.share.rows(length)], copies=self.share.copies(length))

    def _agreed(self) -> Iterator[Any]:
        """Return the loader's batches in an order that all processes draw from rank 0's state."""
        ours, rank_0s = randomness.capture(), [self._begun]
        torch.distributed.broadcast_object_list(rank_0s, src=0)
        self.load(cast("dict[str, Any]", rank_0s[0]))
        randomness.restore(self.state()["global"])
        batches = iter(self.loader)
        # The sampler may draw as late as with the first batch.
        batches = chain(list(islice(batches, 1)), batches)
        if self.share.rank != 0:
            randomness.restore(ours)
        return batches

    def _wake_workers(self) -> None:
        """Start persistent workers, if they ran when the state that was taken up was captured.

        A loader draws once more when it starts them; in the next epochs it does not.
        """
        begun = self._begun
        if begun is None or not begun.get("awake", False) or self._awake():
            return
        with randomness.preserved():
            iter(self.loader)
        self.load(begun)

    def _awake(self) -> bool:
        """Tell whether the loader has persistent workers that run."""
        return (
            self.loader.persistent_workers and getattr(self.loader, "_iterator", None) is not None
        )

    def _capture(self) -> dict[str, Any]:
        generators = [generator.get_state() for generator in self._generators()]
        state = {"global": randomness.capture(), "generators": generators}
        return state | {"awake": self._awake()}

    def _generators(self) -> list[torch.Generator]:
        """Return the generators of the loader and its samplers, each once."""
        batch_sampler = getattr(self.loader, "batch_sampler", None)
        sampler = getattr(batch_sampler, "sampler", None)
        owners = (self.loader, self.loader.sampler, batch_sampler, sampler)
        found = [getattr(owner, "generator", None) for owner in owners]
        return list(
            {id(each): each for each in found if isinstance(each, torch.Generator)}.values()
        )

    def _tell_epoch(self, number: int) -> None:
        """Tell samplers that order by the epoch's number, as torch's DistributedSampler does."""
        for owner in (self.loader, self.loader.batch_sampler, self.loader.sampler):
            set_epoch = getattr(owner, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(number)
