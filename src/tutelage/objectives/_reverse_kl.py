"""Reverse Kullback–Leibler divergence."""

from torch import Tensor

from tutelage.objectives._divergence import Targets, divergence, log_probabilities
from tutelage.objectives._output_objective import Divergence


def reverse_kl(student: Tensor, teacher: Targets, temperature: float = 1.0) -> Tensor:
    """T² · KL(softmax(z/T) ‖ softmax(v/T)), summed over the classes.

    It is large where the student is sure of what the teacher thinks unlikely, and small where the
    student leaves out some of what the teacher thinks likely: a student that cannot represent all
    chooses some (mode-seeking), where `soft_targets` covers all. At T = 1 its gradient is
    q_i (log(q_i/p_i) − KL(q ‖ p)).

    A class that the teacher rules out (a logit of −∞, or of −10,000) would make the divergence
    infinite, or nearly so; log p counts as −100 at the least, and the gradient drives q_i to 0.

    Of a teacher with known classes (`CoarseLogits`) nothing holds q within the "other" class in
    order, nor the known classes above it: prefer `soft_targets` for small k.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`, or its known classes.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> reverse_kl(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]]))  # log 2 − entropy of q
    tensor([0.3278])
    """
    log_q, log_p = log_probabilities(student, teacher, temperature)
    return divergence(log_q, log_p) * temperature**2


class ReverseKL(Divergence):
    """Reverse KL: T² · KL of the student's probabilities from the teacher's, mode-seeking.

    Gu, Dong, Wei and Huang 2024, "MiniLLM: Knowledge Distillation of Large Language Models",
    https://arxiv.org/abs/2306.08543, for each token (the paper also samples texts from the
    student). Formula: `tutelage.objectives.reverse_kl`.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(reverse_kl)
