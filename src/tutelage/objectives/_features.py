"""Checks and means of features: of their valid positions, at one size."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.projector import project
from tutelage.layers.resolution import fitting, over_channels, reached, resize_mask, sizes
from tutelage.objectives._tensors import at_least_float32, mean_of_rows
from tutelage.signals import Batch

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


def with_positions(feature: Tensor) -> None:
    """Refuse a feature that has no positions."""
    if feature.ndim not in (_TOKENS, _MAPS):
        raise ModelError(
            "features must have positions, [batch, channels, height, width] or [batch, tokens, d], "
            f"got {list(feature.shape)}; choose a layer before they are pooled or flattened"
        )


def position_mask(batch: Batch, feature: Tensor) -> Tensor | None:
    """Return the batch's mask for a feature of this kind: of tokens, or of rows of a map."""
    if feature.ndim == _TOKENS:
        return batch.token_mask()
    return batch.row_mask if feature.ndim == _MAPS else None


def without_padding(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return a feature in float32 at least, with 0 at invalid positions."""
    feature, mask = at_least_float32(feature), fitting(mask, feature)
    return feature if mask is None else feature.masked_fill(~over_channels(mask, feature), 0)


def unpadded(feature: Tensor, batch: Batch) -> Tensor:
    """Return a feature with 0 where the batch's mask for it, if there is one, is false."""
    return without_padding(feature, position_mask(batch, feature))


def at_the_teachers_size(
    student: Tensor, teacher: Tensor, mask: Tensor | None, module: nn.Module | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return the student's feature at the teacher's size, and the mask of what both sides have.

    Of a mask that fits the tokens of one side only, the other side's is made by resizing.

    Args:
        student: `[batch, tokens, d]` or `[batch, channels, height, width]`; a feature without
            positions is projected only.
        teacher: Of the same kind.
        mask: As in `fitting`.
        module: The projector to the teacher's width; None for none.
    """
    module = nn.Identity() if module is None else module
    if student.ndim != teacher.ndim:  # a custom projector may turn one kind into the other
        return project(module, student, teacher), mask
    ours, theirs = fitting(mask, student), fitting(mask, teacher)
    if theirs is None and ours is None:
        return project(module, student, teacher), None
    if theirs is None:
        theirs = resize_mask(cast("Tensor", ours), sizes(teacher))
    elif ours is None:
        ours = resize_mask(theirs, sizes(student))
    ours = cast("Tensor", ours)
    return project(module, student, teacher, ours), theirs & reached(ours, teacher)


def pooled(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return one vector per example, `[batch, d]`: the mean over valid pixels or tokens."""
    feature, mask = without_padding(feature, mask), fitting(mask, feature)
    dims = (2, 3) if feature.ndim == _MAPS else 1
    if mask is not None:
        return feature.sum(dim=dims) / _valid(mask).unsqueeze(1)
    return feature.mean(dim=dims) if feature.ndim in (_TOKENS, _MAPS) else feature.flatten(1)


def mean_per_example(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean of each example's values, `[batch]`, over valid positions if the mask fits.

    Args:
        values: `[batch, …]`; with a mask `[batch, tokens, d]` or
            `[batch, channels, height, width]`.
        mask: As in `fitting`.
    """
    mask = fitting(mask, values)
    if mask is None:
        return mean_of_rows(values.flatten(1))
    channels = 1 if values.ndim == _MAPS else 2
    sums = values.sum(dim=channels).masked_fill(~mask, 0).flatten(1).sum(dim=1)
    return sums / (_valid(mask) * values.shape[channels])


def _valid(mask: Tensor) -> Tensor:
    """Return the number of valid positions, `[batch]`; 1 where there are none."""
    return mask.flatten(1).sum(dim=1).clamp(min=1)
