"""Regression to the labels, bounded by the teacher's error."""

import torch
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.objectives._output_objective import OutputObjective
from tutelage.objectives._regression import regression_to_labels
from tutelage.objectives._tensors import same_shape
from tutelage.wants import OUTPUT, Wants


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

    wants = Wants(student=OUTPUT, teacher=OUTPUT, labels=True)
    output_kind = "values"
    formula = staticmethod(bounded_regression)

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        advice = "0 stops where the student is as good as the teacher"
        self.margin = not_negative("margin", margin, advice)
