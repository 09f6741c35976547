"""Objectives on spans of tokens, for a teacher with another tokenizer."""

from __future__ import annotations

from abc import abstractmethod
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._by_chunk import chunked_values
from tutelage.objectives._objective import Objective
from tutelage.objectives._tensors import at_least_float32
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

_TABLE = 2  # dimensions of [rows, classes]


class TokenLoss(Objective):
    """−log q of the student's next token at each row of `AlignedTargets`."""

    wants = Wants(student=OUTPUT, teacher=OUTPUT)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the losses, `[rows]`."""
        logits = at_least_float32(student.wanted_output())
        tokens = cast("AlignedTargets", teacher.output).tokens
        return F.cross_entropy(logits, tokens, reduction="none")


class SpanObjective(Objective):
    """Base class for objectives on the spans of a teacher with another tokenizer.

    The value of a span stands at the row of its last token. Logits over a large vocabulary are made
    for some rows at a time, for all `parts` at once.
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)
    reads_heads = True

    parts: tuple[Objective, ...] = (TokenLoss(),)
    """What is computed row by row: the loss of the student's token, and what is added to it."""

    @abstractmethod
    def of_spans(self, likelihood: Tensor, targets: AlignedTargets, batch: Batch) -> Tensor:
        """Return the value of each span, `[spans]`, from the student's log-probability of it."""

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the values, `[rows]`."""
        targets = self._targets(student, teacher)
        if isinstance(student.output, HeadLogits):
            loss, *others = chunked_values(self.parts, student.output, teacher, batch)
        else:
            loss, *others = (each(student, teacher, batch) for each in self.parts)
        # Rows of no span, −1, are added up in front of the spans.
        sums = loss.new_zeros(len(targets.ends) + 1).index_add(0, targets.spans + 1, -loss)
        values = self.of_spans(sums[1:], targets, batch).to(loss.dtype)
        return sum(others, loss.new_zeros(loss.shape).index_put((targets.ends,), values))

    def _targets(self, student: Signals, teacher: Signals) -> AlignedTargets:
        """Return the teacher's output, if it is about the student's rows and tokens."""
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
        return targets
