"""Several transforms, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.data.transform import Transform, transformed
from tutelage.errors import ArgumentError
from tutelage.signals import Batch


@dataclass(frozen=True)
class Chain:
    """Transforms, one after another.

    Args:
        transforms: In their order; at most one of them may mix labels.

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
        """Return what the last of them returns.

        Raises:
            DataError: One cannot take what the one before it returns.
        """
        for transform in self.transforms:
            batch = transformed(batch, transform)
        return batch
