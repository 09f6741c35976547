"""Checks and means of features, without padded tokens."""

from __future__ import annotations

from torch import Tensor

from tutelage.errors import ModelError
from tutelage.objectives._tensors import at_least_float32, mean_of_rows

_VECTORS, _TOKENS, _MAPS = 2, 3, 4


def same_features(student: Tensor, teacher: Tensor) -> None:
    """Refuse features of different shapes."""
    if student.shape != teacher.shape:
        raise ModelError(
            f"the features of student and teacher must have one shape, got {list(student.shape)} "
            f"(student) and {list(teacher.shape)} (teacher); use a projector, or other layers"
        )


def same_examples(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not `[batch, …]` of the same number of examples."""
    if min(student.ndim, teacher.ndim) < _VECTORS or len(student) != len(teacher):
        raise ModelError(
            "the features of student and teacher must be [batch, …] of the same examples, got "
            f"{list(student.shape)} (student) and {list(teacher.shape)} (teacher); choose layers "
            "whose first dimension is the batch"
        )


def fitting(mask: Tensor | None, feature: Tensor) -> Tensor | None:
    """Return the mask if it fits the tokens of this feature, `[batch, tokens, d]`."""
    fits = mask is not None and feature.ndim == _TOKENS and feature.shape[:2] == mask.shape
    return mask if fits else None


def without_padding(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return a feature in float32 at least, with 0 at padded tokens."""
    feature, mask = at_least_float32(feature), fitting(mask, feature)
    return feature if mask is None else feature.masked_fill(~mask.unsqueeze(2), 0)


def pooled(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return one vector per example, `[batch, d]`: the mean over pixels or valid tokens."""
    feature, mask = without_padding(feature, mask), fitting(mask, feature)
    if mask is not None:
        return feature.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    if feature.ndim == _MAPS:
        return feature.mean(dim=(2, 3))
    return feature.mean(dim=1) if feature.ndim == _TOKENS else feature.flatten(1)


def mean_per_example(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of each example's values, `[batch]`, over valid tokens if the mask fits."""
    mask = fitting(mask, values)
    if mask is None:
        return mean_of_rows(values.flatten(1))
    tokens = values.sum(dim=2).masked_fill(~mask, 0)
    return tokens.sum(dim=1) / (mask.sum(dim=1).clamp(min=1) * values.shape[2])
