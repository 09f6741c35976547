"""Cross-entropy with the true classes."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.errors import DataError, ModelError
from tutelage.losses._tensors import at_least_float32
from tutelage.signals import UNLABELLED, describe


def hard_labels(student: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true class: −Σ_i y_i log softmax(z)_i, y one-hot or smoothed.

    With smoothing s over N classes, y is (1 − s) + s/N at the true class and s/N elsewhere
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    Args:
        student: Student logits z, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        smoothing: s in [0, 1].

    Returns:
        `[batch]`, in nats; 0 where there is no label.

    Raises:
        DataError: The labels have the wrong dtype, shape or range (the range is checked on the
            CPU only, where reading it does not wait for a device).
        ModelError: The logits are not `[batch, classes]`.

    >>> import torch
    >>> hard_labels(torch.zeros(2, 4), torch.tensor([1, -100]))
    tensor([1.3863, 0.0000])
    """
    _check(student, labels)
    return F.cross_entropy(
        at_least_float32(student),
        labels.long(),
        ignore_index=UNLABELLED,
        reduction="none",
        label_smoothing=smoothing,
    )


def _check(student: Tensor, labels: Tensor) -> None:
    if student.ndim != 2:  # noqa: PLR2004 - rows and columns
        raise ModelError(
            f"student logits must be [batch, classes], got {describe(student)}; "
            "let the student return that shape"
        )
    if labels.is_floating_point() or labels.is_complex() or labels.shape != student.shape[:1]:
        raise DataError(
            f"labels must be whole class ids of shape [{student.shape[0]}], got "
            f"{describe(labels)}; squeeze a second dimension away, and for values to be predicted "
            "use LabelRegression"
        )
    if labels.device.type == "cpu":
        _check_range(labels, student.shape[1])


def _check_range(labels: Tensor, classes: int) -> None:
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
