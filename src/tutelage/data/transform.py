"""Transforms of batches, applied before both teacher and student, and chains of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from tutelage.errors import ArgumentError, DataError
from tutelage.nested import describe, named_tensors
from tutelage.signals import Batch

Transform = Callable[[Batch], Batch]
"""Callable: batch → the batch for both teacher and student."""


def transformed(batch: Batch, transform: Transform | None) -> Batch:
    """Return the batch after a transform.

    If the inputs changed, the index is dropped, since targets stored by index do not match them;
    tensors may have changed in place.
    """
    if transform is None:
        return batch
    before = _versions(batch.inputs)
    found = transform(batch)
    if not isinstance(found, Batch):
        raise DataError(
            f"`transform` must return a tl.Batch, got {describe(found)}; return "
            "dataclasses.replace(batch, inputs=...)"
        )
    mixture = found.mixture
    parts = [found.labels, found.domain, mixture and mixture.labels, mixture and mixture.fraction]
    lengths = {len(each) for each in parts if isinstance(each, (Tensor, tuple, list))}
    if len(found) != len(batch) or lengths - {len(batch)}:
        raise DataError(
            f"`transform` must return as many examples and labels as it is given, {len(batch)}, "
            f"got {len(found)} with inputs {describe(found.inputs)} and labels "
            f"{describe(found.labels)}; change examples, and add or drop them in the data set"
        )
    same = found.inputs is batch.inputs and _versions(found.inputs) == before
    index = found.index if same else None
    return replace(found, index=index, progress=batch.progress, replicas=batch.replicas)


def _versions(inputs: Any) -> list[Any]:
    """Return what changes if tensors or texts of inputs are others, or are changed in place."""
    tensors = [each for _, each in named_tensors(inputs)]
    # With the tensors, so that no later one has the `id` of an earlier one.
    versions = [
        (id(each), None if each.is_inference() else each._version, each)  # noqa: SLF001
        for each in tensors
    ]
    return [*versions, *_texts(inputs)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


@dataclass(frozen=True)
class Chain:
    """Several transforms, one after another.

    Args:
        transforms: In the order of application; at most one may mix labels.

    Raises:
        ArgumentError: There is none, or one cannot be called.

    >>> from tutelage.data import Mixup, Noise
    >>> Chain([Noise(0.1), Mixup()])
    Chain(transforms=(Noise(scale=0.1), Mixup(alpha=1.0, within_domain=True)))
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        listed = isinstance(self.transforms, (tuple, list)) and self.transforms
        if not listed or not all(
            callable(each) and not isinstance(each, type) for each in self.transforms
        ):
            raise ArgumentError(
                "`transforms` must be a list of functions from a batch to a batch, got "
                f"{self.transforms!r}; for instance [tl.data.Noise(0.1), tl.data.Mixup()]"
            )
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        for transform in self.transforms:
            batch = transformed(batch, transform)
        return batch
