"""Combine teachers that each know some of the classes into one distribution over all classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import integer, positive
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives._objective import OutputKind
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import AnyTeacher
from tutelage.teachers.ensemble import Members, Team, named_members, normalized
from tutelage.wants import Fields

GENERALIST = "generalist"

_LEAST = -1e4
"""Least log-probability at the start of the iteration."""


class Consensus(Team):
    """Teachers of different classes, all applied to each example: for data without domains.

    For each example it computes the q over all classes that minimizes Σ_k w_k KL(p_k ‖ q_k), where
    q_k is q over the classes that teacher k knows, with the sum of the remaining ones as "other".
    The fixed-point iteration

        q_i ← Σ_k w_k · p_k(i),

    with p_k(i) = p_k(other) · q_i / q_k(other) for a class i that teacher k does not know, never
    increases the objective. The ratios of classes that no teacher distinguishes stay as at the
    start: the generalist's, or equal. Where an example's domain is known, use `Specialists`.

    Source: Hinton, Vinyals and Dean 2015, section 5, https://arxiv.org/abs/1503.02531.

    Args:
        teachers: A list or a dict by name: a `Specialist` with an "other" class, or any teacher of
            all classes.
        generalist: One more, which knows all classes; the iteration starts from its output.
        classes: The number of the student's classes; None where some teacher knows all of them.
        weights: One number for each of `teachers`, then one for the generalist; 0 leaves a teacher
            out (the iteration may still start from it); None for equal weights.
        tolerance: The iteration ends when no probability changes by more.
        max_steps: Maximum number of iterations.

    Raises:
        ArgumentError: There is no teacher, or a number is outside its range.
        ModelError: A member is not a teacher.
    """

    def __init__(
        self,
        teachers: Members,
        generalist: AnyTeacher | None = None,
        classes: int | None = None,
        weights: Sequence[float] | None = None,
        tolerance: float = 1e-6,
        max_steps: int = 200,
    ) -> None:
        named = named_members(teachers)
        if generalist is not None and GENERALIST in named:
            raise ArgumentError(
                f"`teachers` must have none named {GENERALIST!r} beside the `generalist`, got two; "
                "rename it"
            )
        super().__init__(named if generalist is None else {**named, GENERALIST: generalist})
        self.has_generalist = generalist is not None
        advice = "it is the number of the student's outputs"
        self.classes = None if classes is None else integer("classes", classes, 2, advice)
        self.weights = normalized(weights, self.names)
        self.tolerance = positive("tolerance", tolerance, "1e-6 is a good value")
        self.max_steps = integer("max_steps", max_steps, 1, "200 is a good value")

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return log q, `[batch, classes]`, and the required features of each member.

        Raises:
            ModelError: A teacher has neither all classes nor an "other" class, or their classes do
                not match.
        """
        outputs, signals = self.ask_all(batch, fields)
        if not fields.output:
            return signals
        classes = self._classes(outputs)
        used = self.weights.nonzero().flatten().tolist()
        targets = Targets.of([outputs[member] for member in used], classes)
        without = [self.names[used[member]] for member in targets.without_other()]
        if without:
            raise ModelError(
                'each teacher of a Consensus must know all classes, or have an "other" class, got '
                f"neither of {without}; train it with one more output and set other_class=True, or "
                "use Specialists, by domain"
            )
        last = outputs[-1]
        start = last if self.has_generalist and isinstance(last, Tensor) else None
        log_q = pooled(targets, self.weights[used], start, self.tolerance, self.max_steps)
        return replace(signals, output=log_q)

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse values, and logits of binary labels, which do not exclude each other."""
        super().check_kind(kind)
        if kind in ("binary", "values"):
            raise ModelError(
                "a Consensus is of teachers of classes that exclude each other, got an objective "
                f"on {'binary labels' if kind == 'binary' else kind}; give one module that returns "
                f"{'the logits of all labels' if kind == 'binary' else 'all values'} side by side, "
                "from whichever teacher knows each, or an Ensemble"
            )

    def _classes(self, outputs: Sequence[Tensor | CoarseLogits]) -> int:
        """Return the number of classes."""
        dense = {
            name: each.shape[1]
            for name, each in zip(self.names, outputs, strict=True)
            if isinstance(each, Tensor)
        }
        found = {*dense.values(), *([] if self.classes is None else [self.classes])}
        if len(found) != 1:
            raise ModelError(
                "teachers of a Consensus must have the same number of classes, got "
                f"classes={self.classes} and {dense or 'no teacher of all classes'}; set `classes`,"
                " and name the classes of each teacher that knows some by Specialist"
            )
        if self.has_generalist and GENERALIST not in dense:
            raise ModelError(
                "the generalist must know all classes, got one that knows some; give it among the "
                "`teachers`"
            )
        return found.pop()

    def _settings(self) -> str:
        weights = [round(each, 9) for each in self.weights.tolist()]
        return f"classes {self.classes}, weights {weights}, {self.tolerance}, {self.max_steps}"


@dataclass(frozen=True)
class Targets:
    """Several teachers' distributions over their own classes and the "other" class.

    Args:
        known: `[members, batch, classes]`: whether the teacher knows the class.
        log_p: `[members, batch, classes]`: its log-probability; −∞ where it is not known.
        other: `[members, batch, 1]`: the log-probability of all classes that are not known.
    """

    known: Tensor
    log_p: Tensor
    other: Tensor

    @classmethod
    def of(cls, outputs: Sequence[Tensor | CoarseLogits], classes: int) -> Targets:
        """Scatter outputs over all classes, in float32 at least."""
        coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
        parts = [_scattered(each, classes) for each in coarse]
        known, log_p, other = (torch.stack(column) for column in zip(*parts, strict=True))
        return cls(known, log_p, other)

    def without_other(self) -> list[int]:
        """Return the members that know some classes only and give the others probability 0."""
        without = (self.other == -torch.inf) & ~self.known.all(dim=-1, keepdim=True)
        return without.flatten(1).any(dim=1).nonzero().flatten().tolist()

    def completed(self, log_q: Tensor) -> Tensor:
        """Return each teacher's log-probabilities, with its "other" class split in q's ratios."""
        outside = log_q.masked_fill(self.known, -torch.inf).logsumexp(dim=-1, keepdim=True)
        return torch.where(self.known, self.log_p, self.other + log_q - outside)


def pooled(
    targets: Targets, weights: Tensor, start: Tensor | None, tolerance: float, max_steps: int
) -> Tensor:
    """Return log q, `[batch, classes]`, that minimizes Σ_k w_k KL(p_k ‖ q_k).

    The iteration starts at the logits `start`; None for equal probabilities.
    """
    log_w = weights.to(targets.log_p).log().reshape(-1, 1, 1)
    begin = torch.zeros_like(targets.log_p[0]) if start is None else start.to(targets.log_p)
    # Kept finite: ratios between classes of probability 0 are not defined.
    log_q = F.log_softmax(begin, dim=1).clamp(min=_LEAST)
    for _ in range(max_steps):
        # Normalised at each step, so that rounding errors do not accumulate.
        last, log_q = log_q, F.log_softmax(step(targets, log_w, log_q), dim=1)
        if not len(log_q) or (log_q.exp() - last.exp()).abs().amax() <= tolerance:
            break
    return log_q


def step(targets: Targets, log_weights: Tensor, log_q: Tensor) -> Tensor:
    """Return the next log q of the fixed-point iteration."""
    return (log_weights + targets.completed(log_q)).logsumexp(dim=0)


def _scattered(teacher: CoarseLogits, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which classes are known, their log-probabilities, and that of all others."""
    ids = teacher.ids
    if teacher.sampled_at is not None:
        raise ModelError(
            "teachers of a Consensus must return probabilities, got sampled classes; label with "
            "`top_k`, or with all classes"
        )
    if ids.device.type == "cpu" and len(ids) and int(ids.amax()) >= classes:
        raise ModelError(
            f"teachers of {classes} classes must have class ids from 0 to {classes - 1}, got "
            f"{int(ids.amax())}; correct the labels of Specialist, or `classes`"
        )
    logits = torch.cat([teacher.logits, teacher.other.unsqueeze(1)], dim=1)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    log_p = F.log_softmax(logits.to(dtype), dim=1)
    columns = torch.where(ids < 0, classes, ids)  # padding goes to a column past the last class
    empty = log_p.new_full((len(ids), classes + 1), -torch.inf)
    known = torch.zeros_like(empty, dtype=torch.bool).scatter(1, columns, True)[:, :-1]
    return known, empty.scatter(1, columns, log_p[:, :-1])[:, :-1], log_p[:, -1:]
