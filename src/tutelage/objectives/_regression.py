"""Regression: squared or Huber error to labels or the teacher, bounded by it, and Gaussian."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import not_negative, positive
from tutelage.errors import DataError, ModelError
from tutelage.nested import describe
from tutelage.objectives._formula import OutputObjective
from tutelage.objectives._tensors import at_least_float32, mean_of_rows, same_shape


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
    student: Tensor, labels: Tensor, huber_delta: float | None = None
) -> Tensor:
    """Return `regression` to labels, where NaN marks an unknown one."""
    return regression(student, labels, huber_delta, ~labels.isnan())


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


def bounded_regression(
    student: Tensor, teacher: Tensor, labels: Tensor, margin: float = 0.0
) -> Tensor:
    """e_s where e_s + m > e_t, else 0, with e the squared error of a side to the label.

    A student that beats the teacher by the margin m has no loss: the teacher's output can be far
    off, so it is a bound and not a target.

    Args:
        student: Student output, `[batch, outputs]`.
        teacher: Teacher output, `[batch, outputs]`.
        labels: True values, `[batch, outputs]`, or `[batch]` for one output; NaN where unknown.
        margin: m ≥ 0, in the label's unit squared.

    Returns:
        `[batch]`, in the label's unit squared.

    >>> import torch
    >>> teacher, labels = torch.tensor([[1.0], [1.0]]), torch.zeros(2)
    >>> bounded_regression(torch.tensor([[0.5], [2.0]]), teacher, labels)
    tensor([0., 4.])
    """
    same_shape(student, teacher, "outputs")
    error, bound = (regression_to_labels(side, labels) for side in (student, teacher))
    return torch.where(error + margin > bound, error, torch.zeros_like(error))


class BoundedRegression(OutputObjective):
    """Squared error to the labels, until the student beats the teacher.

    Chen, Choi, Yu, Han and Chandraker 2017, "Learning Efficient Object Detection Models with
    Knowledge Distillation", section 3.3, https://papers.nips.cc/paper/6676. Formula:
    `tutelage.objectives.bounded_regression`.

    Args:
        margin: m ≥ 0, by which the student's squared error must be below the teacher's; in the
            label's unit squared.
    """

    output_kind = "values"
    formula = staticmethod(bounded_regression)

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        advice = "0 stops where the student is as good as the teacher"
        self.margin = not_negative("margin", margin, advice)


def gaussian_regression(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(N(μ_t, σ_t²) ‖ N(μ_s, σ_s²)), summed over the outputs.

    Equals ½[log σ_s² − log σ_t² + (σ_t² + (μ_t − μ_s)²)/σ_s² − 1]; for equal variances it is
    (μ_t − μ_s)²/2σ²: the squared error, in units of the teacher's own uncertainty.

    Args:
        student: `[batch, 2·outputs]`: the means μ_s, then the logarithms of the variances σ_s².
        teacher: The same of the teacher.

    Returns:
        `[batch]`, in nats, zero or more.

    Raises:
        ModelError: The two sides have different shapes, or an odd number of columns.

    >>> import torch
    >>> gaussian_regression(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]))
    tensor([2.])
    """
    same_shape(student, teacher, "outputs")
    if student.shape[1] % 2:
        raise ModelError(
            "Gaussian outputs must be means and then log-variances, an even number of columns, "
            f"got {student.shape[1]}; let both models return both"
        )
    mean_s, log_var_s = at_least_float32(student).chunk(2, dim=1)
    mean_t, log_var_t = at_least_float32(teacher).chunk(2, dim=1)
    gap = log_var_s - log_var_t
    distance = (mean_t - mean_s).square() * (-log_var_s).exp()
    return (gap + (-gap).exp() + distance - 1).sum(dim=1) / 2


class GaussianRegression(OutputObjective):
    """KL between the normal distributions that teacher and student predict.

    Formula: `tutelage.objectives.gaussian_regression`. The prediction is the mean.
    """

    formula = staticmethod(gaussian_regression)
    output_kind = "values"

    def prediction(self, output: Tensor) -> Tensor:
        """Return the means, `[batch, outputs]`."""
        return output.chunk(2, dim=1)[0]
