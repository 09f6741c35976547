"""The predicted classes of logits that are too many to keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tutelage.heads import HeadLogits
from tutelage.signals import UNLABELLED


@dataclass(frozen=True)
class Predicted:
    """The class of the largest logit of each row, in place of all logits.

    Args:
        student: `[rows]`, class ids in float64; NaN where a logit is NaN.
        teacher: The same of the teacher; None without one of all classes.
    """

    student: Tensor
    teacher: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Predicted:
        return Predicted(self.student[rows], None if self.teacher is None else self.teacher[rows])

    def metrics(self, labels: object) -> dict[str, float]:
        """Return `accuracy`, where there are class ids as labels, and `agreement`."""
        found: dict[str, float] = {}
        if isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
            known = labels.long() != UNLABELLED
            if bool(known.any()):
                found["accuracy"] = _equal(self.student[known], labels[known])
        if self.teacher is not None:
            found["agreement"] = _equal(self.student, self.teacher)
        return found


def predicted(output: Tensor | HeadLogits) -> Tensor:
    """Return the class of the largest logit of each row, `[rows]` in float64, or NaN."""
    if isinstance(output, HeadLogits):
        own = output.as_computed()
        parts = [predicted(own[rows].logits()) for rows in own.chunks()]
        return torch.cat(parts) if parts else output.hidden.new_zeros(0, dtype=torch.float64)
    largest, classes = output.max(dim=1)  # NaN counts as the largest
    return classes.double().masked_fill(largest.isnan(), torch.nan)


def _equal(ours: Tensor, theirs: Tensor) -> float:
    equal = (ours == theirs).double()
    return equal.masked_fill(ours.isnan() | theirs.isnan(), torch.nan).mean().item()
