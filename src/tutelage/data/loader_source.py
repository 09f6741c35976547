"""A user's DataLoader: its batches in its own order, replayed when a run is resumed."""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, IterableDataset

from tutelage.data import randomness
from tutelage.data.data_fingerprint import data_fingerprint
from tutelage.data.fingerprint import content
from tutelage.data.source import Shard, Source, loaded
from tutelage.data.views import describe_views, show_epoch
from tutelage.errors import DataError
from tutelage.signals import Batch, IndexedExample

_READ = 1000
"""Batches of which the order is read twice."""


class LoaderSource(Source):
    """Epochs of a DataLoader.

    A loader uses random generators when its iterator is created: its own, its sampler's, or the
    global one. So the state *before* that moment is saved. To resume in the middle of an epoch, the
    iterator is created from that state again, and the batches already used are loaded and dropped.
    This is exact, also with workers, for samplers that use the global generators or a torch
    generator in their attribute `generator`, as torch's own do. It is not exact for random
    augmentation in persistent workers (except for `Views`), nor for samplers with other random
    state, of which a warning tells. (torchdata's `StatefulDataLoader` saves neither the global
    random states nor those of samplers, so batches after a resume would differ.)
    """

    def __init__(
        self, name: str, loader: DataLoader[Any], shard: Shard, views: int | None = None
    ) -> None:
        self.name, self.loader, self.shard, self.views = name, loader, shard, views
        self._start_state: dict[str, Any] | None = None
        if self.batches_per_epoch() == 0:
            raise DataError(
                f"`{name}` must yield at least one batch, got an empty DataLoader; "
                "fill its data set, or set drop_last=False"
            )

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's shard of the batches of an epoch, from batch `start` on."""
        view = show_epoch(self.loader.dataset, number, self.views)
        raws = loaded(self._iterator(number, start), self.name, self.loader.dataset)
        streams = isinstance(self.loader.dataset, IterableDataset) and self.loader.num_workers > 1
        if streams and number == start == 0:
            raws = self._checked(raws)
        for raw in raws:
            batch = Batch.of(raw)
            if view and not isinstance(raw, IndexedExample):
                batch = replace(batch, view=view)
            if self.shard.world_size > 1:
                own = batch[self.shard.rows(len(batch))]
                batch = replace(own, replicas=self.shard.replicas(len(batch)))
            yield batch
        self._start_state = None

    def state(self) -> dict[str, Any]:
        """Return the random state at the start of the current epoch."""
        return self._start_state or self._capture()

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state; the next `epoch` starts from it."""
        self._start_state = state
        for generator, saved in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(saved)

    def reseed(self, seed: int) -> None:
        """Seed the loader's own generators, if it has any."""
        for generator in self._generators():
            generator.manual_seed(seed)

    @property
    def description(self) -> dict[str, Any]:
        """The number of batches, their size and the sampler."""
        sampler = type(getattr(self.loader, "sampler", None)).__name__
        sizes = {"batches": self.batches_per_epoch(), "batch_size": self.loader.batch_size}
        return sizes | {"sampler": sampler} | describe_views(self.loader.dataset, self.views)

    def fingerprint(self) -> str | None:
        """Return a hash of the data set, the sampler's data and the collate function's result."""
        return data_fingerprint(self.name, self.loader.dataset, self.loader)

    def _iterator(self, number: int, start: int) -> Iterator[Any]:
        """Return the loader's batches from `start` on; see the class for the random states."""
        for owner in (self.loader, self.loader.batch_sampler, self.loader.sampler):
            set_epoch = getattr(owner, "set_epoch", None)
            if callable(set_epoch):  # as torch's DistributedSampler has it
                set_epoch(number)
        self._start_workers()
        if start == 0:
            self._start_state = self._capture()
            return iter(self.loader) if self.shard.world_size == 1 else self._synchronized()
        self._tell_if_not_exact()
        now = randomness.capture()
        randomness.restore(self.state()["global"])
        batches = iter(self.loader)
        deque(islice(batches, start), maxlen=0)
        randomness.restore(now)
        return batches

    def _checked(self, raws: Iterator[Any]) -> Iterator[Any]:
        """Yield batches; log if each worker loads all of a stream, by the first two batches."""
        first = list(islice(raws, 2))
        with suppress(DataError):  # what cannot be compared
            if len(first) > 1 and content(first[0]) == content(first[1]):
                logging.getLogger("tutelage").warning(
                    "`%s` comes from %d workers that give the same examples, so that each of them "
                    "counts as often in every epoch; let %s yield a part in each worker (see "
                    "torch.utils.data.get_worker_info), or use one.",
                    self.name, self.loader.num_workers, type(self.loader.dataset).__name__,
                )  # fmt: skip
        yield from first
        yield from raws

    def _tell_if_not_exact(self) -> None:
        """Log that the order cannot be resumed, if a sampler has other random state."""
        if isinstance(self.loader.dataset, IterableDataset):
            return
        state, sampler = self.state(), self.loader.batch_sampler or self.loader.sampler

        def order() -> list[str]:
            self.load(state)
            randomness.restore(state["global"])
            return list(map(str, islice(sampler, _READ)))

        with randomness.preserved():
            same = order() == order()
        self.load(state)
        if not same:
            logging.getLogger("tutelage").warning(
                "`%s` cannot be resumed within an epoch exactly, and this one goes on with other "
                "batches: %s has a random state of its own. Let it draw from the global "
                "generators, or from a torch.Generator in its attribute `generator`.",
                self.name, type(sampler).__name__,
            )  # fmt: skip

    def _synchronized(self) -> Iterator[Any]:
        """Return the loader's batches in the same order on all processes, from rank 0's state."""
        own, shared = randomness.capture(), [self._start_state]
        torch.distributed.broadcast_object_list(shared, src=0)
        self.load(cast("dict[str, Any]", shared[0]))
        randomness.restore(self.state()["global"])
        batches = iter(self.loader)
        # Loaded now, since the sampler may use random numbers as late as the first batch.
        batches = chain(list(islice(batches, 1)), batches)
        if self.shard.rank != 0:
            randomness.restore(own)
        return batches

    def _start_workers(self) -> None:
        """Start persistent workers, if they ran when the restored state was captured.

        A loader uses one more random number in the epoch that starts them than in later ones.
        """
        start_state = self._start_state
        if start_state and start_state["workers"] and not self._has_workers():
            with randomness.preserved():
                iter(self.loader)
            self.load(start_state)

    def _has_workers(self) -> bool:
        """Tell whether the loader has running persistent workers."""
        return (
            self.loader.persistent_workers and getattr(self.loader, "_iterator", None) is not None
        )

    def _capture(self) -> dict[str, Any]:
        generators = [generator.get_state() for generator in self._generators()]
        state = {"global": randomness.capture(), "generators": generators}
        return state | {"workers": self._has_workers()}

    def _generators(self) -> list[torch.Generator]:
        """Return the generators of the loader and its samplers, without duplicates."""
        batch_sampler = getattr(self.loader, "batch_sampler", None)
        sampler = getattr(batch_sampler, "sampler", None)
        owners = (self.loader, self.loader.sampler, batch_sampler, sampler)
        found = [getattr(owner, "generator", None) for owner in owners]
        return list(
            {id(each): each for each in found if isinstance(each, torch.Generator)}.values()
        )
