"""Normalized knowledge distillation (NKD)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.objectives._formula import Tempered
from tutelage.objectives._hard_labels import columns_of, without_true
from tutelage.objectives._tensors import at_least_float32, same_classes
from tutelage.schedules import Schedule


def nkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """−p_y log q_y − γ · T² · Σ_{i≠y} p̂_i log q̂_i.

    p, q are the probabilities at temperature 1; p̂, q̂ those of the classes other than the true one
    at temperature T, renormalised to sum 1. The second part is minimal where q̂ = p̂, at γT² times
    the entropy of p̂. The first falls as q_y grows, so a student that equals its teacher still
    moves towards the true class: the gradient there is p_y (q − one-hot y).

    Args:
        student: Student logits z, `[batch, classes]`, two classes or more.
        teacher: Teacher logits v, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        gamma: γ ≥ 0, the weight of the other classes.
        temperature: T > 0, by which both sides' logits are divided in the second part.

    Returns:
        `[batch]`, in nats, zero or more; 0 where there is no label.

    >>> import torch
    >>> nkd(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([2]))
    tensor([1.4059])
    """
    same_classes(student, teacher)
    columns, known = columns_of(student, labels)
    z, v = at_least_float32(student), at_least_float32(teacher)
    log_q, log_p = (F.log_softmax(side, dim=1).gather(1, columns).squeeze(1) for side in (z, v))
    others_q, others_p = (
        F.log_softmax(without_true(side / temperature, columns), dim=1) for side in (z, v)
    )
    # A class that the teacher rules out counts for nothing, also where log q is −∞.
    true = (log_p.exp() * log_q).masked_fill(log_p == -torch.inf, 0)
    others = (others_p.exp() * others_q).masked_fill(others_p == -torch.inf, 0).sum(dim=1)
    return torch.where(known, -true - gamma * others * temperature**2, 0.0)


class NKD(Tempered):
    """Normalized knowledge distillation: the true class weighted by p_y, and the other classes.

    Yang, Zeng, Li, Zhang, Yuan and Li 2023, "From Knowledge Distillation to Self-Knowledge
    Distillation: A Unified Approach with Normalized Loss and Customized Soft Labels",
    https://arxiv.org/abs/2303.13005. Formula: `tutelage.objectives.nkd`, averaged over the labelled
    examples.

    Args:
        gamma: γ ≥ 0, the weight of the other classes.
        temperature: T > 0 of the other classes, a number or a schedule over training.
    """

    formula = staticmethod(nkd)

    def __init__(self, gamma: float = 1.5, temperature: float | Schedule = 1.0) -> None:
        super().__init__(temperature)
        self.gamma = not_negative("gamma", gamma, "it weighs the other classes; 1.5 is usual")
