"""Objectives on logits that are made for some rows at a time and dropped again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError
from tutelage.heads import HeadLogits
from tutelage.nested import describe
from tutelage.objectives._objective import Objective
from tutelage.signals import Batch, Signals
from tutelage.wants import Wants

CHUNK_LOGITS_FROM = 16_384
"""Number of classes from which logits are made chunk by chunk, unless a user says otherwise.

Logits in float32 of one token then take 64 KB for each of some eight tensors of a loss, many times
what the layers before them keep of it; below, they are small, and to make them twice costs time.
"""
_WEIGHTS_AT_ONCE = 2**22
"""Entries of a weight's gradient that are made at once, where they are added in float32."""


def with_heads(objective: Objective, least: int | None) -> Wants:
    """Return an objective's `wants`, with `HeadLogits` for outputs where all terms allow it.

    Args:
        objective: The objective.
        least: The number of classes from which they may; None for never.
    """
    wants = objective.wants
    several = [term.objective for term in objective.terms()]
    reading = [each for each in several if each.wants.student.output or each.wants.teacher.output]
    if least is None or not all(each.row_by_row or each.reads_heads for each in reading):
        return wants
    student, teacher = (replace(each, head_from=least) for each in (wants.student, wants.teacher))
    return Wants(student, teacher, wants.labels)


def chunked_values(
    objectives: Sequence[Objective], student: HeadLogits, teacher: Signals, batch: Batch
) -> list[Tensor]:
    """Return the values of objectives, `[rows]` each, of logits made chunk by chunk.

    The logits of a chunk are made once for all objectives, and again in the backward pass, which
    keeps nothing but the hidden states; neither they nor their gradient ever exist as a whole.

    Args:
        objectives: Those that are `row_by_row`; deterministic functions.
        student: The student's.
        teacher: The teacher's output by row, of any form.
        batch: With the labels of rows.

    Raises:
        ArgumentError: An objective does not return one value for each row.
    """
    output = teacher.output
    targets = output.detached().as_computed() if isinstance(output, HeadLogits) else output

    def losses(logits: Tensor, rows: slice) -> Tensor:
        with torch.no_grad():
            theirs = None if targets is None else _logits(targets[rows])
        own = _part(batch, rows)
        found = [each(Signals(logits), Signals(theirs), own) for each in objectives]
        for objective, values in zip(objectives, found, strict=True):
            if getattr(values, "shape", None) != logits.shape[:1]:
                raise ArgumentError(
                    f"{objective} must return one value per row, [{len(logits)}], got "
                    f"{describe(values)}; leave out the mean over the batch "
                    '(reduction="none") and average over other dimensions'
                )
        return torch.stack(found)

    values: Any = _ByChunk.apply(student.hidden, student.weight, student.bias, student, losses)
    return list(values.unbind())


class _ByChunk(torch.autograd.Function):
    """The losses of all rows, `[terms, rows]`; `head` has the three tensors before it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: HeadLogits,
        losses: Callable[[Tensor, slice], Tensor],
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.settings, ctx.losses = (head.scale, head.soft_cap), losses
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ctx.autocast = {"device_type": kind, "dtype": dtype, "enabled": dtype is not None}
        own = HeadLogits(hidden, weight, bias, *ctx.settings).as_computed()
        found = [losses(own[rows].logits(), rows) for rows in own.chunks()]
        return torch.cat(found, dim=1) if found else losses(own.logits(), slice(0, 0))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - changed by the decorator
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        [slopes] = grad_outputs
        hidden, weight, bias = ctx.saved_tensors
        needs = ctx.needs_input_grad
        with torch.autocast(**ctx.autocast):
            own = HeadLogits(hidden, weight, bias, *ctx.settings).as_computed()
            grads = _Gradients(own, needs[0], needs[1], needs[2])
            for rows in own.chunks():
                part = own[rows]
                raw = part.raw().requires_grad_()
                with torch.enable_grad():
                    values = ctx.losses(part.finish(raw), rows)
                [slope] = torch.autograd.grad(values, raw, slopes[:, rows])
                del raw, values
                with torch.autocast(hidden.device.type, enabled=False):
                    grads.add(slope, rows)
        return *grads.of(hidden, weight, bias), None, None


class _Gradients:
    """The gradients of a head's tensors; those of its weight and bias are summed in float32."""

    def __init__(self, head: HeadLogits, of_hidden: bool, of_weight: bool, of_bias: bool) -> None:
        self.head = head
        dtype = torch.promote_types(head.weight.dtype, torch.float32)
        self.hidden = torch.empty_like(head.hidden) if of_hidden else None
        self.weight = torch.zeros_like(head.weight, dtype=dtype) if of_weight else None
        bias = head.bias if of_bias else None
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=dtype)

    def add(self, slope: Tensor, rows: slice) -> None:
        """Add those of some rows, from the gradient of what the head returns for them."""
        hidden = self.head.hidden[rows]
        if self.hidden is not None:
            torch.mm(slope, self.head.weight, out=self.hidden[rows])
        if self.bias is not None:
            self.bias += slope.sum(dim=0, dtype=self.bias.dtype)
        if self.weight is None:
            return
        if self.weight.dtype == slope.dtype:
            self.weight.addmm_(slope.mT, hidden)
            return
        step = max(_WEIGHTS_AT_ONCE // max(hidden.shape[1], 1), 1)
        parts = zip(slope.split(step, dim=1), self.weight.split(step), strict=True)
        for columns, total in parts:
            total.add_(columns.mT @ hidden)

    def of(self, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return them in the precision of the tensors themselves."""
        found = (self.hidden, self.weight, self.bias)
        return tuple(
            grad if grad is None or each is None else grad.to(each.dtype)
            for grad, each in zip(found, tensors, strict=True)
        )


def _logits(
    output: Tensor | CoarseLogits | HeadLogits | AlignedTargets,
) -> Tensor | CoarseLogits | AlignedTargets:
    return output.logits() if isinstance(output, HeadLogits) else output


def _part(batch: Batch, rows: slice) -> Batch:
    """Return the batch with the labels of some of its rows."""
    if batch.rows is None:
        return batch[rows]
    labels, mixture = batch.labels, batch.mixture
    if isinstance(labels, Tensor) and len(labels) == len(batch.rows):
        labels = labels[rows]
    return replace(
        batch,
        labels=labels,
        mixture=None if mixture is None else mixture[rows],
        rows=batch.rows.part(rows),
    )
