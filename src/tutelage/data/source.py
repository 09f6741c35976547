"""Batches for training, epoch after epoch, which can start in the middle of an epoch.

`Source` is what training reads; `TensorSource` and `SetSource` are those of map-style data sets.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tutelage.data import randomness
from tutelage.data.collate import collate
from tutelage.data.randomness import mixed_seed, undisturbed
from tutelage.data.sets import load
from tutelage.data.tensor_table import Table
from tutelage.data.views import describe_views, show_epoch, views_in
from tutelage.errors import DataError, TutelageError
from tutelage.nested import describe, split_dict
from tutelage.signals import Batch, IndexedExample

_GROUPED, _GROUPS = 50, 4
"""So many batches are sorted by length together; fewer if the data would make less than four such
groups, so that small data too has other batches in each epoch (as in transformers)."""
_READ_TWICE = 8
_MOST_TEXTS = 1_000_000
_BYTES_AT_ONCE = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Shard:
    """The part of every batch for this process: process `rank` of `world_size`.

    Batches are global: with more processes, each takes fewer examples of the same batches, so the
    number of processes changes the speed and not the result. A batch of fewer examples than
    processes is given to each as a whole, as a copy.
    """

    rank: int = 0
    world_size: int = 1

    def rows(self, length: int) -> slice:
        """Return the rows of this process in a batch of `length` examples."""
        if length < self.world_size:
            return slice(0, length)
        return slice(
            length * self.rank // self.world_size, length * (self.rank + 1) // self.world_size
        )

    def replicas(self, length: int) -> int:
        """Return how many processes have the same rows of a batch of `length` examples."""
        return self.world_size if length < self.world_size else 1


class Source(ABC):
    """Batches in an order that can be resumed in the middle of an epoch.

    Attributes:
        epochs_are_alike: Whether all epochs have the same examples.
    """

    epochs_are_alike: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches in an epoch; a TypeError says that it is not known."""

    @abstractmethod
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield this process's shard of the batches of an epoch, from batch `start` on."""

    def peek(self, suits: Callable[[Batch | None], bool] = lambda _: True) -> Batch | None:
        """Return the first batch that suits; the order and random states do not change.

        It must not be called in the middle of an epoch.

        Args:
            suits: Whether to stop at a batch, or at None, behind the last, which must suit.
        """
        state = self.state()
        with randomness.preserved():
            batches = self.epoch(0)
            batch = next(batches, None)
            while not suits(batch):
                batch = next(batches, None)
        self.load(state)
        return batch

    def state(self) -> dict[str, Any]:
        """Return what another process needs, besides the arguments of `epoch`, to resume."""
        return {}

    def load(self, state: dict[str, Any]) -> None:  # noqa: B027 - most orders have no state
        """Restore a `state`; the next call must be `epoch`, with the batch that follows it."""

    def record(self) -> dict[str, float]:
        """Return what the log of an epoch that has just ended is to have of its batches."""
        return {}

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Sizes and order, as part of a run's identity."""

    def batches_per_epoch(self) -> int | None:
        """Return the number of batches in an epoch; None where it is not known in advance."""
        try:
            return len(self)
        except TypeError:
            return None


@dataclass(frozen=True, slots=True)
class Order:
    """The positions in each batch of an epoch, a pure function of seed and epoch.

    Without a seed it is the order of the data. The last batch may be smaller. With `lengths`,
    `[examples]`, a batch has examples of similar length: the examples of every 50 batches in the
    drawn order (or of a quarter of all batches, if fewer) are sorted by length, and then the order
    of the batches is drawn.
    """

    examples: int
    batch_size: int
    seed: int | None
    lengths: Tensor | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def batches(self, epoch: int, start: int) -> list[Tensor]:
        """Return the positions in each batch of an epoch, from batch `start` on."""
        if self.seed is None:
            positions = torch.arange(self.examples)
        else:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, epoch))
            positions = torch.randperm(self.examples, generator=generator)
            if self.lengths is not None:
                return self._grouped(positions, self.lengths, generator)[start:]
        return list(positions.split(self.batch_size))[start:]

    def _grouped(
        self, positions: Tensor, lengths: Tensor, generator: torch.Generator
    ) -> list[Tensor]:
        grouped = min(_GROUPED, max(1, len(positions) // (_GROUPS * self.batch_size)))
        groups = positions.split(grouped * self.batch_size)
        ordered = torch.cat([each[lengths[each].argsort(stable=True)] for each in groups])
        batches = list(ordered.split(self.batch_size))
        whole = len(ordered) // self.batch_size  # a smaller batch stays the last one
        drawn = torch.randperm(whole, generator=generator).tolist()
        return [*(batches[at] for at in drawn), *batches[whole:]]


def loaded(raws: Iterator[Any], name: str, dataset: object) -> Iterator[Any]:
    """Yield what a loader yields; an error of the user's data set becomes a `DataError`."""
    try:
        yield from raws
    except (TutelageError, MemoryError):
        raise
    except Exception as error:
        raise DataError(
            f"`{name}` ({type(dataset).__name__}) could not be loaded: {type(error).__name__}: "
            f"{error}; its examples must be tensors, numbers, or tuples or dicts of them, of one "
            "shape"
        ) from error


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

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches; one look-up serves as many of them as a few megabytes hold."""
        table, batches = self.table, self._ours(number, start)
        row_bytes = sum(column.row_bytes() for column in table.columns)
        at_once = max(1, _BYTES_AT_ONCE // max(1, row_bytes * self.order.batch_size))
        for first in range(0, len(batches), at_once):
            several = batches[first : first + at_once]
            lengths = [len(positions) for positions, _ in several]
            index = torch.cat([positions for positions, _ in several])
            rows = index if table.rows is None else table.rows[index]
            columns = [column.take(rows).split(lengths) for column in table.columns]
            domains = None if table.domain is None else table.domain[rows].split(lengths)
            for place, (positions, replicas) in enumerate(several):
                parts = [column[place] for column in columns]
                labels = None if table.labels is None else parts.pop()
                inputs = parts[0] if len(parts) == 1 else tuple(parts)
                numbers = None if domains is None else domains[place].tolist()
                names = None if numbers is None else [table.names[each] for each in numbers]
                yield Batch(inputs, labels, positions, names, replicas=replicas)


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


def lengths_of(name: str, dataset: Any, views: int | None = None) -> Tensor:
    """Return the length of each example's longest input, `[examples]`.

    That is the number of characters of a str, and else the size of the first dimension. All
    examples are loaded once, each under a seed of its own and in the first view, since the lengths
    decide the order, which must be the same in all processes and after a restart. Random states do
    not change.

    Args:
        name: Of the data, for messages.
        dataset: A map-style data set.
        views: The number of views to cycle through, as for `as_source`.

    Raises:
        DataError: An example cannot be loaded or has no length, or another one each time.
    """
    places = range(len(dataset))
    with undisturbed(dataset):
        show_epoch(dataset, 0, views)
        lengths = torch.tensor([_length(dataset, place) for place in places])
        for place in places[:: max(1, len(places) // _READ_TWICE)]:
            again = _length(dataset, place)
            if again != lengths[place]:
                raise DataError(
                    f"`group_by_length` needs examples of the same length each time, got example "
                    f"{place} of `{name}` with {int(lengths[place])} and {again}; leave it out, or "
                    "let the data set draw from torch's, numpy's or Python's global generator"
                )
    return lengths


def lengths_of_texts(name: str, dataset: Any) -> Tensor | None:
    """Return `lengths_of` examples whose inputs are of str; None of others, and of very many."""
    if len(dataset) > _MOST_TEXTS or views_in(dataset):
        return None
    with suppress(DataError):  # such as of examples of another length each time
        with undisturbed(dataset):
            first = _inputs(dataset, 0)
        if all(isinstance(each, str) for each in (first if isinstance(first, tuple) else [first])):
            return lengths_of(name, dataset)
    return None


def _length(dataset: Any, place: int) -> int:
    """Return the length of the longest input of an example."""
    inputs = _inputs(dataset, place)
    found = _longest(inputs)
    if found is None:
        raise DataError(
            "`group_by_length` needs examples that have a length, such as texts or lists of "
            f"tokens, got {describe(inputs)}; leave it out"
        )
    return found


def _inputs(dataset: Any, place: int) -> Any:
    """Return the inputs of an example."""
    randomness.seed_augmentation(place)
    example = load(dataset, place)
    example = example.example if isinstance(example, IndexedExample) else example
    if isinstance(example, Mapping):
        return split_dict(example)[0]
    return example[0] if isinstance(example, (tuple, list)) else example


def _longest(inputs: Any) -> int | None:
    """Return the length of the longest of an example's inputs; None if none has a length."""
    if isinstance(inputs, (Mapping, tuple)):
        parts = inputs.values() if isinstance(inputs, Mapping) else inputs
        return max((each for each in map(_longest, parts) if each is not None), default=None)
    return len(inputs) if hasattr(inputs, "__len__") and getattr(inputs, "ndim", 1) else None
