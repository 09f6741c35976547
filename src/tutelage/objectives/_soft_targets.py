"""Softened teacher probabilities as targets."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.objectives._coarse_soft_targets import coarse_soft_targets
from tutelage.objectives._divergence import Targets
from tutelage.objectives._output_objective import Divergence
from tutelage.objectives._tensors import at_least_float32, kl_divergence, same_classes
from tutelage.schedules import Schedule


def soft_targets(student: Tensor, teacher: Targets, temperature: float = 4.0) -> Tensor:
    """T² · KL(softmax(v/T) ‖ softmax(z/T)), summed over the classes.

    The gradient of the cross-entropy inside is (q − p)/T with p, q the softened probabilities of
    teacher and student; T² keeps its scale as T grows. At T = 1 this is the plain KL divergence;
    for T → ∞ it tends to `logit_regression`.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`; for `CoarseLogits` of known classes the value
            is `coarse_soft_targets`.
        temperature: T > 0. Higher values give the teacher's small probabilities more weight.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> soft_targets(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    tensor([0.4438])
    """
    if isinstance(teacher, CoarseLogits):
        return coarse_soft_targets(student, teacher, temperature)
    same_classes(student, teacher)
    log_q = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    log_p = F.log_softmax(at_least_float32(teacher) / temperature, dim=1)
    return kl_divergence(log_q, log_p) * temperature**2


class SoftTargets(Divergence):
    """T² · KL between the teacher's and the student's probabilities at temperature T.

    Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network",
    https://arxiv.org/abs/1503.02531. Formula: `tutelage.objectives.soft_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training. At 1 the student learns the
            teacher's probabilities as they are; the higher T, the more the small ones count.
    """

    formula = staticmethod(soft_targets)

    def __init__(self, temperature: float | Schedule = 4.0) -> None:
        super().__init__(temperature)
