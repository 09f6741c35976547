"""Regression to the labels with the teacher's error as an upper bound."""

import torch
from torch import Tensor

from tutelage.losses._tensors import same_shape
from tutelage.losses.regression import regression_to_labels


def bounded_regression(
    student: Tensor, teacher: Tensor, labels: Tensor, margin: float = 0.0
) -> Tensor:
    """e_s where e_s + m > e_t, else 0, with e the squared error of a side to the label.

    The student is asked to be better than the teacher by the margin m, and then let alone: a
    teacher's output can be far off, so it bounds the student rather than draws it.

    Source: Chen et al. 2017, section 3.3, https://papers.nips.cc/paper/6676.

    Args:
        student: Student output, `[batch, outputs]`.
        teacher: Teacher output, `[batch, outputs]`.
        labels: True values, `[batch, outputs]`, or `[batch]` for one output; NaN where unknown.
        margin: m ≥ 0, in the label's unit squared.

    Returns:
        `[batch]`, in the label's unit squared.

    Raises:
        ModelError: The two sides have different shapes.
        DataError: The labels do not fit the outputs.

    >>> import torch
    >>> teacher, labels = torch.tensor([[1.0], [1.0]]), torch.zeros(2)
    >>> bounded_regression(torch.tensor([[0.5], [2.0]]), teacher, labels)
    tensor([0., 4.])
    """
    same_shape(student, teacher, "outputs")
    error, bound = (regression_to_labels(side, labels) for side in (student, teacher))
    return torch.where(error + margin > bound, error, torch.zeros_like(error))
