"""Transforms of whole batches, which teacher and student then see alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import describe
from tutelage.signals import Batch

Transform = Callable[[Batch], Batch]
"""From a batch to the one that both sides are shown in its place."""


def transformed(batch: Batch, transform: Transform | None) -> Batch:
    """Return the batch that both sides are shown.

    Where the inputs are other ones, the index is dropped: it would tell a teacher that answers by
    index about examples that nobody was shown.

    Args:
        batch: As the data has it, on the device.
        transform: None for none.

    Raises:
        DataError: What comes back is no batch, or one of another length.
    """
    if transform is None:
        return batch
    found = transform(batch)
    if not isinstance(found, Batch):
        raise DataError(
            f"`transform` must return a tl.Batch, got {describe(found)}; return "
            "dataclasses.replace(batch, inputs=...)"
        )
    if len(found) != len(batch) or _lengths(found) - {len(batch)}:
        raise DataError(
            f"`transform` must return as many examples and labels as it is given, {len(batch)}, "
            f"got {len(found)} with inputs {describe(found.inputs)} and labels "
            f"{describe(found.labels)}; change examples, and add or drop them in the data set"
        )
    index = found.index if found.inputs is batch.inputs else None
    return replace(found, index=index, progress=batch.progress, copies=batch.copies)


def _lengths(batch: Batch) -> set[int]:
    """Return the lengths of what a batch carries beside its inputs."""
    mixture = batch.mixture
    carried = [batch.labels, batch.domain, mixture and mixture.labels, mixture and mixture.share]
    return {len(each) for each in carried if isinstance(each, (Tensor, tuple, list))}
