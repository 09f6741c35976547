"""Logit standardization."""

import math

from torch import Tensor

from tutelage.objectives._output_objective import Divergence
from tutelage.objectives._soft_targets import soft_targets
from tutelage.objectives._tensors import at_least_float32, directions, same_classes
from tutelage.schedules import Schedule


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


class LogitStandardization(Divergence):
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
