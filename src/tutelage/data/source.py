"""What training draws from: epochs of batches, which can begin in the middle."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.data import randomness
from tutelage.data.draws import mixed
from tutelage.signals import Batch


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch this process takes: process `rank` of `of`.

    Batches are global: with more processes each takes fewer examples of the same batches, so the
    number of processes changes the speed and not the result. A batch with fewer examples than
    there are processes is taken whole by each, as that many copies.
    """

    rank: int = 0
    of: int = 1

    def rows(self, length: int) -> slice:
        """Return the rows of a batch of `length` examples that are ours."""
        if length < self.of:
            return slice(0, length)
        return slice(length * self.rank // self.of, length * (self.rank + 1) // self.of)

    def copies(self, length: int) -> int:
        """Return how many processes take the same rows of a batch of `length` examples."""
        return self.of if length < self.of else 1


class Source(ABC):
    """Batches, epoch after epoch, in an order that can be taken up again in mid-epoch."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches in an epoch.

        Raises:
            TypeError: It is not known beforehand.
        """

    @abstractmethod
    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield our share of the batches of epoch `number`, from batch `start` on."""

    def peek(self) -> Batch | None:
        """Return some batch, or None if there is none; orders and random states stay as they are.

        It must not be called in mid-epoch.
        """
        state = self.state()
        with randomness.preserved():
            batch = next(self.epoch(0), None)
        self.load(state)
        return batch

    def state(self) -> dict[str, Any]:
        """Return what `epoch` needs, besides its arguments, to go on in another process."""
        return {}

    def load(self, state: dict[str, Any]) -> None:  # noqa: B027 - most orders have no state
        """Take up a `state`; the next call must be `epoch`, with the place that it was taken at."""

    def fingerprint(self) -> str:
        """Return a short text that changes with the data's content, as far as that can be seen."""
        return "not seen"

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Sizes and order, which must be equal for a run to be the same run."""

    def batches_per_epoch(self) -> int | None:
        """Return the number of batches in an epoch; None where it is not known beforehand."""
        try:
            return len(self)
        except TypeError:
            return None


@dataclass(frozen=True, slots=True)
class Order:
    """The batches of each epoch as lists of positions: a pure function of seed and epoch.

    Args:
        examples: How many there are.
        batch_size: How many make a batch; the last may be smaller.
        seed: From which each epoch's order is drawn; None for the order of the data.
    """

    examples: int
    batch_size: int
    seed: int | None

    def __len__(self) -> int:
        return math.ceil(self.examples / self.batch_size)

    def batches(self, epoch: int, start: int) -> list[Tensor]:
        """Return the positions in each batch of an epoch, from batch `start` on."""
        if self.seed is None:
            positions = torch.arange(self.examples)
        else:
            generator = torch.Generator().manual_seed(mixed(self.seed, epoch))
            positions = torch.randperm(self.examples, generator=generator)
        return list(positions.split(self.batch_size))[start:]
