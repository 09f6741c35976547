"""Squared or Huber error: to the labels, or to the teacher's output."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import positive
from tutelage.errors import DataError
from tutelage.nested import describe
from tutelage.objectives._output_objective import OutputObjective
from tutelage.objectives._tensors import at_least_float32, can_sync, mean_of_rows, same_shape
from tutelage.wants import OUTPUT, Wants


def regression(
    output: Tensor,
    target: Tensor,
    huber_delta: float | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Mean over the outputs of (o − t)², or of the Huber error.

    The Huber error is ½e² for |e| ≤ δ and δ(|e| − δ/2) beyond (Huber 1964), so that outliers
    have a bounded gradient. Note the ½, as in PyTorch.

    Args:
        output: The student's output, `[batch, outputs]`.
        target: Its target, `[batch, outputs]`, or `[batch]` for one output.
        huber_delta: δ > 0 in the target's unit; None for the squared error.
        known: Mask of the valid targets, bool in the shape of `target`; None for all.

    Returns:
        `[batch]`: the mean over an example's known targets; 0 where none is known.

    Raises:
        DataError: The shapes do not agree, or the target is not of a floating type.

    >>> import torch
    >>> output, target = torch.tensor([[1.0], [5.0]]), torch.tensor([3.0, float("nan")])
    >>> regression(output, target, known=~target.isnan())
    tensor([4., 0.])
    """
    output = at_least_float32(output)
    if target.ndim == 1:
        target = target.unsqueeze(1)
    if target.shape != output.shape or not target.is_floating_point():  # never broadcast
        raise DataError(
            f"values to be predicted must be floating numbers of shape {list(output.shape)}, like "
            f"the student's output, got {describe(target)}; convert the labels, or change the "
            "student's last layer"
        )
    target = target.to(output.dtype)
    if known is None:
        return mean_of_rows(_errors(output, target, huber_delta))
    known = known.reshape(target.shape)
    target = torch.where(known, target, output.detach())
    errors = _errors(output, target, huber_delta)
    return errors.sum(dim=1) / known.sum(dim=1).clamp(min=1)


def regression_to_labels(
    output: Tensor, labels: Tensor, huber_delta: float | None = None
) -> Tensor:
    """Return `regression` to labels, where NaN marks an unknown one."""
    if can_sync(labels):
        errors = regression(output, labels, huber_delta)
        # No error is negative, so the sum is NaN only if a label is, or the output.
        if not errors.detach().sum().isnan():
            return errors
    return regression(output, labels, huber_delta, ~labels.isnan())


class HuberOption(OutputObjective):
    """An objective whose error is squared (`huber_delta=None`) or Huber's."""

    output_kind = "values"

    def __init__(self, huber_delta: float | None = None) -> None:
        super().__init__()
        advice = "the error is squared below it and linear above; None for squares"
        if huber_delta is not None:
            huber_delta = positive("huber_delta", huber_delta, advice)
        self.huber_delta = huber_delta


class LabelRegression(HuberOption):
    """Squared or Huber error to the true values, averaged over the labelled examples.

    Formula: `tutelage.objectives.regression`.

    Args:
        huber_delta: δ > 0 of the Huber error, in the label's unit; None for the squared error.
    """

    wants = Wants(student=OUTPUT, labels=True)
    formula = staticmethod(regression_to_labels)


class OutputRegression(HuberOption):
    """Squared or Huber error to the teacher's output, averaged over all examples.

    Formula: `tutelage.objectives.regression`.

    Args:
        huber_delta: δ > 0 of the Huber error, in the output's unit; None for the squared error.
    """

    @staticmethod
    def formula(student: Tensor, teacher: Tensor, huber_delta: float | None = None) -> Tensor:
        """Return the errors, `[batch]`."""
        same_shape(student, teacher, "outputs")
        return regression(student, teacher, huber_delta)


def _errors(output: Tensor, target: Tensor, huber_delta: float | None) -> Tensor:
    if huber_delta is None:
        return F.mse_loss(output, target, reduction="none")
    return F.huber_loss(output, target, reduction="none", delta=huber_delta)
