"""Skewed Kullback–Leibler divergences, forward and reverse."""

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

_ADVICE = "0.1 is usual; for 0 use SoftTargets(1) or ReverseKL()"


def skew_kl(
    student: Tensor, teacher: Targets, alpha: float = 0.1, temperature: float = 1.0
) -> Tensor:
    """T² · KL(p ‖ α p + (1 − α) q), at temperature T.

    The second distribution is never below α p, so the divergence is at most −log α (times T²) and
    its gradient stays bounded where the student gives a likely class no probability. α → 0 is
    KL(p ‖ q).

    Args:
        student: Student logits z, q = softmax(z/T), `[batch, classes]`.
        teacher: Teacher logits v, p = softmax(v/T), `[batch, classes]`, or its known classes.
        alpha: α, strictly between 0 and 1.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> skew_kl(torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 60.0]]))  # −log 0.1
    tensor([2.3026])
    """
    log_q, log_p = log_probabilities(student, teacher, temperature)
    return divergence(log_p, log_mixture(log_p, log_q, alpha)) * temperature**2


def skew_reverse_kl(
    student: Tensor, teacher: Targets, alpha: float = 0.1, temperature: float = 1.0
) -> Tensor:
    """T² · KL(q ‖ α q + (1 − α) p), at temperature T: `skew_kl` with the sides exchanged.

    It is at most −log α (times T²), also where the teacher rules a class out. α → 0 is KL(q ‖ p).

    Args:
        student: Student logits z, q = softmax(z/T), `[batch, classes]`.
        teacher: Teacher logits v, p = softmax(v/T), `[batch, classes]`, or its known classes.
        alpha: α, strictly between 0 and 1.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> student, teacher = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    >>> torch.equal(skew_reverse_kl(student, teacher), skew_kl(teacher, student))
    True
    """
    log_q, log_p = log_probabilities(student, teacher, temperature)
    return divergence(log_q, log_mixture(log_q, log_p, alpha)) * temperature**2


class SkewKL(Divergence):
    """Skewed KL: T² · KL of the teacher's probabilities from a mixture with the student's.

    Ko, Kim, Chen and Yun 2024, "DistiLLM: Towards Streamlined Distillation for Large Language
    Models", https://arxiv.org/abs/2402.03898. Formula: `tutelage.objectives.skew_kl`.

    Args:
        alpha: α, the teacher's weight in the mixture, strictly between 0 and 1.
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(skew_kl)

    def __init__(self, alpha: float = 0.1, temperature: float | Schedule = 1.0) -> None:
        super().__init__(temperature)
        self.alpha = inner_fraction("alpha", alpha, _ADVICE)


class SkewReverseKL(SkewKL):
    """Skewed reverse KL: T² · KL of the student's probabilities from a mixture with the teacher's.

    Ko et al. 2024, as `SkewKL`; the authors' best results are with this one. Formula:
    `tutelage.objectives.skew_reverse_kl`.

    Args:
        alpha: α, the student's weight in the mixture, strictly between 0 and 1.
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(skew_reverse_kl)
