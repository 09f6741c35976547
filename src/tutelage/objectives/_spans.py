"""Objectives on spans of text, for a teacher and a student of different tokenizers."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets, Cells
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._objective import Objective
from tutelage.objectives._tensors import at_least_float32, kl_divergence
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

_CERTAIN = 1e-6  # the least −log-probability: of a larger one, rounding would be the gradient


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

    def __init__(self, temperature: float | Schedule = 100.0) -> None:
        super().__init__()
        advice = "100 compares log-probabilities of spans, 1 the probabilities themselves"
        self.temperature = positive_schedule("temperature", temperature, advice)

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
        targets = teacher.output
        if not isinstance(targets, AlignedTargets):
            raise ModelError(
                f"{self} learns from a teacher with another tokenizer, got one that reads the "
                "student's tokens; give tl.teachers.Retokenized(teacher, tokenizer, "
                "student_tokenizer), or use SoftTargets where both have one tokenizer"
            )
        classes = cast("Tensor | HeadLogits", student.output).shape[1]
        beyond = targets.cells.student[classes:]
        if len(beyond) and bool((beyond != targets.cells.number).any()):
            raise ModelError(
                "the student must have a logit for each token of its tokenizer, got "
                f"{classes} for {len(targets.cells.student)} tokens; give its own tokenizer, or "
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

    def of_spans(self, likelihood: Tensor, targets: AlignedTargets, batch: Batch) -> Tensor:
        """Return the divergences, `[spans]`."""
        return alm(likelihood, targets.likelihood, self.temperature(batch.progress))


def aligned_kl(student: Tensor, teacher: Tensor, known: Cells) -> Tensor:
    """KL(P ‖ Q) over the strings that two vocabularies have in common, and one for other tokens.

    P and Q are sums of the probabilities of the tokens of a cell. A token that only one side has
    counts for the longest shared string with which it begins: where one side writes "123" at once,
    its probability is compared with that of "1" on a side that writes digit by digit. Tokens that
    begin with none, such as special ones, are one cell; it is left out, and P is normalized
    without it, if the student has no such token. With equal tokenizers this is `soft_targets` at
    temperature 1.

    Args:
        student: Logits over the student's vocabulary, `[rows, tokens]`.
        teacher: Logits over the teacher's vocabulary for the same next string, `[rows, tokens]`.
        known: The cells of both vocabularies; tokens beyond them count as others.

    Returns:
        `[rows]`, in nats, zero or more.

    >>> cells = Cells(torch.tensor([0, 1, 1]), torch.tensor([1, 0]), number=2)
    >>> aligned_kl(torch.zeros(1, 3), torch.zeros(1, 2), cells)  # ½ log(½/⅓) + ½ log(½/⅔)
    tensor([0.0589])
    """
    ours, theirs = (
        _each(cells, logits.shape[1], known.number)
        for cells, logits in ((known.student, student), (known.teacher, teacher))
    )
    log_q = _of_cells(student, ours, known.number)
    log_p = _of_cells(teacher.detach(), theirs, known.number)
    matched = torch.arange(known.number + 1, device=ours.device) < known.number
    comparable = matched | (ours == known.number).any()
    log_p = log_p.masked_fill(~comparable, -torch.inf).log_softmax(dim=1)
    return kl_divergence(log_q, log_p)


def _each(cells: Tensor, size: int, number: int) -> Tensor:
    """Return the cell of each of so many tokens; those beyond are others."""
    return F.pad(cells, (0, max(size - len(cells), 0)), value=number)[:size]


def _of_cells(logits: Tensor, cells: Tensor, number: int) -> Tensor:
    """Return log Σ softmax(logits) over the tokens of each cell, `[rows, number + 1]`."""
    values = F.log_softmax(at_least_float32(logits), dim=1)
    shape = (len(values), number + 1)
    index = cells.expand(values.shape)
    largest = values.new_full(shape, -torch.inf).scatter_reduce(1, index, values.detach(), "amax")
    largest = largest.masked_fill(largest == -torch.inf, 0)
    sums = values.new_zeros(shape).index_add(1, cells, (values - largest[:, cells]).exp())
    none = sums == 0  # whose logarithm would have no gradient
    return (sums.masked_fill(none, 1).log() + largest).masked_fill(none, -torch.inf)


class SharedStrings(Objective):
    """`aligned_kl` where the next tokens of both sides count for one string, and 0 elsewhere."""

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the divergences, `[rows]`."""
        logits, targets = student.logits, cast("AlignedTargets", teacher.output)
        [rows] = (targets.shared >= 0).nonzero(as_tuple=True)
        theirs = targets.logits[targets.shared[rows]]
        theirs = theirs.logits() if isinstance(theirs, HeadLogits) else theirs
        values = aligned_kl(logits[rows], theirs, targets.cells)
        return values.new_zeros(len(logits)).index_put((rows,), values)


class AlignedKL(SpanObjective):
    """KL between a teacher and a student of different tokenizers, on spans of equal bytes.

    Where a span begins, and the first tokens of both sides count for one string, it compares the
    distributions over the strings that both vocabularies have: `tutelage.objectives.aligned_kl`.
    Unless that token is the whole span on both sides, the span's probability is compared too: by
    τ · `alm` at temperature τ. With equal tokenizers this is `SoftTargets(1)`.

    The first part stands at the row of a span's first token, the second at that of its last. So an
    example's value is the sum over its spans divided by its learned tokens: nats a token, as of
    `HardLabels`.

    After GOLD (Patiño et al. 2025, "Unlocking On-Policy Distillation for Any Model Family",
    https://huggingface.co/spaces/HuggingFaceH4/on-policy-distillation), which merges tokens into
    such spans and compares tokens of equal strings, and, for the probabilities of spans,
    Minixhofer, Vulić and Ponti 2025, https://arxiv.org/abs/2503.20083. The distance of sorted
    probabilities that GOLD adds for other tokens (ULD, Boizard et al. 2024,
    https://arxiv.org/abs/2402.12030) is no part of it: tokens that only one side has count for a
    shared string.

    Args:
        temperature: τ > 0, a number or a schedule over training. At 100 the log-probabilities of
            spans are compared, at 1 the probabilities, which differ little where spans are
            improbable.

    Shape:
        Student output `[rows, classes]`; teacher output `AlignedTargets` of `Retokenized`.
    """

    parts = (*SpanObjective.parts, SharedStrings())

    def of_spans(self, likelihood: Tensor, targets: AlignedTargets, batch: Batch) -> Tensor:
        """Return what is added for spans of several tokens, `[spans]`."""
        temperature = self.temperature(batch.progress)
        values = alm(likelihood, targets.likelihood, temperature) * temperature
        return values.masked_fill(targets.whole, 0)
