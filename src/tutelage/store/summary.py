"""A summary of a store's targets: which classes the teacher confuses, and example rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.signals import CoarseLogits
from tutelage.store.reader import TargetStore

_ROWS_AT_ONCE = 4096
_MOST_ROWS = 50_000
_MOST_CLASSES = 2000
_SHOWN = 3  # classes of an example

_Pairs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Resemblance:
    """The rows where a class is predicted, and the largest mean probabilities in them.

    They are that of the class itself, `own`, and those of `others`, by class, in order.
    """

    predicted: int
    examples: int
    own: float
    others: _Pairs


@dataclass(frozen=True, slots=True)
class Example:
    """One row: its number, and its most probable classes with their probabilities."""

    row: int
    top: _Pairs


def resemblances(store: TargetStore, others: int = 3) -> list[Resemblance]:
    """Return for each predicted class the other classes with the largest mean probabilities.

    The mean is over the first rows with the same predicted class; for a coarse output, over the
    stored classes only. Empty if there is no output `[classes]` with 2 to 2,000 classes, one for
    each example.
    """
    classes = _classes(store)
    if not 1 < classes <= _MOST_CLASSES:
        return []
    totals = torch.zeros(classes, classes, dtype=torch.float64)
    counts = torch.zeros(classes, dtype=torch.int64)
    for probabilities in _probabilities(store, range(min(_MOST_ROWS, store.layout.rows)), classes):
        predicted = probabilities.argmax(dim=1)
        totals.index_add_(0, predicted, probabilities.double())
        counts += predicted.bincount(minlength=classes)
    means = totals / counts.clamp(min=1)[:, None]
    found = []
    for predicted in counts.nonzero().flatten().tolist():
        own = float(means[predicted, predicted])
        means[predicted, predicted] = -1
        (pairs,) = _largest(means[predicted : predicted + 1], min(others, classes - 1))
        found.append(Resemblance(predicted, int(counts[predicted]), own, pairs))
    return found


def examples(store: TargetStore) -> list[Example]:
    """Return the first row, one in the middle and the last; empty as for `resemblances`."""
    classes = _classes(store)
    if classes <= 1:
        return []
    last = store.layout.rows - 1
    rows = sorted({0, last // 2, last})
    (probabilities,) = _probabilities(store, rows, classes)
    largest = _largest(probabilities, min(_SHOWN, classes))
    return [Example(row, pairs) for row, pairs in zip(rows, largest, strict=True)]


def _classes(store: TargetStore) -> int:
    """Return the number of classes of the output; 0 where it has none."""
    output = store.fields[0]
    several = bool(output.positions) or output.by_answer
    if output.name != "output" or len(output.shape) != 1 or several:
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
        if not isinstance(output, CoarseLogits):
            yield output.float().softmax(dim=1)
            continue
        logits = torch.cat([output.logits, output.other[:, None]], dim=1).float()
        probabilities = logits.softmax(dim=1)[:, :-1]
        known = (output.ids >= 0) & (output.ids < classes)
        full = torch.zeros(len(probabilities), classes)
        yield full.scatter_add_(1, output.ids.where(known, 0), probabilities.where(known, 0))


def _largest(probabilities: Tensor, count: int) -> list[_Pairs]:
    """Return the classes with the largest probabilities of each row, and these, in order."""
    top = probabilities.topk(count, dim=1)
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [tuple(zip(ids, values, strict=True)) for ids, values in rows]
