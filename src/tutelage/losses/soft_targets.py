"""The divergence between the teacher's and the student's softened probabilities."""

import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._tensors import at_least_float32, same_shape


def soft_targets(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T² · KL(softmax(v/T) ‖ softmax(z/T)), summed over the classes.

    The gradient of the cross-entropy inside is (q − p)/T with p, q the softened probabilities of
    teacher and student; T² keeps its scale as T grows. At T = 1 this is the plain KL divergence;
    for T → ∞ it tends to `logit_regression`.

    Source: Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        temperature: T > 0. Higher values let the student heed the teacher's small probabilities.

    Returns:
        `[batch]`, in nats (times T²), zero or more; computed in float32 at least.

    Raises:
        ModelError: The two sides have different shapes.

    >>> import torch
    >>> soft_targets(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    tensor([0.4438])
    """
    same_shape(student, teacher, "classes")
    log_q = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    log_p = F.log_softmax(at_least_float32(teacher) / temperature, dim=1)
    divergence = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
    return divergence * temperature**2
