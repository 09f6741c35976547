"""The value of each example in each term of an objective, and which examples are valid for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError
from tutelage.heads import HeadLogits
from tutelage.nested import LABEL_KEYS, describe, device_of, versions
from tutelage.objectives._by_chunk import values_from_head
from tutelage.objectives._objective import Objective, Term
from tutelage.objectives._tensors import can_sync
from tutelage.positions import labels_by_row, rows_of, same_rows
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals

_DIMENSIONS = (3, 4, 5)  # of an output with positions


def valid_examples(terms: Sequence[Term], batch: Batch) -> tuple[int, Sequence[Tensor | None]]:
    """Return the number of examples, and for each term its mask, `[batch]` of bool; None for all.

    A term that reads labels is valid for the labelled examples, any other on outputs for those of
    which the batch's row mask, if it has one, leaves something; one that compares the examples of a
    batch is valid for none where there is only one. Of a term with `weight_by_rows` the mask holds
    the numbers of valid rows, as floats.
    """
    if not isinstance(batch, Batch):
        raise DataError(
            f"a distiller must be given a tl.Batch, got {type(batch).__name__}; write "
            "tl.Batch(inputs, labels), or tl.Batch.of(what the loader yields)"
        )
    examples = len(batch)
    reading = [term for term in terms if term.objective.wants.labels]
    labelled = _labelled(reading, batch) if reading else None
    answered = None if batch.row_mask is None else batch.row_mask.flatten(1).any(dim=1)
    masks: list[Tensor | None] = []
    for term in terms:
        objective, wants = term.objective, term.objective.wants
        mask = labelled if wants.labels else answered if wants.student.output else None
        if objective.weight_by_rows:
            mask = _numbers_of_rows(objective, batch)
        if examples == 1 and objective.relates_examples:
            mask = torch.zeros(1, dtype=torch.bool, device=device_of(batch.inputs))
        masks.append(mask)
    return examples, masks


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """Return values where a mask is true, and 0 elsewhere; by the numbers of a mask of rows."""
    mask = mask.to(values.device)  # the model may be on another device than the batch
    if mask.dtype == torch.bool:
        return values.where(mask, 0)
    return (values * mask).where(mask > 0, 0)  # an invalid value may be infinite


def values_of(
    objectives: Sequence[Objective],
    student: Signals,
    teacher: Signals,
    batch: Batch,
    examples: int,
    loss_of: Callable[[int, Tensor], Tensor] | None = None,
    watch: bool = False,
) -> list[Tensor]:
    """Return each term's value for each example, `[batch]`.

    An objective that reads an output with several answers an example compares rows; an example's
    value is the mean over its rows, for labels over those with one. It is 0 without any.

    Of a student whose output is `HeadLogits`, the objectives on rows share one pass over these.

    Args:
        objectives: Those of the terms.
        student: The student's signals, by row.
        teacher: The teacher's, by row.
        batch: The examples.
        examples: Their number.
        loss_of: Returns what a term, by its number, adds to the loss, of its values: a linear
            function, by which gradients of `HeadLogits` are made together with the values.
        watch: Whether to look for objectives that change what others read.

    Raises:
        ArgumentError: An objective does not return one value for each example or row, or works in
            place.
        ModelError: The two sides have answers for different positions.
    """
    for objective in objectives:
        both = objective.wants.student.output and objective.wants.teacher.output
        if both and student.rows is not teacher.rows:
            same_rows([student.rows, teacher.rows], ["the student", "the teacher"])
    if isinstance(student.output, Tensor) and isinstance(teacher.output, HeadLogits):
        with torch.no_grad():
            teacher = replace(teacher, output=teacher.output.logits())
    of_rows = batch if student.rows is None else labels_by_row(batch, student.rows)
    sides: list[tuple[Rows | None, Batch]] = []
    for objective in objectives:
        rows = student.rows if objective.wants.student.output else None
        sides.append((rows, batch if rows is None else of_rows))
        if objective.weight_by_rows:
            _check_weights(objective, *sides[-1], batch)

    def loss(number: int, values: Tensor) -> Tensor:
        rows, own = sides[number]
        each = _by_example(objectives[number], values, own, rows, examples)
        return cast("Callable[[int, Tensor], Tensor]", loss_of)(number, each)

    chunked: dict[int, Tensor] = {}
    if isinstance(student.output, HeadLogits):
        known = None if loss_of is None else loss
        chunked = values_from_head(objectives, student, teacher, of_rows, known)
    found = []
    before = _read(student, teacher) if watch else None
    for number, objective in enumerate(objectives):
        rows, own = sides[number]
        values = chunked[number] if number in chunked else objective(student, teacher, own)
        if watch and _read(student, teacher) != before:
            raise ArgumentError(
                f"{objective} must leave outputs and features as they are, got some changed in "
                "place, which other terms would see; copy them first (tensor.clone())"
            )
        found.append(_by_example(objective, values, own, rows, examples))
    return found


def _read(student: Signals, teacher: Signals) -> list[Any]:
    """Return what changes if tensors that objectives read are changed in place."""
    return [versions([each.output, each.features]) for each in (student, teacher)]


def _by_example(
    objective: Objective, values: Tensor, batch: Batch, rows: Rows | None, examples: int
) -> Tensor:
    """Return what an objective returns for rows as values of examples, `[batch]`."""
    expected = examples if rows is None else len(rows)
    if getattr(values, "shape", None) != (expected,):
        raise ArgumentError(
            f"{objective} must return one value per {'example' if rows is None else 'row'}, "
            f"[{expected}], got {describe(values)}; leave out the mean over the batch "
            '(reduction="none") and average over other dimensions'
        )
    if rows is None:
        return values
    return rows.mean(values, batch.labelled() if objective.wants.labels else None)


def _check_weights(objective: Objective, rows: Rows | None, by_row: Batch, given: Batch) -> None:
    """Refuse rows of an output that are not those by whose number its examples are weighed."""
    expected = _numbers_of_rows(objective, given)
    shown = "with one answer an example"
    if rows is not None:
        known = by_row.labelled().float() if objective.wants.labels else None
        found = rows.counts if known is None else rows.padded(known).flatten(1).sum(dim=1)
        if torch.equal(found.float(), expected.to(found.device)):
            return
        shown = f"with {found.tolist()[:4]}"
    raise DataError(
        f"{objective} weighs examples by the numbers of rows that the batch tells, "
        f"{expected.tolist()[:4]}, got an output {shown}; leave RowMean out, or give a `row_mask` "
        "of the output's positions"
    )


def _numbers_of_rows(objective: Objective, batch: Batch) -> Tensor:
    """Return how many valid rows each example has for a term, `[batch]` of float32."""
    found: list[Tensor] = []
    for dimensions in _DIMENSIONS:
        rows = rows_of(batch, dimensions)
        if rows is None:
            continue
        counts = rows.counts
        if objective.wants.labels:
            known = labels_by_row(batch, rows).labelled()
            counts = rows.padded(known.float()).flatten(1).sum(dim=1)
        found.append(counts.float())
    if not found or any(not torch.equal(found[0], each) for each in found[1:]):
        raise DataError(
            f"{objective} must know the rows of each example before the models "
            "run, by labels of positions, a `row_mask` or an attention mask, got inputs "
            f"{describe(batch.inputs)} and labels {describe(batch.labels)}; give a `row_mask`, or "
            "leave out RowMean where an example has one answer"
        )
    return found[0]


def _labelled(reading: Sequence[Term], batch: Batch) -> Tensor | None:
    """Return which examples are labelled; None for all, if their labels are readable."""
    if batch.labels is None:
        raise DataError(
            f"the objective {reading[0].objective} learns from labels and the data (`train` or "
            f"`val`) has none, got inputs {describe(batch.inputs)}; yield (inputs, labels) or a "
            f"dict with one of the keys {list(LABEL_KEYS)}, name another key by "
            "tl.data.labelled(dataset, labels='key'), or use an objective without labels, such as "
            "SoftTargets"
        )
    if batch.mixture is not None:
        for term in reading:
            if not term.objective.reads_mixtures:
                raise DataError(
                    f"{term.objective} reads one label per example, got mixed examples with "
                    "two labels each; learn their labels by HardLabels and the teacher by an "
                    "objective without labels, such as SoftTargets, or use a transform that "
                    "leaves labels as they are, such as Noise"
                )
    labelled = batch.labelled()
    return None if len(labelled) and can_sync(labelled) and labelled.all() else labelled
