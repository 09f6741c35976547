"""Metrics of segmentation, from confusion matrices: of all pixels, or of each image."""

from __future__ import annotations

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import describe
from tutelage.rows import Rows
from tutelage.tasks.metrics import MetricOfCounts, check_class_ids, check_numbers


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
    return MeanIoU().of_rows(output, labels, None)


class MeanIoU(MetricOfCounts):
    """`mean_iou` as a metric of a run or a study: `metrics={"mean IoU": tl.evaluation.MeanIoU()}`.

    A study then compares the IoU of each class too, and shows both in per cent.
    """

    is_fraction = True
    reads_confusion = True

    def counts(self, output: Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the confusion matrix of each example, `[examples, classes, classes]`."""
        if output.ndim != 2 or labels.shape != output.shape[:1]:  # noqa: PLR2004 - rows and classes
            raise DataError(
                "logits must be [rows, classes] and labels [rows], got "
                f"{describe(output)} and {describe(labels)}; flatten [batch, classes, height, "
                "width] to a row for each pixel"
            )
        check_numbers(output, labels)
        rows = Rows.single(len(output)) if rows is None else rows
        examples, number = rows.examples, len(rows.counts)
        return _checked_confusions(output.argmax(dim=1), labels, examples, number, output.shape[1])

    def total(self, output: Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the confusion matrix of all rows."""
        return self.counts(
            output, labels, Rows.counted(torch.tensor([len(output)], device=labels.device))
        )[0]

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
    return MeanIoU().by_class(output, labels, None)


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
    return _checked_confusions(predicted, labels, examples, int(examples.max()) + 1, classes)


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


def _checked_confusions(
    predicted: Tensor, labels: Tensor, examples: Tensor, number: int, classes: int
) -> Tensor:
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
    check_class_ids(predicted[known], classes)
    return confusions(predicted, labels, examples, number, classes)


def confusions(
    predicted: Tensor, labels: Tensor, examples: Tensor, number: int, classes: int
) -> Tensor:
    """Return the confusion matrices of so many examples, of class ids on any device."""
    check_class_ids(labels, classes)
    cells = (examples * classes + labels) * classes + predicted
    counts = cells[labels != UNLABELLED].bincount(minlength=number * classes**2)
    return counts.view(number, classes, classes).cpu()


def _ious(confusion: Tensor) -> Tensor:
    """Return intersection over union, `[…, classes]`; NaN of neither predicted nor true classes."""
    both = confusion.diagonal(dim1=-2, dim2=-1)
    union = confusion.sum(dim=-1) + confusion.sum(dim=-2) - both
    return both.double() / union.double().masked_fill(union == 0, torch.nan)
