"""Metrics of segmentation, from confusion matrices: of all pixels, or of each image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage.errors import DataError, NonFiniteError
from tutelage.nested import describe
from tutelage.rows import Rows
from tutelage.signals import UNLABELLED
from tutelage.tasks.metrics import check_class_ids


def mean_iou(output: Tensor, labels: Tensor) -> float:
    """Mean over the classes of TP/(TP + FP + FN), the intersection over union (IoU), in [0, 1].

    The counts run over all rows, as in the PASCAL VOC and Cityscapes benchmarks, and not image by
    image. A class that is neither predicted nor true in any row has no IoU and is left out.

    Everingham, Eslami, Van Gool, Williams, Winn and Zisserman 2015, "The PASCAL Visual Object
    Classes Challenge: A Retrospective", https://doi.org/10.1007/s11263-014-0733-5.

    Args:
        output: Logits `[rows, classes]`, a row for each pixel.
        labels: Class ids `[rows]`; −100 is left out, whatever is predicted there.

    Returns:
        The mean; NaN if a logit of a labelled row is NaN, where argmax has no meaning.

    Raises:
        DataError: The shapes do not match, no row has a label, or a class id is out of range.

    >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    >>> mean_iou(logits, torch.tensor([0, 1, 1]))  # both classes: one of two
    0.5
    """
    predicted = _predicted(output, labels)
    if predicted is None:
        return torch.nan
    return mean_iou_of(_confusions(predicted, labels, None, 1, output.shape[1]))


class MeanIoU:
    """`mean_iou` as a metric of a run or a study: `metrics={"mean IoU": tl.evaluation.MeanIoU()}`.

    A study then compares the IoU of each class too, and shows both in per cent.
    """

    is_fraction = True
    reads_confusion = True

    def __call__(self, output: Tensor, labels: Tensor) -> float:
        """Return the mean IoU for logits `[rows, classes]` and labels `[rows]`."""
        return mean_iou(output, labels)

    def by_class(self, output: Tensor, labels: Tensor, rows: Rows | None) -> dict[int, float]:
        """Return each class's IoU."""
        return iou_by_class(output, labels)

    def counts(self, output: Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the confusion matrix of each example, `[examples, classes, classes]`."""
        rows = Rows.single(len(output)) if rows is None else rows
        classes = output.shape[1]
        return _confusions(_known(output, labels), labels, rows.examples, len(rows.counts), classes)

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return the mean IoU of confusion matrices, `[…, classes, classes]`."""
        return _ious(counts).nanmean(dim=-1)

    def by_class_of_counts(self, counts: Tensor) -> dict[int, Tensor]:
        """Return each class's IoU; NaN where it is neither predicted nor true."""
        return dict(enumerate(_ious(counts).unbind(dim=-1)))


def iou_by_class(output: Tensor, labels: Tensor) -> dict[int, float]:
    """Return each class's IoU by class id, ascending; classes that have none are left out.

    Arguments and errors as for `mean_iou`.

    Raises:
        NonFiniteError: A logit of a labelled row is NaN.
    """
    predicted = _known(output, labels)
    ious = _ious(_confusions(predicted, labels, None, 1, output.shape[1])[0])
    return {k: value for k, value in enumerate(ious.tolist()) if not math.isnan(value)}


def confusion_by_example(
    predicted: Tensor, labels: Tensor, examples: Tensor, classes: int
) -> Tensor:
    """Return a confusion matrix for each example (image); their sum is that of all rows.

    Args:
        predicted: Class ids `[rows]`.
        labels: Class ids `[rows]`; −100 is left out.
        examples: The example of each row `[rows]`, numbered from 0.
        classes: The number of classes.

    Returns:
        `[examples, classes, classes]` of int64 on the CPU: the true class by row, the predicted by
        column. An example without a labelled row has zeros.

    Raises:
        DataError: The shapes do not match, no row has a label, or a class id is out of range.

    >>> predicted, labels = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    >>> confusion_by_example(predicted, labels, torch.tensor([0, 0, 1]), classes=2).tolist()
    [[[1, 0], [1, 0]], [[0, 0], [0, 1]]]
    """
    return _confusions(predicted, labels, examples, int(examples.max()) + 1, classes)


def mean_iou_of(confusion: Tensor) -> float:
    """Return the mean IoU of a confusion matrix, or of the sum of those of several examples.

    Args:
        confusion: `[classes, classes]` or `[examples, classes, classes]`, as
            `confusion_by_example` gives it.

    >>> mean_iou_of(torch.tensor([[1, 0], [1, 1]]))
    0.5
    """
    total = confusion if confusion.ndim == 2 else confusion.sum(dim=0)  # noqa: PLR2004
    return _ious(total).nanmean().item()


def _confusions(
    predicted: Tensor, labels: Tensor, examples: Tensor | None, number: int, classes: int
) -> Tensor:
    """Return the confusion matrices of so many examples; None for rows of a single one."""
    examples = torch.zeros_like(labels) if examples is None else examples
    if any(each.is_floating_point() for each in (predicted, labels)):
        raise DataError(
            f"class ids must be integers, got {describe(predicted)} and {describe(labels)}; give "
            "output.argmax(1) for logits"
        )
    if labels.ndim != 1 or not predicted.shape == labels.shape == examples.shape:
        raise DataError(
            "predicted classes, labels and examples must be [rows], one of each for a row, got "
            f"{describe(predicted)}, {describe(labels)} and {describe(examples)}; flatten images"
        )
    predicted, labels, examples = (each.cpu().long() for each in (predicted, labels, examples))
    known = labels != UNLABELLED
    if not known.any():
        raise DataError(
            f"at least one row must have a label, got only {UNLABELLED}; give labelled data"
        )
    for ids in (labels, predicted[known]):
        check_class_ids(ids, classes)
    cells = (examples * classes + labels) * classes + predicted
    counts = torch.bincount(cells[known], minlength=number * classes**2)
    return counts.view(number, classes, classes)


def _predicted(output: Tensor, labels: Tensor) -> Tensor | None:
    """Return the classes of the largest logits, `[rows]`; None if one is NaN where it counts."""
    if output.ndim != 2 or labels.shape != output.shape[:1]:  # noqa: PLR2004 - rows and classes
        raise DataError(
            "logits must be [rows, classes] and labels [rows], got "
            f"{describe(output)} and {describe(labels)}; flatten [batch, classes, height, width] "
            "to a row for each pixel"
        )
    known = (labels.long() != UNLABELLED).to(output.device)
    nan = output.isnan().any(dim=1) & known
    return None if bool(nan.any()) else output.argmax(dim=1)


def _known(output: Tensor, labels: Tensor) -> Tensor:
    """Return the classes of the largest logits, `[rows]`; refuse NaN where it counts."""
    predicted = _predicted(output, labels)
    if predicted is None:
        raise NonFiniteError(
            "logits of labelled rows must be numbers, got NaN; find out why the model diverged"
        )
    return predicted


def _ious(confusion: Tensor) -> Tensor:
    """Return intersection over union, `[…, classes]`; NaN of neither predicted nor true classes."""
    both = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(dim=-1) + confusion.sum(dim=-2) - both
    return both.double() / union.double().masked_fill(union == 0, torch.nan)
