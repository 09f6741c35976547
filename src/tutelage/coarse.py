"""Logits of some of the classes, and of one "other" class for all remaining ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import ModelError


@dataclass(frozen=True, slots=True)
class CoarseLogits:
    """The output of a teacher that knows some of the classes, or whose top k classes are stored.

    Each row is a distribution over some classes and one "other" class: the probabilities are the
    softmax of `[logits, other]`.

    Classes sampled from a distribution represent it only on average, and only at the temperature
    `sampled_at` at which they were sampled. Their logits are then the logarithms of their
    frequencies, and `other` is −∞.

    Args:
        ids: `[batch, k]` of int64: the class ids, distinct in a row; −1 pads short rows.
        logits: `[batch, k]`, theirs at temperature 1; −∞ where `ids` is −1.
        other: `[batch]`, logsumexp of the logits of all other classes; −∞ where there are none.
        sampled_at: The temperature at which the classes were sampled; None where they were not.
        classes: How many the student must have; None where that is not known.

    Raises:
        ModelError: The shapes do not match.

    >>> CoarseLogits.of(torch.tensor([[1.0, 3.0]])).ids
    tensor([[0, 1]])
    """

    ids: Tensor
    logits: Tensor
    other: Tensor
    sampled_at: float | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        parts = (self.ids, self.logits, self.other)
        fits = self.ids.ndim == 2 and self.other.shape == self.ids.shape[:1]  # noqa: PLR2004
        if not fits or self.logits.shape != self.ids.shape or self.ids.dtype != torch.int64:
            shapes = [list(each.shape) for each in parts]
            raise ModelError(
                "CoarseLogits must be ids [batch, k] of int64, logits [batch, k] and other "
                f"[batch], got {shapes} and ids of {self.ids.dtype}; bring them to these shapes"
            )

    @classmethod
    def of(cls, logits: Tensor) -> CoarseLogits:
        """Return logits `[batch, classes]` of all classes in this form, with an empty "other"."""
        ids = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape)
        return cls(ids, logits, logits.new_full(logits.shape[:1], -torch.inf))

    @classmethod
    def joined(cls, parts: Sequence[CoarseLogits]) -> CoarseLogits:
        """Concatenate the rows of several; shorter rows are padded.

        Raises:
            ModelError: Some were sampled, and others were not or at another temperature.
        """
        (sampled_at, *different) = {part.sampled_at for part in parts}
        if different:
            raise ModelError(
                "outputs that are joined must all be sampled at one temperature, or none of them, "
                f"got {[part.sampled_at for part in parts]}; label all data with the same settings"
            )
        width = max(part.ids.shape[1] for part in parts)
        same = [widened(part, width) for part in parts]
        columns = ([part.ids, part.logits, part.other] for part in same)
        (classes, *others) = {part.classes for part in parts}
        tensors = map(torch.cat, zip(*columns, strict=True))
        return cls(*tensors, sampled_at=sampled_at, classes=None if others else classes)

    def __len__(self) -> int:
        return len(self.other)

    def __getitem__(self, rows: slice | Tensor) -> CoarseLogits:
        return self.changed(lambda part: part[rows])

    def to(self, device: torch.device) -> CoarseLogits:
        """Return the same on `device`."""
        return self.changed(lambda part: part.to(device))

    def changed(self, change: Callable[[Tensor], Tensor]) -> CoarseLogits:
        """Apply a function, such as one that chooses rows, to ids, logits and "other"."""
        parts = map(change, (self.ids, self.logits, self.other))
        return CoarseLogits(*parts, sampled_at=self.sampled_at, classes=self.classes)


def widened(coarse: CoarseLogits, width: int) -> CoarseLogits:
    """Return the same, with shorter rows padded to `width` classes."""
    missing = (0, width - coarse.ids.shape[1])
    if missing[1] <= 0:
        return coarse
    ids = F.pad(coarse.ids, missing, value=-1)
    logits = F.pad(coarse.logits, missing, value=-torch.inf)
    return replace(coarse, ids=ids, logits=logits)
