"""Labels of rows, where examples have several answers; read from the data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def row_labels(batch: Batch) -> dict[int, RowLabels]:
    """Return the labels of rows of a batch, for outputs of each number of dimensions."""
    found = {}
    for dimensions in _DIMENSIONS:
        rows = rows_of(batch, dimensions)
        if rows is not None:
            labels = labels_by_row(batch, rows).labels
            if labels is not None:
                labels = labels.cpu() if len(labels) == len(rows) else None
            found[dimensions] = RowLabels(Rows.counted(rows.counts.cpu()), labels)
    return found


def joined_row_labels(batches: Sequence[Mapping[int, RowLabels]]) -> tuple[RowLabels, ...]:
    """Return the labels of rows of all batches, for dimensions that all of them have."""
    found = []
    for dimensions in _DIMENSIONS:
        parts = [each[dimensions] for each in batches if dimensions in each]
        if parts and len(parts) == len(batches):
            labels = [each.labels for each in parts if each.labels is not None]
            rows = Rows.joined([each.rows for each in parts])
            whole = len(labels) == len(parts)
            found.append(RowLabels(rows, torch.cat(labels) if whole else None))
    return tuple(found)


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
