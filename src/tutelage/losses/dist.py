"""Correlation of the two sides' probabilities, along the classes and along the batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._directions import directions
from tutelage.losses._looks import may_look
from tutelage.losses._tensors import at_least_float32, same_shape

# Differences that count beside a probability of this size are large enough to be squared.
_RARE = 1e-12


def dist(
    student: Tensor,
    teacher: Tensor,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 1.0,
) -> Tensor:
    """β · T² · (1 − ρ(p_b, q_b)) + γ · T² · mean over classes c of (1 − ρ(p_·c, q_·c)).

    ρ is Pearson's correlation of probabilities at temperature T: of an example's row over the
    classes, and of a class's column over the batch. The student has to rank and space them as the
    teacher does; level and scale are free.

    The second part depends on the batch as a whole, and each of its examples is given the same
    value, so that the mean over the batch is the published loss. It sees the examples of one call
    only, and little in a small batch. Rows and columns that do not vary have no correlation: they
    count as ρ = 0 and have no gradient; so all columns of a batch of one, and a student whose
    outputs are all equal (a last layer of zeros) learns nothing from this loss alone.

    Source: Huang et al. 2022, https://arxiv.org/abs/2205.10536. Their code adds 1e-8 to the
    denominator of ρ, which fades classes that are improbable throughout the batch; here they count
    as the formula says.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        beta: β ≥ 0, the weight of the rows (relations between classes).
        gamma: γ ≥ 0, the weight of the columns (relations within a class).
        temperature: T > 0, by which both sides' logits are divided.

    Returns:
        `[batch]`, from 0 to 2T²(β + γ).

    Raises:
        ModelError: The two sides have different shapes.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    >>> student = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])  # wrong on the last example
    >>> dist(student, teacher, gamma=0.0).round(decimals=4)
    tensor([0., 0., 2.])
    """
    same_shape(student, teacher, "classes")
    z, v = (at_least_float32(side) / temperature for side in (student, teacher))
    q, p = z.softmax(dim=1), v.softmax(dim=1)
    rows = _lack_of_correlation(q, p, dim=1)
    columns = _lack_of_correlation(_columns(q, z), _columns(p, v), dim=0)
    return (beta * rows + gamma * columns.mean()) * temperature**2


def _columns(probabilities: Tensor, logits: Tensor) -> Tensor:
    """Return probabilities, each class's on a scale where it does not underflow.

    ρ does not see the scale, and so a divisor is a constant for gradients too.
    """
    largest = probabilities.detach().amax(dim=0)
    if may_look(largest) and largest.amin() > _RARE:
        return probabilities
    logs = logits.log_softmax(dim=1)
    return (logs - logs.detach().amax(dim=0)).exp()


def _lack_of_correlation(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Return 1 − ρ as ½‖s − t‖² of the directions: exactly 0, and flat, where they are equal."""
    (s, s_exists), (t, t_exists) = directions(student, dim), directions(teacher, dim)
    exists = (s_exists & t_exists).squeeze(dim)
    return torch.where(exists, F.mse_loss(s, t, reduction="none").sum(dim=dim) / 2, 1.0)
