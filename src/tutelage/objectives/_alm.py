"""Approximate likelihood matching: the probabilities of spans of text."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._objective import Objective
from tutelage.objectives._tensors import at_least_float32
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

_CERTAIN = 1e-6  # the least −log-probability: of a larger one, rounding would be the gradient
_TABLE = 2  # dimensions of [rows, classes]


def alm(student: Tensor, teacher: Tensor, temperature: float = 100.0) -> Tensor:
    """KL(a ‖ b) + KL(1 − a ‖ 1 − b) with a = p^(1/τ), b = q^(1/τ): a span is written, or not.

    p and q are the probabilities of a span of text by teacher and student. At τ = 1 this is the
    least KL between any two distributions over texts with these probabilities of the span. For
    τ → ∞ it tends to (x log(x/y) − x + y)/τ with x = −log p and y = −log q, which compares
    log-probabilities also where they are low; so its weight grows with τ.

    Args:
        student: log q, `[spans]`.
        teacher: log p, `[spans]`.
        temperature: τ > 0.

    Returns:
        `[spans]`, in nats, zero or more; flat where q is above 1 − 10⁻⁶.

    >>> alm(torch.tensor([0.25]).log(), torch.tensor([0.5]).log(), temperature=1.0)  # ½ log(4/3)
    tensor([0.1438])
    """
    log_b, log_a = (
        at_least_float32(each).clamp(max=-_CERTAIN) / temperature for each in (student, teacher)
    )
    a = log_a.exp()
    # A span that the teacher rules out adds 0 to the first part: p log p → 0.
    written = torch.where(a > 0, a * (log_a.where(a > 0, 0) - log_b), 0)
    return written - log_a.expm1() * (_log_of_rest(log_a) - _log_of_rest(log_b))


def _log_of_rest(log_p: Tensor) -> Tensor:
    """Return log(1 − p), exact for small and for large p; the gradient is finite."""
    small = log_p < -math.log(2)
    one, other = log_p.masked_fill(~small, -1), log_p.masked_fill(small, -1)
    return torch.where(small, torch.log1p(-one.exp()), torch.log(-other.expm1()))


class TokenLoss(Objective):
    """−log q of the student's next token at each row of `AlignedTargets`."""

    wants = Wants(student=OUTPUT, teacher=OUTPUT)
    rowwise = True

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the losses, `[rows]`."""
        logits = at_least_float32(student.logits)
        tokens = cast("AlignedTargets", teacher.output).tokens
        return F.cross_entropy(logits, tokens, reduction="none")


class SpanObjective(Objective):
    """Base class for objectives on the spans of a teacher with another tokenizer.

    The value of a span stands at the row of its last token.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)
    in_parts = True

    parts: tuple[Objective, ...] = (TokenLoss(),)
    """What is computed row by row: the loss of the student's token, and what is added to it."""

    @abstractmethod
    def of_spans(self, likelihood: Tensor, targets: AlignedTargets, batch: Batch) -> Tensor:
        """Return the value of each span, `[spans]`, from the student's log-probability of it."""

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the values, `[rows]`."""
        parts = self.row_parts(student, teacher)
        return self.joined([each(student, teacher, batch) for each in parts], teacher, batch)

    def joined(self, values: Sequence[Tensor], teacher: Signals, batch: Batch) -> Tensor:
        """Return the values, `[rows]`, from those of the parts; linear in all but the first."""
        targets = cast("AlignedTargets", teacher.output)
        loss, *others = values
        # Rows of no span, −1, are added up in front of the spans.
        sums = loss.new_zeros(len(targets.ends) + 1).index_add(0, targets.spans + 1, -loss)
        of_spans = self.of_spans(sums[1:], targets, batch).to(loss.dtype)
        return sum(others, loss.new_zeros(loss.shape).index_put((targets.ends,), of_spans))

    def row_parts(self, student: Signals, teacher: Signals) -> tuple[Objective, ...]:
        """Return the parts, if the teacher's output is about the student's rows and tokens."""
        targets, output = teacher.output, student.output
        if not isinstance(targets, AlignedTargets):
            raise ModelError(
                f"{self} learns from a teacher with another tokenizer, got one that reads the "
                "student's tokens; give tl.teachers.Retokenized(teacher, tokenizer, "
                "student_tokenizer), or use SoftTargets where both have one tokenizer"
            )
        shape = output.shape if isinstance(output, (Tensor, HeadLogits)) else ()
        if len(shape) != _TABLE or shape[0] != len(targets):
            raise ModelError(
                f"{self} needs the student's logits at each of {len(targets)} tokens, got "
                f"{list(shape)}; let the student return [batch, tokens, vocabulary]"
            )
        beyond = targets.cells.student[shape[1] :]
        if len(beyond) and bool((beyond != targets.cells.number).any()):
            raise ModelError(
                "the student must have a logit for each token of its tokenizer, got "
                f"{shape[1]} for {len(targets.cells.student)} tokens; give its own tokenizer, or "
                "call student.resize_token_embeddings"
            )
        return self.parts


class ALM(SpanObjective):
    """Approximate likelihood matching: KL between the probabilities of a span, or anything else.

    Minixhofer, Vulić and Ponti 2025, "Universal Cross-Tokenizer Distillation via Approximate
    Likelihood Matching", https://arxiv.org/abs/2503.20083: the binarised divergence with f = KL, on
    all aligned spans, without their correction for the tokens that may follow a span ("outcome
    chunk debiasing"). Formula: `tutelage.objectives.alm`. `AlignedKL` learns more of the teacher.

    A span's value stands at the row of its last token, so an example's value is the sum over its
    spans divided by its learned tokens.

    Args:
        temperature: τ > 0, a number or a schedule over training. The value falls as 1/τ, so weigh
            it by τ beside other terms: `100 * ALM(100)`.

    Shape:
        Student output `[rows, classes]`; teacher output `AlignedTargets` of `Retokenized`.
    """

    def __init__(self, temperature: float | Schedule = 100.0) -> None:
        super().__init__()
        advice = "100 compares log-probabilities, 1 the probabilities themselves"
        self.temperature = positive_schedule("temperature", temperature, advice)

    def of_spans(self, likelihood: Tensor, targets: AlignedTargets, batch: Batch) -> Tensor:
        """Return the divergences, `[spans]`."""
        return alm(likelihood, targets.likelihood, self.temperature(batch.progress))
