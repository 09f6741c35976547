"""The labelled examples of a classifier's outputs."""

import torch
from torch import Tensor

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation.metrics import check_class_ids, check_several_logits
from tutelage.nested import describe
from tutelage.signals import UNLABELLED

_ROWS_AND_CLASSES = 2


def labelled(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits in float64 and class ids of the labelled examples, on the CPU, checked.

    >>> labelled(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, -100]))
    (tensor([[2., 1.]], dtype=torch.float64), tensor([0]))
    """
    table = output.ndim == _ROWS_AND_CLASSES and labels.shape == output.shape[:1]
    if not table or labels.is_floating_point():
        raise DataError(
            "logits must be [examples, classes] and labels integers [examples], got "
            f"{describe(output)} and {describe(labels)}; give one class id for each example"
        )
    check_several_logits(output)
    ids = labels.detach().cpu().long()
    known = ids != UNLABELLED
    logits, ids = output.detach().cpu()[known].double(), ids[known]
    if not len(ids):
        raise DataError(
            f"at least one example must have a label, got only {UNLABELLED}; give labelled data"
        )
    check_class_ids(ids, output.shape[1])
    if not torch.isfinite(logits).all():
        raise NonFiniteError(
            f"logits must be finite, got {int((~torch.isfinite(logits)).sum())} that are not; find "
            "out why the model diverged, and rule out a class by −1e4 instead of −∞"
        )
    return logits, ids
