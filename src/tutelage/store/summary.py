"""What a store holds, in numbers and words, for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.signals import CoarseLogits
from tutelage.store.reader import TargetStore

_ROWS_AT_ONCE = 4096
_MOST_CLASSES = 2000


@dataclass(frozen=True, slots=True)
class Resemblance:
    """To which classes the teacher gives mass where it names another.

    Args:
        name: The class it names.
        examples: How many rows have it as their likeliest.
        own: Mean probability of the class itself, over these.
        others: The classes with the largest mean probability beside it, with that, in order.
    """

    name: int
    examples: int
    own: float
    others: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One row: its number, and its likeliest classes with their probabilities."""

    row: int
    likeliest: tuple[tuple[int, float], ...]


def resemblances(store: TargetStore, rows: int = 50_000, others: int = 3) -> list[Resemblance]:
    """Return what each class is taken for, from the first rows of the output's logits.

    The mean of softmax(logits) over the rows whose likeliest class is the same; of a coarse output
    the single classes that are kept. Empty where the output is not kept, is no `[classes]`, or has
    one column or more than 2,000.
    """
    classes = _classes(store)
    if not 1 < classes <= _MOST_CLASSES:
        return []
    totals = torch.zeros(classes, classes, dtype=torch.float64)
    counts = torch.zeros(classes, dtype=torch.int64)
    for shares in _shares(store, range(min(rows, store.layout.rows)), classes):
        named = shares.argmax(dim=1)
        totals.index_add_(0, named, shares.double())
        counts += named.bincount(minlength=classes)
    means = totals / counts.clamp(min=1)[:, None]
    return [
        _resemblance(name, int(counts[name]), means[name], others)
        for name in range(classes)
        if counts[name]
    ]


def examples(store: TargetStore, count: int = 3, likeliest: int = 3) -> list[Example]:
    """Return a few rows, spread over the store; empty as for `resemblances`."""
    classes = _classes(store)
    if classes <= 1:
        return []
    last = store.layout.rows - 1
    rows = sorted({last * place // max(count - 1, 1) for place in range(count)})
    (shares,) = _shares(store, rows, classes)
    top = shares.topk(min(likeliest, classes), dim=1)
    return [
        Example(row, tuple(zip(ids.tolist(), values.tolist(), strict=True)))
        for row, ids, values in zip(rows, top.indices, top.values, strict=True)
    ]


def _classes(store: TargetStore) -> int:
    """Return how many classes the output is over; 0 where it is over none."""
    output = store.fields[0]
    if output.name != "output" or len(output.shape) != 1:
        return 0
    if output.form == "dense":
        return output.shape[0]
    if output.classes:
        return output.classes
    ids = store.read("output", range(min(_ROWS_AT_ONCE, store.layout.rows)))
    return int(ids.ids.max()) + 1 if isinstance(ids, CoarseLogits) else 0


def _shares(store: TargetStore, rows: range | list[int], classes: int) -> Iterator[Tensor]:
    """Yield probabilities `[rows, classes]`; those of classes that are not kept are 0."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        kept = store.read("output", list(rows[first : first + _ROWS_AT_ONCE]))
        if isinstance(kept, CoarseLogits):
            yield _spread(kept, classes)
        else:
            yield kept.float().softmax(dim=1)


def _spread(kept: CoarseLogits, classes: int) -> Tensor:
    logits = torch.cat([kept.logits, kept.rest[:, None]], dim=1).float()
    shares = logits.softmax(dim=1)[:, :-1]
    known = (kept.ids >= 0) & (kept.ids < classes)
    full = torch.zeros(len(shares), classes)
    return full.scatter_add_(1, kept.ids.where(known, 0), shares.where(known, 0))


def _resemblance(name: int, count: int, means: Tensor, others: int) -> Resemblance:
    own = float(means[name])
    beside = means.clone()
    beside[name] = -1
    top = beside.topk(min(others, len(means) - 1))
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return Resemblance(name, count, own, pairs)
