"""The values of several objectives from logits that are made once, for some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import torch
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.heads import HeadLogits
from tutelage.objectives._by_chunk import chunked_values, gradients_at_once
from tutelage.objectives._objective import Objective
from tutelage.signals import Batch, Signals


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
    if loss_of is not None and gradients_at_once(head):
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
