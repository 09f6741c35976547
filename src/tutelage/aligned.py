"""Targets of a teacher with another tokenizer for a student's tokens: spans of equal bytes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.heads import HeadLogits


@dataclass(frozen=True, slots=True)
class Cells:
    """Both vocabularies grouped by the strings that both have, so that they can be compared.

    Cell i of both sides stands for shared string i. The last cell, `number`, is for tokens that
    begin with no shared string, such as special tokens of one side.

    Args:
        student: The cell of each of the student's tokens, `[tokens]` of int64.
        teacher: The same of the teacher's.
        number: How many strings are shared.
    """

    student: Tensor
    teacher: Tensor
    number: int

    def to(self, device: torch.device) -> Cells:
        """Return the same on a device."""
        return replace(self, student=self.student.to(device), teacher=self.teacher.to(device))


@dataclass(frozen=True, slots=True)
class AlignedTargets:
    """The output of a teacher with another tokenizer, by the student's rows.

    A span is a shortest sequence of tokens of the student that covers the same bytes as some
    tokens of the teacher. The rows of a span are those whose next tokens are its tokens.

    Args:
        tokens: The student's next token at each row, `[rows]`.
        spans: The number of the span to which it belongs, `[rows]`; −1 for none.
        shared: `[rows]`: which of `logits` is about the same next string, where a span begins and
            the first tokens of both sides count for one shared string; −1 elsewhere.
        ends: The row of each span's last token, `[spans]`.
        whole: Whether that string is the whole span, one token on both sides, `[spans]` of bool.
        likelihood: The teacher's log-probability of each span, Σ log p(token), `[spans]`.
        logits: The teacher's, over its own vocabulary, `[shared rows, teacher's tokens]`.
        cells: Which tokens of both sides are compared.

    Raises:
        ModelError: The shapes do not match.
    """

    tokens: Tensor
    spans: Tensor
    shared: Tensor
    ends: Tensor
    whole: Tensor
    likelihood: Tensor
    logits: Tensor | HeadLogits
    cells: Cells

    def __post_init__(self) -> None:
        rows = {each.shape for each in (self.tokens, self.spans, self.shared)}
        spans = {each.shape for each in (self.ends, self.whole, self.likelihood)}
        if len(rows) > 1 or len(spans) > 1:
            raise ModelError(
                "AlignedTargets must have tokens, spans and shared of [rows], and ends, whole and "
                f"likelihood of [spans], got {[list(each) for each in rows]} and "
                f"{[list(each) for each in spans]}; bring them to these"
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: slice) -> AlignedTargets:
        """Return some of the rows; spans and logits stay whole, and are numbered as before."""
        return replace(
            self, tokens=self.tokens[rows], spans=self.spans[rows], shared=self.shared[rows]
        )

    def computed(self) -> AlignedTargets:
        """Return the same with logits that are computed, of the shared rows alone."""
        if not isinstance(self.logits, HeadLogits):
            return self
        known = self.shared >= 0
        numbers = known.cumsum(dim=0).sub(1).masked_fill(~known, -1)
        return replace(self, shared=numbers, logits=self.logits[self.shared[known]].logits())

    def without_logits(self) -> AlignedTargets:
        """Return the same with no row at which strings are compared, so that no logits are made."""
        return replace(self, shared=torch.full_like(self.shared, -1))

    def to(self, device: torch.device) -> AlignedTargets:
        """Return the same on a device."""
        return AlignedTargets(*(getattr(self, each.name).to(device) for each in fields(self)))
