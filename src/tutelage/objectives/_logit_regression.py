"""The teacher's logits themselves: their regression, and soft targets up to level and scale."""

import math

from torch import Tensor

from tutelage.objectives._formula import OutputObjective, Tempered
from tutelage.objectives._soft_targets import soft_targets
from tutelage.objectives._tensors import (
    at_least_float32,
    check_several_classes,
    directions,
    mean_of_rows,
    same_classes,
    same_shape,
)
from tutelage.schedules import Schedule


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


def logit_standardization(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(s(v)/T) ‖ softmax(s(z)/T)), where s(x) = (x − mean)/std of a row.

    The student learns the teacher's logits up to level and scale. So the loss does not determine
    its confidence: recalibrate it (`tutelage.evaluation.fit_temperature`) before its probabilities
    are used. The gradient sums to 0 over the classes and is orthogonal to z.

    std is the sample standard deviation, with N − 1 in the denominator, as in the authors' code
    (to use N instead, multiply T by √((N − 1)/N) and the loss by N/(N − 1)). Rows that do not vary
    become zeros and have no gradient.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        temperature: T > 0, in standard deviations.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> teacher = torch.tensor([[5.0, 1.0, 0.0]])
    >>> logit_standardization(2 * teacher + 7, teacher)
    tensor([0.])
    >>> logit_standardization(torch.zeros(1, 3), teacher)
    tensor([0.3611])
    """
    same_classes(student, teacher)
    return soft_targets(_standardized(student), _standardized(teacher), temperature)


class LogitStandardization(Tempered):
    """Logit standardization: soft targets on logits with mean 0 and standard deviation 1.

    Sun, Ren, Li, Wang and Cao 2024, "Logit Standardization in Knowledge Distillation",
    https://arxiv.org/abs/2403.01427. Formula: `tutelage.objectives.logit_standardization`. The
    authors give it weight 9 beside 0.1 for the labels. It leaves the scale of the student's logits
    open: recalibrate before its probabilities are used.

    Args:
        temperature: T > 0 in standard deviations, a number or a schedule over training.
    """

    formula = staticmethod(logit_standardization)

    def __init__(self, temperature: float | Schedule = 2.0) -> None:
        super().__init__(temperature)


def _standardized(logits: Tensor) -> Tensor:
    # Directions have length 1, so a variance of 1/(N − 1).
    return directions(at_least_float32(logits), dim=1)[0] * math.sqrt(max(logits.shape[1] - 1, 0))
