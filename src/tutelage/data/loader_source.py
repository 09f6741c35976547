"""A user's DataLoader: its batches in its own order, replayed when a run is resumed."""

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from tutelage.data import randomness
from tutelage.data.fingerprint import content
from tutelage.data.source import Shard, Source, loaded
from tutelage.data.views import describe_views, show_epoch
from tutelage.errors import DataError
from tutelage.signals import Batch, IndexedExample

_DRAWN = (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)
_READ = 1000
"""Batches of which the order is read twice."""


class LoaderSource(Source):
    """Epochs of a DataLoader, or of any other iterable of batches.

    A loader uses random generators when its iterator is created: its own, its sampler's, or the
    global one. So the state *before* that moment is saved. To resume in the middle of an epoch, the
    iterator is created from that state again, and the batches already used are loaded and dropped.
    This is exact, also with workers, for samplers that use the global generators or a torch
    generator in their attribute `generator`, as torch's own do. It is not exact for random
    augmentation in persistent workers (except for `Views`), nor for samplers with other random
    state, for which a warning is logged. (torchdata's `StatefulDataLoader` saves neither the global
    random states nor those of samplers, so batches after a resume would differ.)

    With several processes each takes its part of every batch, unless the loader is split already,
    so that each process reads examples of its own: by a `DistributedSampler`, by Accelerate, or in
    a way that shows in the first batches. Then all of a process's batches are its own. A process
    that has fewer repeats its last one, with weight 0, until all have ended.
    """

    def __init__(
        self, name: str, loader: Iterable[Any], shard: Shard, views: int | None = None
    ) -> None:
        self.name, self.shard, self.views = name, shard, views
        self.loader: Any = loader
        self.dataset: Any = getattr(loader, "dataset", loader)
        self._start_state: dict[str, Any] | None = None
        self._held: Iterator[Any] | None = None  # of a stream that cannot be read twice
        self._last: list[Any] = []  # the last batch that was dropped to resume
        self._split: bool | None = None  # not known before the first batch
        length = None
        with suppress(TypeError):  # of a stream
            length = len(self.loader)
        self._lengths = self._gathered(length)
        if self.batches_per_epoch() == 0:
            raise DataError(
                f"`{name}` must yield at least one batch, got an empty {type(loader).__name__}; "
                "fill its data set, or set drop_last=False"
            )

    def __len__(self) -> int:
        if None in self._lengths:
            raise TypeError("a stream has no length")
        return max(self._lengths)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's batches of an epoch, from batch `start` on."""
        view = show_epoch(self.dataset, number, self.views)
        raws = loaded(self._iterator(number, start), self.name, self.dataset)
        streams = isinstance(self.dataset, IterableDataset)
        if streams and self.loader.num_workers > 1 and number == start == 0:
            raws = self._checked(raws)
        if self._split and (None in self._lengths or len(set(self._lengths)) > 1):
            raws = self._until_all_end(raws)
        for raw in raws:
            batch = Batch.of(raw)
            if view and not isinstance(raw, IndexedExample):
                batch = replace(batch, view=view)
            if self.shard.world_size > 1 and not self._split:
                own = batch[self.shard.rows(len(batch))]
                batch = replace(own, replicas=self.shard.replicas(len(batch)))
            yield batch
        self._start_state = None

    def peek(self, suits: Callable[[Batch | None], bool] = lambda _: True) -> Batch | None:
        """Return the first batch that suits; the order and random states do not change."""
        inside = getattr(self.dataset, "__dict__", {}).values()
        if not any(hasattr(each, "__next__") for each in (self.dataset, *inside)):
            return super().peek(suits)
        with randomness.preserved():  # what is read of it is not read again
            raws, read = iter(self.loader), list[Any]()
            while True:
                read += (found := list(islice(raws, 1)))
                batch = Batch.of(found[0]) if found else None
                if suits(batch):
                    break
        self._held = chain(read, raws)
        return batch

    def state(self) -> dict[str, Any]:
        """Return the random state at the start of the current epoch."""
        return self._start_state or self._capture()

    def load(self, state: dict[str, Any]) -> None:
        """Restore a state; the next `epoch` starts from it."""
        self._start_state, self._split = state, state["split"]
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
        size = getattr(self.loader, "batch_size", None)
        sizes = {"batches": self.batches_per_epoch(), "batch_size": size}
        return sizes | {"sampler": sampler} | describe_views(self.dataset, self.views)

    def _iterator(self, number: int, start: int) -> Iterator[Any]:
        """Return the loader's batches from `start` on; see the class for the random states."""
        for owner in (self.loader, *self._samplers()):
            set_epoch = getattr(owner, "set_epoch", None)
            if callable(set_epoch):  # as torch's DistributedSampler has it
                set_epoch(number)
        self._start_workers()
        if start == 0:
            self._start_state, self._last = self._capture(), []
            return self._fresh() if self.shard.world_size == 1 else self._synchronized()
        self._warn_if_inexact()
        now = randomness.capture()
        randomness.restore(self.state()["global"])
        batches = self._fresh()
        self._last = list(deque(islice(batches, start), maxlen=1))
        randomness.restore(now)
        return batches

    def _fresh(self) -> Iterator[Any]:
        held, self._held = self._held, None
        return iter(self.loader) if held is None else held

    def _until_all_end(self, raws: Iterator[Any]) -> Iterator[Batch]:
        """Yield batches as long as any process has one; see the class."""
        last = Batch.of(self._last[0]) if self._last else None
        while True:
            batch = next(map(Batch.of, raws), None)
            have = self._gathered(batch is not None)
            if not any(have):
                return
            if batch is None and last is None:
                raise DataError(
                    f"`{self.name}` must have a batch in each process in every epoch, got none in "
                    f"process {self.shard.rank}; split it into parts of similar length"
                )
            if batch is None:
                yield replace(cast("Batch", last), replicas=math.inf)
            else:
                yield (last := batch)

    def _gathered(self, value: Any) -> list[Any]:
        """Return a value of each process."""
        found = [value] * self.shard.world_size
        if self.shard.world_size > 1 and torch.distributed.is_initialized():
            torch.distributed.all_gather_object(found, value)
        return found

    def _checked(self, raws: Iterator[Any]) -> Iterator[Any]:
        """Yield batches; log if each worker loads all of a stream, by the first two batches."""
        first = list(islice(raws, 2))
        with suppress(DataError):  # what cannot be compared
            if len(first) > 1 and content(first[0]) == content(first[1]):
                logging.getLogger("tutelage").warning(
                    "`%s` comes from %d workers that give the same examples, so that each of them "
                    "counts as often in every epoch; let %s yield a part in each worker (see "
                    "torch.utils.data.get_worker_info), or use one.",
                    self.name, self.loader.num_workers, type(self.dataset).__name__,
                )  # fmt: skip
        yield from first
        yield from raws

    def _warn_if_inexact(self) -> None:
        """Log that the order cannot be resumed, if a sampler has other random state."""
        sampler = next(iter(self._samplers()), None)
        if isinstance(self.dataset, IterableDataset) or sampler is None:
            return
        state = self.state()

        def order() -> list[str]:
            self.load(state)
            randomness.restore(state["global"])
            return list(map(str, islice(sampler, _READ)))

        with randomness.preserved():
            same = order() == order()
        self.load(state)
        if not same:
            logging.getLogger("tutelage").warning(
                "`%s` cannot be resumed within an epoch exactly, and this one continues with other "
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
        batches = self._fresh()
        # Loaded now, since the sampler may use random numbers as late as the first batch.
        first = list(islice(batches, 1))
        if self._split is None:
            self._split = self._is_split(first)
            self._start_state = {**self.state(), "split": self._split}
        if self.shard.rank != 0:
            randomness.restore(own)
        return chain(first, batches)

    def _is_split(self, first: list[Any]) -> bool:
        """Tell whether each process reads examples of its own: by the first batch of each.

        Inputs that differ may be augmented; labels that differ are of other examples.
        """
        owners = (self.loader, *self._samplers())
        known = [getattr(each, "num_replicas", 1) > 1 for each in owners]
        known += [type(each).__module__ == "accelerate.data_loader" for each in owners]
        known += [len(set(self._lengths)) > 1]
        if any(known):
            return True
        batch = Batch.of(first[0]) if first else None
        parts = [None, None] if batch is None else [batch.labels, batch.inputs]
        with suppress(DataError):
            prints = self._gathered([content(each) for each in parts])
            labels, inputs = ({each[part] for each in prints} for part in range(2))
            return len(labels) > 1 or (
                len(inputs) > 1 and self._repeats(prints[self.shard.rank][1])
            )
        return False

    def _repeats(self, inputs: str) -> bool:
        """Tell whether the first batch has these inputs again, in all processes."""
        if isinstance(self.dataset, IterableDataset) or not isinstance(self.loader, DataLoader):
            return True
        state = self.state()
        with randomness.preserved():
            self.load(state)
            randomness.restore(state["global"])
            again = Batch.of(next(iter(self.loader))).inputs
        self._split = None
        return all(self._gathered(content(again) == inputs))

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
        persistent = getattr(self.loader, "persistent_workers", False)
        return persistent and getattr(self.loader, "_iterator", None) is not None

    def _capture(self) -> dict[str, Any]:
        generators = [generator.get_state() for generator in self._generators()]
        state = {"global": randomness.capture(), "generators": generators}
        return state | {"workers": self._has_workers(), "split": self._split}

    def _generators(self) -> list[torch.Generator]:
        """Return the generators of the loader and its samplers, without duplicates."""
        found = [getattr(owner, "generator", None) for owner in (self.loader, *self._samplers())]
        return list(
            {id(each): each for each in found if isinstance(each, torch.Generator)}.values()
        )

    def _samplers(self) -> list[Any]:
        """Return the loader's batch sampler, its sampler, and that of the batch sampler."""
        batches, sampler = (
            getattr(self.loader, each, None) for each in ("batch_sampler", "sampler")
        )
        every = (batches, sampler, getattr(batches, "sampler", None))
        return [each for each in every if each is not None]


def used_rows(data: object, length: int) -> np.ndarray:
    """Return which of `length` examples are used, in order: all, or those that a loader draws.

    A sampler that draws some at random draws them under one seed; random states do not change.
    """
    if not isinstance(data, DataLoader):
        return np.arange(length)
    source = LoaderSource("train", data, Shard())
    state = source.state()
    sampled: Any = data.sampler if data.batch_sampler is None else data.batch_sampler
    with randomness.preserved():
        randomness.seed_everything(0)
        drawn = [np.asarray(each) for each in sampled]
    source.load(state)
    if any(each.dtype.kind not in "iu" or each.ndim > 1 for each in drawn):
        return np.arange(length)  # not indices alone
    return np.unique(np.hstack(drawn))


def shuffling_sampler(loader: DataLoader[Any]) -> str | None:
    """Return the class of the sampler by which the order of a loader may change; None for none.

    A sampler of the user's own is read twice, under two seeds, without loading examples. Of an
    iterable data set the order cannot be known.
    """
    if isinstance(loader.dataset, IterableDataset):
        return None
    own: Any = loader.batch_sampler
    if own is None or type(own) is BatchSampler:
        own = loader.sampler if own is None else own.sampler
    if type(own) is SequentialSampler:
        return None
    if isinstance(own, _DRAWN):
        return type(own).__name__
    orders = []
    with randomness.preserved():
        for seed in range(2):
            if callable(set_epoch := getattr(own, "set_epoch", None)):
                set_epoch(0)
            randomness.seed_everything(seed)
            orders.append(list(map(str, own)))
    return None if orders[0] == orders[1] else type(own).__name__
