"""Batches of given texts and of those that the student writes, in an order that can be resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import torch

from tutelage.data.data_fingerprint import SAMPLED
from tutelage.data.dataset_source import SetSource
from tutelage.data.on_policy import OnPolicy
from tutelage.data.randomness import mixed_seed
from tutelage.data.source import Order, Shard, Source
from tutelage.errors import DataError
from tutelage.signals import Batch

Write = Callable[[Batch, int], Batch]
"""Callable: (a batch of prompts, a seed) → the batch of texts that begin with them."""

_GOLDEN = 0.6180339887498949


class OnPolicySource(Source):
    """The batches of `OnPolicy`.

    Batch k of the run is written if (u + k·φ) mod 1 is less than the share at that moment, with φ
    the golden ratio and u from the seed: so any stretch of batches has very nearly the share that
    it should, which separate draws would not.

    Args:
        name: Of the data, for messages.
        policy: What the user gave.
        batch_size: Over all processes.
        seed: Of the order, of which batches are written, and of their tokens; None for the data's
            own order.
        shard: The part of this process.

    Attributes:
        epochs: Of the whole run, for the schedule of the share; 1 until a run sets it.
        write: What the student writes; None until a run sets it.
    """

    epochs_are_alike = False  # one may have no given text, and so no label

    epochs: int = 1
    write: Write | None = None

    def __init__(
        self, name: str, policy: OnPolicy, batch_size: int, seed: int | None, shard: Shard
    ) -> None:
        self.name, self.policy, self.seed, self.shard = name, policy, seed or 0, shard

        def source(data: Any) -> SetSource:
            return SetSource(name, data, Order(len(data), batch_size, seed), shard)

        self.prompts = source(policy.prompts)
        self.texts = None if policy.given is None else source(policy.given)
        self._written = _nothing()

    def __len__(self) -> int:
        return len(self.prompts)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches; those of prompts are written when they are due."""
        if self.write is None:
            raise DataError(
                f"tl.OnPolicy is data for `train` of distill alone, where a student writes, got it "
                f"as `{self.name}`; give texts"
            )
        if start == 0:
            self._written = _nothing()
        places = range(start, len(self))
        written = [place for place in places if self.is_written(number, place)]
        prompts, texts = self.prompts.chosen(number, written), self._given(number, start)
        for place in places:
            if not self.is_written(number, place):
                yield next(texts)
                continue
            batch = next(prompts)
            rank = 0 if batch.replicas > 1 else self.shard.rank  # copies are the same texts
            seed = mixed_seed(mixed_seed(mixed_seed(self.seed, number), place), rank)
            yield self._timed(self.write, batch, seed)

    def is_written(self, epoch: int, place: int) -> bool:
        """Tell whether the student writes a batch."""
        progress = (epoch + place / len(self)) / self.epochs
        number = epoch * len(self) + place
        threshold = (mixed_seed(self.seed, 0) / 2**63 + number * _GOLDEN) % 1
        return threshold < self.policy.share(min(progress, 1.0))

    def _given(self, number: int, start: int) -> Iterator[Batch]:
        """Yield the given texts of an epoch's batches from `start` on.

        Batch k of all epochs is batch k of the given texts, so that an epoch over one data set has
        each of its examples once, as a prompt or as a text.
        """
        if self.texts is None:
            return
        whole, every = len(self), len(self.texts)
        wanted = [place for place in range(start, whole) if not self.is_written(number, place)]
        places = [divmod(number * whole + place, every) for place in wanted]
        for epoch, several in groupby(places, key=lambda each: each[0]):
            yield from self.texts.chosen(epoch, [place for _, place in several])

    def _timed(self, write: Write, prompts: Batch, seed: int) -> Batch:
        began = time.monotonic()
        batch = write(prompts, seed)
        found = self._written
        found["seconds"] += time.monotonic() - began
        found["texts"] += len(batch) / batch.replicas
        found["tokens"] += (
            0 if batch.row_mask is None else int(batch.row_mask.sum()) / batch.replicas
        )
        return batch

    def state(self) -> dict[str, float]:
        """Return what was written in the present epoch, in numbers: a process's on average."""
        every = [self._written] * self.shard.world_size
        if self.shard.world_size > 1:
            torch.distributed.all_gather_object(every, self._written)
        return {name: sum(each[name] for each in every) / len(every) for name in self._written}

    def load(self, state: dict[str, Any]) -> None:
        """Restore these numbers."""
        self._written = dict(state)

    def record(self) -> dict[str, float]:
        """Return how many texts and tokens were written in the epoch, and in which time."""
        found = self.state()
        found |= {name: self.shard.world_size * found[name] for name in ("texts", "tokens")}
        return {f"written/{name}": each for name, each in found.items()}

    @property
    def description(self) -> dict[str, Any]:
        """The sizes of the data and the settings."""
        given = {} if self.policy.texts is None else {"texts": len(self.policy.texts)}
        return self.prompts.description | given | {"on_policy": self.policy.settings}

    def fingerprint(self) -> str:
        """Return a hash of the prompts and one of the given texts."""
        found = [self.prompts.fingerprint()]
        if self.texts is not None and self.policy.texts is not None:
            found.append(self.texts.fingerprint())
        seen = ["not seen" if each is None else each.removesuffix(SAMPLED) for each in found]
        whole = all(each is not None and not each.endswith(SAMPLED) for each in found)
        return f"OnPolicy {'; '.join(seen)}{'' if whole else SAMPLED}"


def _nothing() -> dict[str, float]:
    return {"texts": 0, "tokens": 0, "seconds": 0.0}
