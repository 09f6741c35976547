"""Decoupled knowledge distillation (DKD)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.objectives._formula import Tempered
from tutelage.objectives._hard_labels import columns_of, without_true
from tutelage.objectives._tensors import at_least_float32, kl_divergence, same_classes
from tutelage.schedules import Schedule


def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """T² · (α · KL(b_t ‖ b_s) + β · KL(p̂ ‖ q̂)).

    b = (p_y, 1 − p_y) is the probability of the true class and of all others together; p̂, q̂ are
    the probabilities of the others, renormalised to sum 1. With p_y the teacher's probability of
    the true class, KL(p ‖ q) = KL(b_t ‖ b_s) + (1 − p_y) · KL(p̂ ‖ q̂): soft targets give the second
    part little weight where the teacher is confident; here its weight is fixed.

    Args:
        student: Student logits z, `[batch, classes]`, two classes or more.
        teacher: Teacher logits v, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        alpha: α ≥ 0, the weight of the true class against all others.
        beta: β ≥ 0, the weight of the other classes among themselves.
        temperature: T > 0, by which both sides' logits are divided.

    Returns:
        `[batch]`, in nats (times T²), zero or more; 0 where there is no label.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 3), torch.tensor([[0.0, 2.0, 0.0]])
    >>> dkd(student, teacher, torch.tensor([0]), beta=1.0, temperature=1.0)
    tensor([0.4680])
    """
    same_classes(student, teacher)
    columns, known = columns_of(student, labels)
    z, v = at_least_float32(student) / temperature, at_least_float32(teacher) / temperature
    (true_q, others_q), (true_p, others_p) = _parts(z, columns), _parts(v, columns)
    true, others = kl_divergence(true_q, true_p), kl_divergence(others_q, others_p)
    return torch.where(known, (alpha * true + beta * others) * temperature**2, 0.0)


class DKD(Tempered):
    """Decoupled knowledge distillation: the true class and the other classes, each weighted.

    Zhao, Cui, Song, Qiu and Liang 2022, "Decoupled Knowledge Distillation",
    https://arxiv.org/abs/2203.08679. Formula: `tutelage.objectives.dkd`, averaged over the labelled
    examples.

    The authors raise the weight linearly over the first 20 epochs, so that a large β does not
    disturb a fresh student. Write that as a schedule, here for 20 of 240 epochs:

    >>> from tutelage.objectives import HardLabels
    >>> from tutelage.schedules import Linear
    >>> warm_up = Linear(0, 1, until=20 / 240)
    >>> HardLabels() + warm_up * DKD()
    1 * HardLabels() + Linear(0, 1, 0, 0.0833333) * DKD(alpha=1, beta=8, temperature=4)

    Args:
        alpha: α ≥ 0, the weight of the true class against all others.
        beta: β ≥ 0, the weight of the other classes among themselves.
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(dkd)

    def __init__(
        self, alpha: float = 1.0, beta: float = 8.0, temperature: float | Schedule = 4.0
    ) -> None:
        super().__init__(temperature)
        self.alpha = not_negative("alpha", alpha, "it weighs the true class; 1 is usual")
        self.beta = not_negative("beta", beta, "it weighs the other classes; 1 to 8 is usual")


def _parts(logits: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of (p_y, 1 − p_y), `[batch, 2]`, and of p̂, `[batch, classes]`.

    1 − p_y is summed over the other classes: the subtraction would round it to 0.
    """
    others = without_true(logits, columns)
    odds = logits.gather(1, columns) - others.logsumexp(dim=1, keepdim=True)
    return F.logsigmoid(torch.cat([odds, -odds], dim=1)), F.log_softmax(others, dim=1)
