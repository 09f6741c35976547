"""Regression of the teacher's logits: soft targets at infinite temperature."""

from torch import Tensor

from tutelage.losses._tensors import at_least_float32, mean_of_rows, same_shape


def logit_regression(student: Tensor, teacher: Tensor, center: bool = True) -> Tensor:
    """½‖c(z) − c(v)‖²/N, where c subtracts the row mean and N is the number of classes.

    The limit of `soft_targets` for T → ∞: there its gradient tends to (c(z) − c(v))/N. With
    `center=False` nothing is subtracted, and the student must match the level of the logits too,
    which the probabilities do not depend on (Ba and Caruana 2014,
    https://arxiv.org/abs/1312.6184).

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        center: Whether c subtracts the row mean.

    Returns:
        `[batch]`, in squared logits, zero or more.

    Raises:
        ModelError: The two sides have different shapes.

    >>> import torch
    >>> logit_regression(torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 0.0]]))
    tensor([0.5000])
    """
    same_shape(student, teacher, "classes")
    difference = at_least_float32(student) - at_least_float32(teacher)
    if center:
        difference = difference - difference.mean(dim=1, keepdim=True)
    return mean_of_rows(difference.square()) / 2
