"""Cross-entropy with class labels, and what other objectives on these need."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import fraction
from tutelage.errors import DataError, ModelError
from tutelage.labels import UNLABELLED
from tutelage.nested import describe
from tutelage.objectives._formula import OutputObjective
from tutelage.objectives._tensors import at_least_float32, check_several_classes, value_check


def hard_labels(student: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true class: −Σ_i y_i log softmax(z)_i, y one-hot or smoothed.

    With smoothing s over N classes, y is (1 − s) + s/N at the true class and s/N at the
    others (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    Args:
        student: Student logits z, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        smoothing: s in [0, 1].

    Returns:
        `[batch]`, in nats; 0 where there is no label.

    Raises:
        DataError: The labels have the wrong dtype, shape or range (the range is checked on the
            CPU only).
        ModelError: The logits are not `[batch, classes]`.

    >>> import torch
    >>> hard_labels(torch.zeros(2, 4), torch.tensor([1, -100]))
    tensor([1.3863, 0.0000])
    """
    labels = checked_labels(student, labels)
    return F.cross_entropy(
        at_least_float32(student),
        labels,
        ignore_index=UNLABELLED,
        reduction="none",
        label_smoothing=smoothing,
    )


class HardLabels(OutputObjective):
    """Cross-entropy with the true class, averaged over the labelled examples.

    Formula: `tutelage.objectives.hard_labels`. A mixed example (`Batch.mixture`) costs
    λ·CE(y) + (1 − λ)·CE(y'), where λ is its fraction and y' the partner's class; it is valid if
    both classes are known. Zhang, Cisse, Dauphin and Lopez-Paz 2018, "mixup: Beyond Empirical Risk
    Minimization", https://arxiv.org/abs/1710.09412.

    Args:
        smoothing: Fraction of the target spread evenly over all classes, in [0, 1].
    """

    formula = staticmethod(hard_labels)
    reads_mixtures = True

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = fraction("smoothing", smoothing, "0 leaves the labels as they are")


def checked_labels(student: Tensor, labels: Tensor) -> Tensor:
    """Return labels as int64; refuse wrong ones, and logits that are not `[batch, classes]`.

    Other devices than the CPU find labels out of range themselves, when they index.
    """
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
    return _in_range(labels.long(), student.shape[1])  # unsigned integers know no −100


def _check_range(labels: Tensor, classes: int) -> None:
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


_in_range = value_check(
    "labels_in_range", _check_range, "(Tensor labels, SymInt classes) -> Tensor"
)


def columns_of(student: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check labels; return the true classes' columns, `[batch, 1]`, and which examples have one.

    The column is 0 for an example without label.
    """
    labels = checked_labels(student, labels)
    known = labels != UNLABELLED
    # Only −100 becomes 0: on a device other labels out of range must still fail when they index.
    return torch.where(known, labels, 0).unsqueeze(1), known


def without_true(logits: Tensor, columns: Tensor) -> Tensor:
    """Replace the true class's logit by the lowest finite number, so that its probability is 0."""
    return logits.scatter(1, columns, torch.finfo(logits.dtype).min)
