"""What the losses ask of features: equal shapes, and averages in which padding has no part."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ModelError

_TOKENS = 3


def same_features(student: Tensor, teacher: Tensor) -> None:
    """Refuse features of different shapes.

    Raises:
        ModelError: The shapes differ.
    """
    if student.shape != teacher.shape:
        raise ModelError(
            f"the features of student and teacher must have one shape, got {list(student.shape)} "
            f"(student) and {list(teacher.shape)} (teacher); use a projector, or other layers"
        )


def mean_per_example(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of each example's values, `[batch]`; over the tokens that are no padding.

    Args:
        values: `[batch, …]`.
        mask: Which tokens count, `[batch, tokens]`; looked at only for `[batch, tokens, d]` with as
            many tokens.
    """
    if mask is None or values.ndim != _TOKENS or values.shape[:2] != mask.shape:
        return values.flatten(1).mean(dim=1)
    tokens = values.mean(dim=2).masked_fill(~mask, 0)
    return tokens.sum(dim=1) / mask.sum(dim=1).clamp(min=1)
