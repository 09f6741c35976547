"""Weighted transformed teacher matching (WTTM)."""

import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import fraction, positive
from tutelage.objectives._formula import OutputObjective
from tutelage.objectives._tensors import at_least_float32, kl_divergence, same_classes


def wttm(student: Tensor, teacher: Tensor, gamma: float = 0.1) -> Tensor:
    """U · KL(p^γ/U ‖ q), U = Σ_i p_i^γ, with p, q the probabilities at temperature 1.

    p^γ/U is the teacher at temperature 1/γ: softmax(γ v). The student has no temperature, so
    it learns the flatter distribution: the loss is 0 at z = γ v. U lies between 1 (a confident
    teacher) and N^(1 − γ) (an uncertain one), and so emphasizes examples that the teacher finds
    hard. At γ = 1 this is the plain KL divergence.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        gamma: γ in (0, 1], the power of the teacher's probabilities.

    Returns:
        `[batch]`, in nats (times U), zero or more.

    >>> import torch
    >>> wttm(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), gamma=0.5)
    tensor([0.3688])
    """
    same_classes(student, teacher)
    log_q = F.log_softmax(at_least_float32(student), dim=1)
    log_powers = gamma * F.log_softmax(at_least_float32(teacher), dim=1)
    log_p = F.log_softmax(log_powers, dim=1)
    return kl_divergence(log_q, log_p) * log_powers.logsumexp(dim=1).exp()


class WTTM(OutputObjective):
    """Weighted transformed teacher matching: KL to the teacher's p^γ, weighted by uncertainty.

    Zheng and Yang 2024, "Knowledge Distillation Based on Transformed Teacher Matching",
    https://arxiv.org/abs/2402.11148. Formula: `tutelage.objectives.wttm`. The authors give it a
    weight of 4 to 45 beside 1 for the labels, and choose γ and weight for each pair of models.

    Args:
        gamma: γ in (0, 1], the power of the teacher's probabilities, usually 0.1 to 0.2; it acts
            as the teacher's temperature 1/γ. At 1 the student learns them as they are.
    """

    formula = staticmethod(wttm)

    def __init__(self, gamma: float = 0.1) -> None:
        super().__init__()
        advice = "0.1 to 0.2 is usual, 1 takes the teacher's probabilities as they are"
        self.gamma = fraction("gamma", positive("gamma", gamma, advice), advice)
