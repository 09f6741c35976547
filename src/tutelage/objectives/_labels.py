"""Checks of labels, and the true class among the logits."""

import torch
from torch import Tensor

from tutelage.errors import DataError, ModelError
from tutelage.nested import describe
from tutelage.objectives._tensors import check_several_classes, value_check
from tutelage.signals import UNLABELLED, Batch


def labels_of(batch: Batch) -> Tensor:
    """Return the labels of a batch, which must have some."""
    if batch.labels is None:
        raise DataError(
            "an objective that learns from labels got a batch without any; yield (inputs, labels) "
            "from the data set, mark single unlabelled examples by -100 (NaN for values), or use "
            "an objective without labels, such as SoftTargets"
        )
    if not isinstance(batch.labels, Tensor):
        raise DataError(
            f"labels must be a tensor, got {type(batch.labels).__name__}; "
            "let the collate function make one"
        )
    return batch.labels


def check_label_shapes(student: Tensor, labels: Tensor) -> None:
    """Refuse labels of the wrong dtype or shape, and logits that are not `[batch, classes]`."""
    if student.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise ModelError(
            f"student logits must be [batch, classes], got {describe(student)}; "
            "let the student return that shape"
        )
    check_several_classes(student)
    if labels.is_floating_point() or labels.is_complex() or labels.shape != student.shape[:1]:
        raise DataError(
            f"labels must be integer class ids of shape [{student.shape[0]}], got "
            f"{describe(labels)}; squeeze a second dimension away, for several binary labels of "
            "each example use BinaryLabels, and for values to be predicted LabelRegression"
        )


def check_label_range(labels: Tensor, classes: int) -> None:
    """Refuse labels that are neither from 0 to classes − 1 nor −100."""
    low, high = (int(bound) for bound in labels.aminmax()) if len(labels) else (0, 0)
    if low >= 0 and high < classes:
        return
    wrong = labels[((labels < 0) & (labels != UNLABELLED)) | (labels >= classes)]
    if len(wrong):
        raise DataError(
            f"labels must lie from 0 to {classes - 1} (or be {UNLABELLED}: no label), got "
            f"{sorted(set(wrong.tolist()))[:5]}; the student has {classes} outputs: correct the "
            "labels or its last layer"
        )


in_range = value_check(
    "labels_in_range", check_label_range, "(Tensor labels, SymInt classes) -> Tensor"
)


def columns_of(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check labels; return the true classes' columns, `[batch, 1]`, and which examples have one.

    The column is 0 for an example without label.
    """
    check_label_shapes(student, labels)
    labels = in_range(labels.long(), student.shape[1])  # unsigned integers know no −100
    known = labels != UNLABELLED
    # Only −100 becomes 0: on a device other labels out of range must still fail when they index.
    return torch.where(known, labels, 0).unsqueeze(1), known


def without_true(logits: Tensor, columns: Tensor) -> Tensor:
    """Replace the true class's logit by the lowest finite number, so that its probability is 0."""
    return logits.scatter(1, columns, torch.finfo(logits.dtype).min)
