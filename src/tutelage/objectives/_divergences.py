"""Other divergences of the two sides' probabilities: reverse, mixed, skewed, total variation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tutelage._checks import inner_fraction
from tutelage.objectives._formula import Tempered
from tutelage.objectives._soft_targets import Targets, log_probabilities
from tutelage.schedules import Schedule

_LEAST = -1e30  # of a logarithm: exp is 0, and 0 · _LEAST is 0, where 0 · (−∞) is NaN
_RULED_OUT = -100.0
_ADVICE = "0.1 is usual; for 0 use SoftTargets(1) or ReverseKL()"


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


class ReverseKL(Tempered):
    """Reverse KL: T² · KL of the student's probabilities from the teacher's, mode-seeking.

    Gu, Dong, Wei and Huang 2024, "MiniLLM: Knowledge Distillation of Large Language Models",
    https://arxiv.org/abs/2306.08543, for each token (the paper also samples texts from the
    student). Formula: `tutelage.objectives.reverse_kl`.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(reverse_kl)


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


class JensenShannon(Tempered):
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


class SkewKL(Tempered):
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


class TotalVariation(Tempered):
    """Total variation distance: how often speculative decoding rejects the student's token.

    Formula: `tutelage.objectives.total_variation`. As a training loss for language models: Wen, Li,
    Du and Mou 2023, "f-Divergence Minimization for Sequence-Level Knowledge Distillation",
    https://arxiv.org/abs/2307.15190.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(total_variation)


def divergence(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return KL(a ‖ b) = Σ a (log a − log b), `[batch]`, with finite gradients.

    A class adds 0 where a is 0. Where b alone is 0 the divergence is infinite: log b counts as −100
    at the least, so that the loss is large and its gradient drives a to 0.
    """
    log_b = log_b.clamp(min=_RULED_OUT)
    log_a = log_a.clamp(min=_LEAST)
    return (log_a.exp() * (log_a - log_b)).sum(dim=1)


def log_mixture(log_a: Tensor, log_b: Tensor, weight: float) -> Tensor:
    """Return log(w·a + (1 − w)·b) for 0 < w < 1, with finite gradients where one or both are 0."""
    first, second = (each.clamp(min=_LEAST) for each in (log_a, log_b))
    return torch.logaddexp(first + math.log(weight), second + math.log1p(-weight))
