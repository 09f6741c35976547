"""The teacher's probabilities, flattened by a power, for a student without temperature."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._tensors import at_least_float32, same_shape


def wttm(student: Tensor, teacher: Tensor, gamma: float = 0.1) -> Tensor:
    """U · KL(p^γ/U ‖ q), U = Σ_i p_i^γ, with p, q the probabilities at temperature 1.

    p^γ/U is the teacher at temperature 1/γ: softmax(γ v). The student has no temperature of its
    own, so it is to give that flatter answer itself: the loss is 0 at z = γ v. U lies between 1
    (a teacher that is sure) and N^(1 − γ) (one that is not), and so weighs the examples that the
    teacher finds hard. At γ = 1 this is the plain KL divergence.

    Source: Zheng and Yang 2024, https://arxiv.org/abs/2402.11148.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        gamma: γ in (0, 1], the power of the teacher's probabilities.

    Returns:
        `[batch]`, in nats (times U), zero or more; computed in float32 at least.

    Raises:
        ModelError: The two sides have different shapes.

    >>> import torch
    >>> wttm(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), gamma=0.5)
    tensor([0.3688])
    """
    same_shape(student, teacher, "classes")
    log_q = F.log_softmax(at_least_float32(student), dim=1)
    log_powers = gamma * F.log_softmax(at_least_float32(teacher), dim=1)
    log_p = F.log_softmax(log_powers, dim=1)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    return divergence * log_powers.logsumexp(dim=1).exp()
