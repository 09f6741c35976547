"""Softened teacher probabilities as targets, of all classes or of some."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.objectives._formula import Tempered
from tutelage.objectives._tensors import (
    at_least_float32,
    kl_divergence,
    same_classes,
    value_check,
)
from tutelage.schedules import Schedule

Targets = Tensor | CoarseLogits
"""A teacher's logits: of all classes, or of some."""


def soft_targets(student: Tensor, teacher: Targets, temperature: float = 4.0) -> Tensor:
    """T² · KL(softmax(v/T) ‖ softmax(z/T)), summed over the classes.

    The gradient of the cross-entropy inside is (q − p)/T with p, q the softened probabilities of
    teacher and student; T² keeps its scale as T grows. At T = 1 this is the plain KL divergence;
    for T → ∞ it tends to `logit_regression`.

    Of a teacher with known classes (`CoarseLogits`) the sum is over these and one "other" class.
    The coarsened q is that of Hinton, Vinyals and Dean 2015, section 5: the student's probabilities
    at temperature 1 are summed over the classes that the teacher does not know, q(outside). Then
    both sides are softened by T and compared. At T = 1 the gradient is q_i − p_i for a known class
    and q_i − p_other·q_i/q(outside) for another. To leave these classes out of the softmax instead
    (Vongkulbhisal et al. 2019, https://arxiv.org/abs/1904.06062) gives them no gradient at all:
    teachers of disjoint classes then never determine how the two sets' logits compare.

    Classes sampled from p at temperature T (`teacher.sampled_at`) are compared one by one:
    T² · Σ n_i/k · log(n_i/k / q_i) with n_i of k samples. On average over the samples the gradient
    is that of all classes; the value is higher, since a sample has less entropy than p.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`, or its known classes and the other one, whose
            logit is −∞ where it has no mass.
        temperature: T > 0. Higher values give the teacher's small probabilities more weight.

    Returns:
        `[batch]`, in nats (times T²), zero or more.

    Raises:
        ModelError: The two sides have different shapes; a known class is not one of the student's,
            or is named twice; classes were sampled at another temperature; or there is mass where
            the student has no class (values are checked on the CPU only).

    >>> import torch
    >>> soft_targets(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]]), temperature=2.0)
    tensor([0.4438])
    >>> known = CoarseLogits(torch.tensor([[0]]), torch.tensor([[0.0]]), torch.tensor([0.0]))
    >>> soft_targets(torch.zeros(1, 4), known, temperature=1.0)  # ½ log(½/¼) + ½ log(½/¾)
    tensor([0.1438])
    """
    if isinstance(teacher, CoarseLogits) and teacher.sampled_at is not None:
        return _sampled(student, teacher, temperature)
    log_q, log_p = log_probabilities(student, teacher, temperature)
    return kl_divergence(log_q, log_p) * temperature**2


class SoftTargets(Tempered):
    """T² · KL between the teacher's and the student's probabilities at temperature T.

    Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network",
    https://arxiv.org/abs/1503.02531. Formula: `tutelage.objectives.soft_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training. At 1 the student learns the
            teacher's probabilities as they are; the higher T, the more the small ones count.
    """

    formula = staticmethod(soft_targets)

    def __init__(self, temperature: float | Schedule = 4.0) -> None:
        super().__init__(temperature)


def log_probabilities(
    student: Tensor, teacher: Targets, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log q and log p at temperature T over the same classes, in float32 at least.

    Raises:
        ModelError: The two sides do not fit, or the teacher's classes were sampled.
    """
    if isinstance(teacher, CoarseLogits):
        if teacher.sampled_at is not None:
            raise ModelError(
                "this divergence needs the probabilities of the teacher's classes, got classes "
                "sampled from them, which give an unbiased gradient for SoftTargets alone; use "
                "that, or label with top_k"
            )
        return _coarsened(student, teacher, temperature)
    same_classes(student, teacher)
    log_q = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    log_p = F.log_softmax(at_least_float32(teacher) / temperature, dim=1)
    return log_q, log_p


def _coarsened(student: Tensor, teacher: CoarseLogits, temperature: float) -> tuple[Tensor, Tensor]:
    """Return log q and log p at T over the teacher's known classes and the "other" one, last.

    Both are −∞ where short rows are padded, and `[batch, k + 1]`. Errors: see the formula.
    """
    logits, columns = _at_known_classes(student, teacher)
    beyond = F.pad(logits, (0, 1), value=-torch.inf)
    outside = torch.ones_like(beyond, dtype=torch.bool).scatter(1, columns, False)[:, :-1]
    # Logits serve as log-probabilities: a constant of the row drops out below.
    ours = torch.cat([beyond.gather(1, columns), _log_sum(logits, outside)], dim=1)
    theirs = at_least_float32(torch.cat([teacher.logits, teacher.other.unsqueeze(1)], dim=1))
    log_q, log_p = (F.log_softmax(each / temperature, dim=1) for each in (ours, theirs))
    return log_q, log_p


def _at_known_classes(student: Tensor, teacher: CoarseLogits) -> tuple[Tensor, Tensor]:
    """Return the student's logits, and the teacher's classes as columns of them."""
    if student.ndim != 2 or len(student) != len(teacher):  # noqa: PLR2004 - rows and columns
        raise ModelError(
            f"student logits must be [{len(teacher)}, classes] where the teacher has outputs for "
            f"{len(teacher)} examples, got {list(student.shape)}; let the student return that shape"
        )
    if teacher.classes not in (None, student.shape[1]):
        raise ModelError(
            f"student and teacher must have the same number of classes, got {student.shape[1]} "
            f"(student) and {teacher.classes} (teacher, whose outputs are stored); change the "
            "student's last layer, or label with a teacher that has the student's classes"
        )
    ids = _known_classes(teacher.ids, teacher.other, student.shape[1])
    logits = at_least_float32(student)
    # The filling −1 has a column of its own, past the last class.
    return logits, torch.where(ids < 0, logits.shape[1], ids)


def _sampled(student: Tensor, teacher: CoarseLogits, temperature: float) -> Tensor:
    """Return the divergence of the sampled frequencies from the student's probabilities at T."""
    logits, columns = _at_known_classes(student, teacher)
    if temperature != teacher.sampled_at:
        raise ModelError(
            f"`temperature` must be that at which the teacher's classes were sampled, got "
            f"{temperature:g} instead of {teacher.sampled_at:g}; set it, or label again"
        )
    log_q = F.pad(F.log_softmax(logits / temperature, dim=1), (0, 1), value=-torch.inf)
    log_p = at_least_float32(teacher.logits)
    return kl_divergence(log_q.gather(1, columns), log_p) * temperature**2


def _log_sum(logits: Tensor, outside: Tensor) -> Tensor:
    """Return log Σ exp over the marked columns, `[batch, 1]`; −∞, without a gradient, for none."""
    none = ~outside.any(dim=1, keepdim=True)
    # A row of −∞ only has a gradient of NaN, so it is filled with finite values first.
    marked = logits.masked_fill(~outside, -torch.inf).masked_fill(none, 0)
    return marked.logsumexp(dim=1, keepdim=True).masked_fill(none, -torch.inf)


def _check_ids(ids: Tensor, other: Tensor, classes: int) -> None:
    wrong = ids[(ids < -1) | (ids >= classes)]
    if len(wrong):
        raise ModelError(
            f"the teacher's classes must be the student's, 0 to {classes - 1}, got "
            f"{sorted(set(wrong.tolist()))[:5]}; correct the labels, or the student's last layer"
        )
    ordered = ids.sort(dim=1).values
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ModelError(
            "the teacher's classes must differ within a row, got one twice; leave it out once, or "
            "add the two up by logaddexp"
        )
    known = (ids >= 0).sum(dim=1)
    if ((known == classes) & (other > -torch.inf)).any():
        raise ModelError(
            f"a teacher that knows all {classes} classes of the student must have `other` at -inf, "
            "got mass where the student has no class; for a Specialist set other_class=False"
        )
    if ((known == 0) & (other == -torch.inf)).any():
        raise ModelError(
            "each row of CoarseLogits must have mass somewhere, got one without a class and with "
            "`other` at -inf; leave such examples out"
        )


_known_classes = value_check(
    "known_classes", _check_ids, "(Tensor ids, Tensor other, SymInt classes) -> Tensor"
)
