"""Total variation distance."""

from torch import Tensor

from tutelage.objectives._divergence import Targets, log_probabilities
from tutelage.objectives._output_objective import Divergence


def total_variation(student: Tensor, teacher: Targets, temperature: float = 1.0) -> Tensor:
    """½ Σ_i |p_i − q_i|, the largest difference of the probabilities of any event, in [0, 1].

    At T = 1, 1 minus it is Σ min(p, q), the probability that speculative decoding accepts a token
    drawn from q (Leviathan, Kalman and Matias 2023, https://arxiv.org/abs/2211.17192).
    It is not multiplied by T², and is not differentiable where the sides are equal (its gradient
    there is 0).

    Args:
        student: Student logits z, q = softmax(z/T), `[batch, classes]`.
        teacher: Teacher logits v, p = softmax(v/T), `[batch, classes]`, or its known classes, of
            which it gives the distance of the coarsened distributions, a lower bound.
        temperature: T > 0.

    Returns:
        `[batch]`.

    >>> import torch
    >>> student, teacher = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    >>> total_variation(student.log(), teacher.log())
    tensor([0.2500])
    """
    log_q, log_p = log_probabilities(student, teacher, temperature)
    return (log_p.exp() - log_q.exp()).abs().sum(dim=1) / 2


class TotalVariation(Divergence):
    """Total variation distance: how often speculative decoding rejects the student's token.

    Formula: `tutelage.objectives.total_variation`. As a training loss for language models: Wen, Li,
    Du and Mou 2023, "f-Divergence Minimization for Sequence-Level Knowledge Distillation",
    https://arxiv.org/abs/2307.15190.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(total_variation)
