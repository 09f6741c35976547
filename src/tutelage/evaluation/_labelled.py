"""The labelled examples of a classifier's outputs, or why there are none."""

import torch
from torch import Tensor

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation.metrics import check_class_ids
from tutelage.nested import describe
from tutelage.signals import UNLABELLED

_ROWS_AND_CLASSES = 2


def labelled(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits in float64 and class ids of the examples that have a label, on the CPU.

    Args:
        output: Logits `[examples, classes]`, finite.
        labels: Class ids `[examples]` below the number of classes; −100 is left out.

    Raises:
        DataError: The shapes do not fit, no example has a label, or a label is no class.
        NonFiniteError: A logit of a labelled example is NaN or infinite.

    >>> labelled(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, -100]))
    (tensor([[2., 1.]], dtype=torch.float64), tensor([0]))
    """
    if output.ndim != _ROWS_AND_CLASSES or labels.shape != output.shape[:1]:
        raise DataError(
            "logits must be [examples, classes] and labels [examples], got "
            f"{describe(output)} and {describe(labels)}; give one class id for each example"
        )
    ids = labels.detach().cpu().long()
    known = ids != UNLABELLED
    logits, ids = output.detach().cpu()[known].double(), ids[known]
    if not len(ids):
        raise DataError(
            f"at least one example must have a label, got none but {UNLABELLED}; give labelled data"
        )
    check_class_ids(ids, output.shape[1])
    if not torch.isfinite(logits).all():
        raise NonFiniteError(
            f"logits must be finite, got {int((~torch.isfinite(logits)).sum())} that are not; look "
            "for what made the model diverge, and rule out a class with −1e4 and not with −∞"
        )
    return logits, ids
