"""Softened teacher probabilities as targets."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.objectives._objective import Objective
from tutelage.objectives._tensors import at_least_float32, same_shape
from tutelage.objectives._value_checks import value_check
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import OUTPUT, Batch, Signals, Wants


def soft_targets(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """T² · KL(softmax(v/T) ‖ softmax(z/T)), summed over the classes.

    The gradient of the cross-entropy inside is (q − p)/T with p, q the softened probabilities of
    teacher and student; T² keeps its scale as T grows. At T = 1 this is the plain KL divergence;
    for T → ∞ it tends to `logit_regression`.

    Args:
        student: Student logits z, `[batch, classes]`.
        teacher: Teacher logits v, `[batch, classes]`.
        temperature: T > 0. Higher values give the teacher's small probabilities more weight.

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


def coarse_soft_targets(student: Tensor, teacher: CoarseLogits, temperature: float = 4.0) -> Tensor:
    """T² · KL(p ‖ q) over the teacher's known classes and one "other" class.

    The student's probabilities at temperature 1 are summed up over the classes that the teacher
    does not know: log q(outside) = log Σ_{i outside} q_i. Then both sides are softened by T
    and compared. With all classes known this is `soft_targets`. At T = 1 the gradient is q_i − p_i
    for a known class and q_i − p_rest·q_i/q(outside) for another: what lies outside moves as a
    whole. To leave these classes out of the softmax instead (Vongkulbhisal et al. 2019,
    https://arxiv.org/abs/1904.06062) gives them no gradient at all, and teachers of disjoint
    classes then never fix how high the ones stand against the others.

    Classes sampled from p at this temperature (`teacher.sampled_at`) are compared one by one:
    T² · Σ n_i/k · log(n_i/k / q_i) with n_i of k samples. The gradient is that of `soft_targets` on
    average over the samples. (The value is higher, since a sample has less entropy than p.) At
    another temperature this would not hold: an error.

    The coarsened q is that of Hinton, Vinyals and Dean 2015, section 5.

    Args:
        student: Student logits, `[batch, classes]`.
        teacher: The known classes and the rest. A rest of −∞ means no mass on the other classes.
        temperature: T > 0.

    Returns:
        `[batch]`, in nats (times T²), zero or more; computed in float32 at least.

    Raises:
        ModelError: The two sides have different lengths; a known class is none of the student's,
            or is named twice; classes were sampled at another temperature; or there is mass where
            the student has no class (values are checked on the CPU only, where reading them does
            not wait for a device).

    >>> known = CoarseLogits(torch.tensor([[0]]), torch.tensor([[0.0]]), torch.tensor([0.0]))
    >>> coarse_soft_targets(torch.zeros(1, 4), known, temperature=1.0)  # ½ log(½/¼) + ½ log(½/¾)
    tensor([0.1438])
    """
    _check_shapes(student, teacher)
    ids = _known_classes(teacher.ids, teacher.other, student.shape[1])
    logits = at_least_float32(student)
    # The filling −1 has a column of its own, past the last class.
    columns = torch.where(ids < 0, logits.shape[1], ids)
    if teacher.sampled_at is not None:
        return _drawn(logits, teacher, columns, temperature)
    beyond = F.pad(logits, (0, 1), value=-torch.inf)
    outside = torch.ones_like(beyond, dtype=torch.bool).scatter(1, columns, False)[:, :-1]
    # Logits serve as log-probabilities: what all cells of a row have in common drops out below.
    cells = torch.cat([beyond.gather(1, columns), _log_sum(logits, outside)], dim=1)
    said = torch.cat([teacher.logits, teacher.other.unsqueeze(1)], dim=1)
    log_p = F.log_softmax(at_least_float32(said) / temperature, dim=1)
    return _divergence(F.log_softmax(cells / temperature, dim=1), log_p) * temperature**2


class SoftTargets(Objective):
    """T² · KL between the teacher's and the student's probabilities at temperature T.

    Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network",
    https://arxiv.org/abs/1503.02531. Formula: `tutelage.objectives.soft_targets`; for a teacher
    that knows some of the classes (`CoarseLogits`) `tutelage.objectives.coarse_soft_targets`.

    Args:
        temperature: T > 0, a number or a schedule over training. At 1 the student learns the
            teacher's probabilities as they are; the higher T, the more the small ones count.

    Shape:
        Student output `[batch, classes]`; teacher output the same, or `CoarseLogits`.

    Raises:
        ArgumentError: `temperature` is not positive and finite.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def __init__(self, temperature: float | Schedule = 4.0) -> None:
        super().__init__()
        advice = "1 takes the teacher's probabilities as they are, 2 to 20 softens them"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        temperature = self.temperature(batch.progress)
        answer = teacher.wanted_answer()
        if isinstance(answer, CoarseLogits):
            return coarse_soft_targets(student.wanted_output(), answer, temperature)
        return soft_targets(student.wanted_output(), answer, temperature)


def _drawn(logits: Tensor, teacher: CoarseLogits, columns: Tensor, temperature: float) -> Tensor:
    """Return the divergence of the sampled frequencies from the student's probabilities at T."""
    if temperature != teacher.sampled_at:
        raise ModelError(
            f"`temperature` must be that at which the teacher's classes were drawn, got "
            f"{temperature:g} in place of {teacher.sampled_at:g}; set it, or label again"
        )
    log_q = F.pad(F.log_softmax(logits / temperature, dim=1), (0, 1), value=-torch.inf)
    log_p = at_least_float32(teacher.logits)
    return _divergence(log_q.gather(1, columns), log_p) * temperature**2


def _divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    # A class without mass adds 0, whatever the student's probability: p log p → 0.
    possible = log_p > -torch.inf
    log_p, log_q = log_p.masked_fill(~possible, 0), log_q.masked_fill(~possible, 0)
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def _log_sum(logits: Tensor, outside: Tensor) -> Tensor:
    """Return log Σ exp over the marked columns, `[batch, 1]`; −∞, without a gradient, for none."""
    none = ~outside.any(dim=1, keepdim=True)
    # A row of nothing but −∞ has a gradient of NaN, so it is filled with anything else first.
    marked = logits.masked_fill(~outside, -torch.inf).masked_fill(none, 0)
    return marked.logsumexp(dim=1, keepdim=True).masked_fill(none, -torch.inf)


def _check_shapes(student: Tensor, teacher: CoarseLogits) -> None:
    if student.ndim == 2 and len(student) == len(teacher):  # noqa: PLR2004 - rows and columns
        return
    raise ModelError(
        f"student logits must be [{len(teacher)}, classes] where the teacher answers for "
        f"{len(teacher)} examples, got {list(student.shape)}; let the student return that shape"
    )


def _check_ids(ids: Tensor, rest: Tensor, classes: int) -> None:
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
    if ((known == classes) & (rest > -torch.inf)).any():
        raise ModelError(
            f"a teacher that knows all {classes} classes of the student must have a rest of -inf, "
            "got mass where the student has no class; for a Specialist set other_class=False"
        )
    if ((known == 0) & (rest == -torch.inf)).any():
        raise ModelError(
            "each row of CoarseLogits must have mass somewhere, got one without a class and with "
            "a rest of -inf; leave such examples out"
        )


_known_classes = value_check(
    "known_classes", _check_ids, "(Tensor ids, Tensor rest, SymInt classes) -> Tensor"
)
