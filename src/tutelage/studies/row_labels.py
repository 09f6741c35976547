"""Labels of rows, where examples have several answers; read from the data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.positions import labels_by_row, rows_of
from tutelage.rows import Rows
from tutelage.signals import Batch

_DIMENSIONS = (3, 4, 5)  # of an output with positions


@dataclass(frozen=True)
class RowLabels:
    """The rows that outputs of a data set have, and their labels, `[rows, …]`, on the CPU."""

    rows: Rows
    labels: Tensor | None


class RowLabelsReader:
    """Collects, batch by batch, the labels of rows for outputs of each number of dimensions."""

    def __init__(self) -> None:
        self._parts: dict[int, list[RowLabels]] = {each: [] for each in _DIMENSIONS}
        self._batches = 0

    def add(self, batch: Batch) -> None:
        """Read a batch."""
        self._batches += 1
        for dimensions, parts in self._parts.items():
            rows = rows_of(batch, dimensions)
            if rows is not None:
                labels = labels_by_row(batch, rows).labels
                fits = labels is not None and len(labels) == len(rows)
                counts = Rows.counted(rows.counts.cpu())
                parts.append(
                    RowLabels(counts, labels.cpu() if fits and labels is not None else None)
                )

    def found(self) -> tuple[RowLabels, ...]:
        """Return those that all batches have."""
        every = [each for each in self._parts.values() if each and len(each) == self._batches]
        return tuple(map(_joined, every))


def row_labels_for(found: Sequence[RowLabels], outputs: int, examples: int) -> RowLabels:
    """Return the rows of so many outputs; equally many for each example where none are known."""
    for each in found:
        if len(each.rows) == outputs:
            return each
    if outputs % examples:
        raise ModelError(
            f"a study must know which of {outputs} outputs belong to which of {examples} examples, "
            f"which have {[len(each.rows) for each in found]} positions with an answer; give "
            "labels (−100 where there are none) or a `row_mask`"
        )
    return RowLabels(Rows.counted(torch.full((examples,), outputs // examples)), None)


def _joined(parts: Sequence[RowLabels]) -> RowLabels:
    labels = [each.labels for each in parts if each.labels is not None]
    rows = Rows.joined([each.rows for each in parts])
    return RowLabels(rows, torch.cat(labels).cpu() if len(labels) == len(parts) else None)
