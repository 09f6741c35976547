"""Generalised Jensen–Shannon divergence."""

from torch import Tensor

from tutelage._checks import inner_fraction
from tutelage.objectives._divergence import (
    Targets,
    divergence,
    log_mixture,
    log_probabilities,
)
from tutelage.objectives._output_objective import Divergence
from tutelage.schedules import Schedule


def jensen_shannon(
    student: Tensor, teacher: Targets, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """T² · (β KL(p ‖ m) + (1 − β) KL(q ‖ m)) with m = β p + (1 − β) q, at temperature T.

    It lies between the two KL divergences: divided by β it tends to KL(p ‖ q) for β → 0, and
    divided by 1 − β to KL(q ‖ p) for β → 1. It is finite for any two distributions, at most
    −β log β − (1 − β) log(1 − β) (times T²), and symmetric at β = ½.

    Args:
        student: Student logits z, q = softmax(z/T), `[batch, classes]`.
        teacher: Teacher logits v, p = softmax(v/T), `[batch, classes]`, or its known classes.
        beta: β, strictly between 0 and 1: the teacher's weight in m.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> jensen_shannon(torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 60.0]]))  # log 2
    tensor([0.6931])
    """
    log_q, log_p = log_probabilities(student, teacher, temperature)
    log_m = log_mixture(log_p, log_q, beta)
    parts = beta * divergence(log_p, log_m) + (1 - beta) * divergence(log_q, log_m)
    return parts * temperature**2


class JensenShannon(Divergence):
    """Generalised Jensen–Shannon divergence, between forward and reverse KL.

    Agarwal, Vieillard, Zhou, Stanczyk, Ramos, Geist and Bachem 2024, "On-Policy Distillation of
    Language Models: Learning from Self-Generated Mistakes" (GKD), https://arxiv.org/abs/2306.13649.
    Formula: `tutelage.objectives.jensen_shannon`. Near its ends the divergence is small: there use
    `SoftTargets` (β → 0) or `ReverseKL` (β → 1).

    Args:
        beta: β, strictly between 0 and 1: the teacher's weight in the mixture.
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(jensen_shannon)

    def __init__(self, beta: float = 0.5, temperature: float | Schedule = 1.0) -> None:
        super().__init__(temperature)
        advice = "for 0 use SoftTargets(1), for 1 ReverseKL()"
        self.beta = inner_fraction("beta", beta, advice)
