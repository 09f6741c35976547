"""Distillation from a stronger teacher (DIST)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import not_negative
from tutelage.objectives._formula import Tempered
from tutelage.objectives._tensors import at_least_float32, can_sync, directions, same_classes
from tutelage.schedules import Schedule

# Relevant differences of probabilities above this can be squared in float32.
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

    The second part is a property of the batch: each example gets the same value, and the mean over
    the batch is the published loss. Rows and columns that do not vary have no correlation: there
    ρ = 0, without a gradient. That holds for all columns in a batch of one, and for a student whose
    outputs are all equal (a last layer of zeros): it learns nothing from this loss.

    The authors' code adds 1e-8 to the denominator of ρ, which suppresses classes that are
    improbable throughout the batch; this one does not.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        beta: β ≥ 0, the weight of the rows (relations between classes).
        gamma: γ ≥ 0, the weight of the columns (relations within a class).
        temperature: T > 0, by which both sides' logits are divided.

    Returns:
        `[batch]`, from 0 to 2T²(β + γ).

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    >>> student = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])  # wrong on the last example
    >>> dist(student, teacher, gamma=0.0).round(decimals=4)
    tensor([0., 0., 2.])
    """
    same_classes(student, teacher)
    z, v = (at_least_float32(side) / temperature for side in (student, teacher))
    q, p = z.softmax(dim=1), v.softmax(dim=1)
    rows = _distance(q, p, dim=1)
    columns = _distance(_columns(q, z), _columns(p, v), dim=0)
    return (beta * rows + gamma * columns.mean()) * temperature**2


class DIST(Tempered):
    """Distillation from a stronger teacher: Pearson correlation between and within classes.

    Huang, You, Wang, Qian and Xu 2022, "Knowledge Distillation from A Stronger Teacher",
    https://arxiv.org/abs/2205.10536. Formula: `tutelage.objectives.dist`. The second part depends
    on the whole batch (of one process) and is noisy in a small one.

    Args:
        beta: β ≥ 0, the weight of the rows (relations between classes).
        gamma: γ ≥ 0, the weight of the columns (relations within a class).
        temperature: T > 0, a number or a schedule over training. For CIFAR the authors take T = 4
            and β = γ = 2.
    """

    rowwise = False
    formula = staticmethod(dist)

    def __init__(
        self, beta: float = 1.0, gamma: float = 1.0, temperature: float | Schedule = 1.0
    ) -> None:
        super().__init__(temperature)
        self.beta = not_negative("beta", beta, "it weighs the relations between classes")
        self.gamma = not_negative("gamma", gamma, "it weighs the relations within a class")


def _columns(probabilities: Tensor, logits: Tensor) -> Tensor:
    """Return probabilities, scaled for each class so that they do not underflow.

    ρ does not depend on the scale, so the divisor needs no gradient.
    """
    largest = probabilities.detach().amax(dim=0)
    if can_sync(largest) and largest.amin() > _RARE:
        return probabilities
    logs = logits.log_softmax(dim=1)
    # At least the lowest number, for a class that all examples rule out: −∞ minus −∞ is NaN.
    highest = logs.detach().amax(dim=0).clamp(min=torch.finfo(logs.dtype).min)
    return (logs - highest).exp()


def _distance(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Return 1 − ρ as ½‖s − t‖² of the directions: exactly 0, and flat, where they are equal."""
    (s, s_exists), (t, t_exists) = directions(student, dim), directions(teacher, dim)
    exists = (s_exists & t_exists).squeeze(dim)
    return torch.where(exists, F.mse_loss(s, t, reduction="none").sum(dim=dim) / 2, 1.0)
