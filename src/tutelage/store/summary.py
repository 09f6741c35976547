"""A summary of a store's targets: which classes the teacher confuses, and example rows."""

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
    """The classes that the teacher finds similar to one class.

    Args:
        predicted: The class with the largest probability.
        examples: The number of rows where it is predicted.
        own: Its mean probability in these rows.
        others: The other classes with the largest mean probabilities, and these, in order.
    """

    predicted: int
    examples: int
    own: float
    others: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One row: its number, and its most probable classes with their probabilities."""

    row: int
    top: tuple[tuple[int, float], ...]


def resemblances(store: TargetStore, rows: int = 50_000, others: int = 3) -> list[Resemblance]:
    """Return for each predicted class the other classes with the largest mean probabilities.

    The mean is over the first rows with the same predicted class; for a coarse output, over the
    stored classes only. Empty if there is no output `[classes]` with 2 to 2,000 classes.
    """
    classes = _classes(store)
    if not 1 < classes <= _MOST_CLASSES:
        return []
    totals = torch.zeros(classes, classes, dtype=torch.float64)
    counts = torch.zeros(classes, dtype=torch.int64)
    for probabilities in _probabilities(store, range(min(rows, store.layout.rows)), classes):
        predicted = probabilities.argmax(dim=1)
        totals.index_add_(0, predicted, probabilities.double())
        counts += predicted.bincount(minlength=classes)
    means = totals / counts.clamp(min=1)[:, None]
    return [
        _resemblance(number, int(counts[number]), means[number], others)
        for number in range(classes)
        if counts[number]
    ]


def examples(store: TargetStore, count: int = 3, top: int = 3) -> list[Example]:
    """Return a few rows, spread over the store; empty as for `resemblances`."""
    classes = _classes(store)
    if classes <= 1:
        return []
    last = store.layout.rows - 1
    rows = sorted({last * i // max(count - 1, 1) for i in range(count)})
    (probabilities,) = _probabilities(store, rows, classes)
    best = probabilities.topk(min(top, classes), dim=1)
    return [
        Example(row, tuple(zip(ids.tolist(), values.tolist(), strict=True)))
        for row, ids, values in zip(rows, best.indices, best.values, strict=True)
    ]


def _classes(store: TargetStore) -> int:
    """Return the number of classes of the output; 0 where it has none."""
    output = store.fields[0]
    if output.name != "output" or len(output.shape) != 1:
        return 0
    if output.form == "dense":
        return output.shape[0]
    if output.classes:
        return output.classes
    ids = store.read("output", range(min(_ROWS_AT_ONCE, store.layout.rows)))
    return int(ids.ids.max()) + 1 if isinstance(ids, CoarseLogits) else 0


def _probabilities(store: TargetStore, rows: range | list[int], classes: int) -> Iterator[Tensor]:
    """Yield probabilities `[rows, classes]`; those of classes that are not stored are 0."""
    for first in range(0, len(rows), _ROWS_AT_ONCE):
        output = store.read("output", list(rows[first : first + _ROWS_AT_ONCE]))
        if isinstance(output, CoarseLogits):
            yield _scattered(output, classes)
        else:
            yield output.float().softmax(dim=1)


def _scattered(output: CoarseLogits, classes: int) -> Tensor:
    logits = torch.cat([output.logits, output.other[:, None]], dim=1).float()
    probabilities = logits.softmax(dim=1)[:, :-1]
    known = (output.ids >= 0) & (output.ids < classes)
    full = torch.zeros(len(probabilities), classes)
    return full.scatter_add_(1, output.ids.where(known, 0), probabilities.where(known, 0))


def _resemblance(predicted: int, count: int, means: Tensor, others: int) -> Resemblance:
    own = float(means[predicted])
    beside = means.clone()
    beside[predicted] = -1
    top = beside.topk(min(others, len(means) - 1))
    pairs = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return Resemblance(predicted, count, own, pairs)
