"""Objectives on logits that are made for some rows at a time and dropped again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tutelage.aligned import AlignedTargets
from tutelage.errors import ArgumentError
from tutelage.heads import HeadLogits, chunks_of_rows, pieces_of_rows
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
    if least is None or not all(each.rowwise or each.in_parts for each in reading):
        return wants
    student, teacher = (replace(each, head_from=least) for each in (wants.student, wants.teacher))
    return Wants(student, teacher, wants.labels)


def values_from_head(
    objectives: Sequence[Objective],
    student: Signals,
    teacher: Signals,
    batch: Batch,
    loss_of: Callable[[int, Tensor], Tensor] | None = None,
) -> dict[int, Tensor]:
    """Return the values, `[rows]`, of those objectives that allow it, by their numbers.

    There are none where the student's logits are whole.

    All of them share the chunks of the student's logits. Where `loss_of` is known, and no objective
    is `in_parts`, these are made once, for values and gradients. One that is in parts is no linear
    function of the first of these, whose values therefore take a pass before.

    Args:
        objectives: Those of the terms.
        student: The student's signals.
        teacher: The teacher's.
        batch: With the labels of rows.
        loss_of: What an objective, by its number, adds to the loss, of its values: linear.
    """
    head = student.output
    chosen = {number: each for number, each in enumerate(objectives)
              if each.rowwise or each.in_parts}  # fmt: skip
    if not chosen or not isinstance(head, HeadLogits):
        return {}
    parts = {number: each.row_parts(student, teacher) for number, each in chosen.items()}
    every = list(dict.fromkeys(chain.from_iterable(parts.values())))

    def joined(values: Sequence[Tensor]) -> dict[int, Tensor]:
        found = dict(zip(every, values, strict=True))
        return {
            number: each.joined([found[part] for part in parts[number]], teacher, batch)
            for number, each in chosen.items()
        }

    slopes = None
    if loss_of is not None and _gradients_at_once(head):
        firsts = [parts[number][0] for number, each in chosen.items() if each.in_parts]
        values = _known(every, list(dict.fromkeys(firsts)), head, teacher, batch).requires_grad_()
        losses = [loss_of(number, each) for number, each in joined(values.unbind()).items()]
        [slopes] = torch.autograd.grad(torch.stack(losses).sum(), values)
    return joined(chunked_values(every, head, teacher, batch, slopes))


def _known(
    every: Sequence[Objective],
    firsts: Sequence[Objective],
    head: HeadLogits,
    teacher: Signals,
    batch: Batch,
) -> Tensor:
    """Return the values of some parts, `[parts, rows]`; those of the others are 0."""
    dtype = torch.promote_types(head.hidden.dtype, torch.float32)
    values = torch.zeros((len(every), len(head)), dtype=dtype, device=head.device)
    if firsts:
        if isinstance(teacher.output, AlignedTargets):
            teacher = replace(teacher, output=teacher.output.without_logits())
        with torch.no_grad():
            found = torch.stack(chunked_values(firsts, head, teacher, batch))
        values[[every.index(each) for each in firsts]] = found.to(dtype)
    return values


def chunked_values(
    objectives: Sequence[Objective],
    student: HeadLogits,
    teacher: Signals,
    batch: Batch,
    slopes: Tensor | None = None,
) -> list[Tensor]:
    """Return the values of objectives, `[rows]` each, of logits made chunk by chunk.

    Neither logits nor their gradient ever exist as a whole. Where it is known beforehand what the
    values will be multiplied by, the gradients are made together with them, from the same logits;
    elsewhere the backward pass makes the logits again.

    Args:
        objectives: Those that are `rowwise`; deterministic functions.
        student: The student's.
        teacher: The teacher's output by row, of any form.
        batch: With the labels of rows.
        slopes: `[terms, rows]`, the gradient of the loss for the values up to one common factor;
            None where it is not known. If it turns out to be another, logits are made again.

    Raises:
        ArgumentError: An objective does not return one value for each row.
    """
    output = teacher.output
    targets = output.detached().as_computed() if isinstance(output, HeadLogits) else output

    def losses(logits: Tensor, theirs: Any, rows: slice) -> Tensor:
        own = _batch_of(batch, rows)
        found = [each(Signals(logits), Signals(theirs), own) for each in objectives]
        for objective, values in zip(objectives, found, strict=True):
            if getattr(values, "shape", None) != logits.shape[:1]:
                raise ArgumentError(
                    f"{objective} must return one value per row, [{len(logits)}], got "
                    f"{describe(values)}; leave out the mean over the batch "
                    '(reduction="none") and average over other dimensions'
                )
        return torch.stack(found)

    tensors = (student.hidden, student.weight, student.bias)
    values: Any = _ByChunk.apply(*tensors, student, _Losses(targets, losses), slopes)
    return list(values.unbind())


def _gradients_at_once(student: HeadLogits) -> bool:
    """Whether gradients are made together with the values, where `slopes` are known."""
    if not (torch.is_grad_enabled() and student.requires_grad and len(student)):
        return False
    # Of float16, small gradients need the loss that a scaler has multiplied.
    return student.as_computed().hidden.dtype != torch.float16


@dataclass(frozen=True)
class _Losses:
    """What is computed of the student's logits.

    Args:
        targets: The teacher's output by row.
        of: Returns the losses of some rows, `[terms, rows]`, from both sides' logits.
    """

    targets: Any
    of: Callable[[Tensor, Any, slice], Tensor]

    def values(self, head: HeadLogits) -> Tensor:
        """Return the losses of all rows."""
        chunks = list(chunks_of_rows(head.shape, head.device)) or [slice(0, 0)]
        return torch.cat([self._of_chunk(head, each)[0] for each in chunks], dim=1)

    def gradients(
        self, head: HeadLogits, slopes: Tensor, needs: Sequence[bool]
    ) -> tuple[Tensor, _Gradients]:
        """Return the losses of all rows, and the gradients of their sum weighted by `slopes`."""
        grads, found = _Gradients(head, *needs), []
        for rows in chunks_of_rows(head.shape, head.device):
            values, slope = self._of_chunk(head, rows, slopes[:, rows])
            found.append(values)
            with torch.autocast(head.device.type, enabled=False):
                grads.add(slope, rows)
            del slope
        return torch.cat(found, dim=1) if found else torch.zeros_like(slopes), grads

    def _of_chunk(
        self, head: HeadLogits, chunk: slice, slopes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of some rows, and with `slopes` the gradient of the layer's output."""
        part, found = head[chunk], []
        raw, theirs = part.raw(), self._targets_of(chunk)
        for rows in list(pieces_of_rows(part.shape, part.device)) or [slice(0, 0)]:
            whole = slice(chunk.start + rows.start, chunk.start + rows.stop)
            target: Any = None if theirs is None else theirs[rows]
            if isinstance(self.targets, HeadLogits):
                target = self.targets.finish(target)
            own = raw[rows].detach().requires_grad_(slopes is not None)
            with torch.set_grad_enabled(slopes is not None):
                values = self.of(head.finish(own), target, whole)
            found.append(values.detach())
            if slopes is not None:
                [slope] = torch.autograd.grad(values, own, slopes[:, rows].to(values.dtype))
                raw[rows] = slope  # in place, which takes no more memory: the logits have served
        return torch.cat(found, dim=1), raw

    def _targets_of(self, rows: slice) -> Any:
        """Return the teacher's output for some rows; of a head, what its layer returns."""
        if self.targets is None:
            return None
        part = self.targets[rows]
        if isinstance(part, AlignedTargets):
            return part.computed()
        return part.raw() if isinstance(part, HeadLogits) else part


class _ByChunk(torch.autograd.Function):
    """The losses of all rows, `[terms, rows]`; `head` has the three tensors before it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: HeadLogits,
        losses: _Losses,
        slopes: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        ctx.settings, ctx.losses, ctx.expected = (head.scale, head.soft_cap), losses, slopes
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        ctx.autocast = {"device_type": kind, "dtype": dtype, "enabled": dtype is not None}
        own = HeadLogits(hidden, weight, bias, *ctx.settings).as_computed()
        if slopes is None:
            return losses.values(own)
        values, ctx.grads = losses.gradients(own, slopes, ctx.needs_input_grad[:3])
        return values

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - changed by the decorator
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        [slopes] = grad_outputs
        hidden, weight, bias = ctx.saved_tensors
        factor = None if ctx.expected is None else _factor(slopes, ctx.expected)
        if factor is None:
            with torch.autocast(**ctx.autocast), torch.no_grad():
                own = HeadLogits(hidden, weight, bias, *ctx.settings).as_computed()
                _, grads = ctx.losses.gradients(own, slopes, ctx.needs_input_grad[:3])
        else:
            # Given away: a second backward pass through the same graph makes them again.
            grads, ctx.grads, ctx.expected = ctx.grads.times(factor), None, None
        return *grads.of(hidden, weight, bias), None, None, None


def _factor(found: Tensor, expected: Tensor) -> float | None:
    """Return c where found = c · expected up to rounding; None if there is no such number."""
    found, place = found.to(expected.dtype), expected.abs().argmax()
    factor = found.flatten()[place] / expected.flatten()[place]
    rounding = 64 * torch.finfo(expected.dtype).eps
    fits = torch.allclose(found, expected * factor, rtol=rounding, atol=0)
    return float(factor) if fits else None


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

    def times(self, factor: float) -> _Gradients:
        """Return these, multiplied by a number in place."""
        if factor != 1:
            for each in (self.hidden, self.weight, self.bias):
                if each is not None:
                    each.mul_(factor)
        return self

    def of(self, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return them in the precision of the tensors themselves."""
        found = (self.hidden, self.weight, self.bias)
        return tuple(
            grad if grad is None or each is None else grad.to(each.dtype)
            for grad, each in zip(found, tensors, strict=True)
        )


def _batch_of(batch: Batch, rows: slice) -> Batch:
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
