"""Regression of the teacher's logits."""

from torch import Tensor

from tutelage.objectives._output_objective import OutputObjective
from tutelage.objectives._tensors import (
    at_least_float32,
    check_several_classes,
    mean_of_rows,
    same_shape,
)


def logit_regression(student: Tensor, teacher: Tensor, center: bool = True) -> Tensor:
    """½‖c(z) − c(v)‖²/N, where c subtracts the row mean and N is the number of classes.

    The limit of `soft_targets` for T → ∞: there its gradient tends to (c(z) − c(v))/N. With
    `center=False` nothing is subtracted, and the student must match the level of the logits too,
    which softmax probabilities do not depend on (Ba and Caruana 2014,
    https://arxiv.org/abs/1312.6184). Logits of binary labels have a level that counts: there too
    use `center=False`, the limit of `binary_targets` for T → ∞ up to a factor of 4.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        center: Whether c subtracts the row mean.

    Returns:
        `[batch]`, in squared logits, zero or more.

    >>> import torch
    >>> logit_regression(torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([0.5000])
    """
    same_shape(student, teacher, "classes" if center else "logits")
    difference = at_least_float32(student) - at_least_float32(teacher)
    if center:
        check_several_classes(student)
        difference = difference - difference.mean(dim=1, keepdim=True)
    return mean_of_rows(difference.square()) / 2


class LogitRegression(OutputObjective):
    """½‖c(z) − c(v)‖²/N: soft targets in the limit of infinite temperature.

    Ba and Caruana 2014, "Do Deep Nets Really Need to be Deep?", https://arxiv.org/abs/1312.6184
    (there without centring). Formula: `tutelage.objectives.logit_regression`.

    Args:
        center: Whether c subtracts each row's mean, which softmax probabilities do not depend on;
            False for logits of binary labels.
    """

    formula = staticmethod(logit_regression)

    def __init__(self, center: bool = True) -> None:
        super().__init__()
        self.center = center
        self.output_kind = "classes" if center else None
