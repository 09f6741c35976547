"""Soft targets on logits of mean 0 and standard deviation 1."""

import math

from torch import Tensor

from tutelage.losses._directions import directions
from tutelage.losses._tensors import at_least_float32, same_shape
from tutelage.losses.soft_targets import soft_targets


def logit_standardization(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · KL(softmax(s(v)/T) ‖ softmax(s(z)/T)), where s(x) = (x − mean)/std of a row.

    The student learns the teacher's logits up to level and scale, which it keeps as they come:
    the loss says nothing of how sure it should be, so recalibrate the student
    (`tutelage.evaluation.fit_temperature`) before its probabilities are used. The gradient sums to
    0 over the classes and is orthogonal to z.

    std is the sample standard deviation, with N − 1 in the denominator, as in the authors' code
    (to use N instead, multiply T by √((N − 1)/N) and the loss by N/(N − 1)). Rows that do not vary
    become zeros and have no gradient.

    Source: Sun et al. 2024, https://arxiv.org/abs/2403.01427.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        temperature: T > 0, in standard deviations.

    Returns:
        `[batch]`, in nats (times T²), zero or more; computed in float32 at least.

    Raises:
        ModelError: The two sides have different shapes.

    >>> import torch
    >>> teacher = torch.tensor([[5.0, 1.0, 0.0]])
    >>> logit_standardization(2 * teacher + 7, teacher)
    tensor([0.])
    >>> logit_standardization(torch.zeros(1, 3), teacher)
    tensor([0.3611])
    """
    same_shape(student, teacher, "classes")
    return soft_targets(_standardized(student), _standardized(teacher), temperature)


def _standardized(logits: Tensor) -> Tensor:
    # Directions have length 1, so a variance of 1/(N − 1).
    return directions(at_least_float32(logits), dim=1)[0] * math.sqrt(max(logits.shape[1] - 1, 0))
