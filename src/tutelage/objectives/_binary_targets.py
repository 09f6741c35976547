"""Softened teacher probabilities of binary labels as targets."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.objectives._output_objective import Divergence
from tutelage.objectives._tensors import at_least_float32, kl_terms, mean_of_rows, same_shape
from tutelage.schedules import Schedule


def binary_targets(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """T² · mean over the labels of KL(Bernoulli(σ(v/T)) ‖ Bernoulli(σ(z/T))).

    Each label is a question of its own with the answers yes and no, and the sigmoid σ is the
    softmax over these: a label's value is that of `soft_targets` for the logits (0, z) and (0, v).
    Before T² its gradient is (q − p)/T with p, q the softened probabilities of teacher and student;
    for T → ∞ the value tends to (z − v)²/8.

    The mean over the labels, and not their sum, keeps the scale whatever their number, and beside
    `binary_labels`, which is a mean too. Yang et al. 2023 sum over the labels at T = 1: multiply
    the weight by the number of labels for their loss.

    Args:
        student: Student logits z, `[batch, labels]`; `[batch, 1]` for a single label.
        teacher: Teacher logits v, `[batch, labels]`.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    >>> import torch
    >>> binary_targets(torch.tensor([[0.0]]), torch.tensor([[2.0]]), temperature=2.0)
    tensor([0.4438])
    """
    same_shape(student, teacher, "labels")
    z, v = at_least_float32(student) / temperature, at_least_float32(teacher) / temperature
    # By the logarithms of both probabilities: 1 − σ would round to 0 for a confident model.
    divergences = _part(z, v) + _part(-z, -v)
    return mean_of_rows(divergences) * temperature**2


class BinaryTargets(Divergence):
    """T² · KL between the teacher's and the student's probabilities of each binary label.

    For outputs that are one logit for each of several labels (multi-label classification) or a
    single logit (binary classification). An example's value is the mean over its labels; the
    teacher's answers are learned for all of them, also where the true label is missing.

    Yang, Xie, Zong, Feng, Niu, Sugiyama and Huang 2023, "Multi-Label Knowledge Distillation",
    https://arxiv.org/abs/2308.06453 (their multi-label logits distillation: T = 1, and a sum over
    the labels). Formula: `tutelage.objectives.binary_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training.
    """

    formula = staticmethod(binary_targets)
    output_kind = "binary"

    def __init__(self, temperature: float | Schedule = 2.0) -> None:
        super().__init__(temperature)


def _part(z: Tensor, v: Tensor) -> Tensor:
    """Return σ(v)·(log σ(v) − log σ(z)), one of the two terms of the divergence."""
    return kl_terms(F.logsigmoid(z), F.logsigmoid(v))
