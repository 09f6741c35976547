"""Objectives on spans of tokens, for a teacher with another tokenizer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._objective import Objective
from tutelage.objectives._tensors import at_least_float32
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

_TABLE = 2  # dimensions of [rows, classes]


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
