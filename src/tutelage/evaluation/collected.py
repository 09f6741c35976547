"""Keep what models return for the batches of a data set, until all are evaluated together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError
from tutelage.evaluation.segmentation import confusions
from tutelage.heads import HeadLogits
from tutelage.labels import UNLABELLED
from tutelage.nested import joined, to_device
from tutelage.positions import labels_by_row
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.tasks import Outputs
from tutelage.tasks.outputs import on_grid
from tutelage.tasks.token_scores import TokenScores, token_scores

_CPU = torch.device("cpu")
_TABLE = 2  # dimensions of [rows, classes]


class _Kept(NamedTuple):
    """What is kept of a batch: both models' outputs, labels, scores of rows, counts of maps."""

    student: Signals
    target: Signals
    labels: Batch
    table: Tensor | None
    confusions: tuple[Tensor, Tensor | None] | None


class Collected:
    """The outputs of all batches on the CPU, or of language models scores of their rows.

    Args:
        logits: Whether logits are kept also where there are scores.
        scores: Whether to make scores of any logits, not of language models alone.
        language: Whether the model is one of language.
        whole: Whether all positions of maps are kept.
    """

    def __init__(self, *, logits: bool, scores: bool, language: bool, whole: bool) -> None:
        self._logits, self._scores, self._language = logits, scores, language
        self._whole = whole
        self.batches: list[_Kept] = []

    def add(self, student: Signals, target: Signals, batch: Batch) -> None:
        """Keep a batch."""
        labels = replace(labels_by_row(batch, student.rows), inputs=None)
        confusions = None
        if not self._whole and _are_classes(student, labels):
            confusions = _counts_of_both(student, target, labels)
            student, target, labels = _thinned(student, target, labels)
        wanted = self._scores or (self._language and student.rows is not None)
        wanted |= isinstance(student.output, HeadLogits) and not self._logits
        scored, table = wanted and _has_scores(student.output), None
        if scored:
            output, theirs = cast("Tensor", student.output), target.output
            if isinstance(theirs, AlignedTargets):  # probabilities of other tokens
                theirs = None
            table = token_scores(output, theirs, labels.labels).table
        kept = self._logits or not scored
        ours, theirs = _on_cpu(student, kept), _on_cpu(target, kept)
        self.batches.append(_Kept(ours, theirs, labels, table, confusions))

    def joined(self) -> tuple[Outputs, Signals, Signals, Batch]:
        """Return the outputs of all batches; of both models as signals; and the labels."""
        if not self.batches:
            raise DataError(
                "data that a model is evaluated on must yield at least one batch in each pass, got "
                "none; fill it, and let a stream begin anew in each pass"
            )
        students, targets, batches, tables, confusions = zip(*self.batches, strict=True)
        student, target = _joined_outputs(students), _joined_outputs(targets)
        batch = _joined_batches(batches)
        scored = None not in tables
        found = Outputs(
            student.dense_or_none,
            target.dense_or_none,
            batch.labels,
            cast("list[str] | None", batch.domain),
            _joined_rows(students) if scored else student.rows,
            student.predictions,
            TokenScores(torch.cat(tables)) if scored else None,
            self._language or self._scores,
        )
        if found.student is not None and None not in confusions:
            ours, theirs = zip(*confusions, strict=True)
            theirs = None if None in theirs or found.teacher is None else torch.cat(theirs)
            found = replace(found, confusion=torch.cat(ours), teacher_confusion=theirs)
        return found, student, target, batch


def _has_scores(output: object) -> bool:
    """Tell whether an output has class logits by row, or probabilities of some classes."""
    if isinstance(output, CoarseLogits):
        return output.sampled_at is None
    return isinstance(output, (Tensor, HeadLogits)) and output.ndim == _TABLE


def _are_classes(signals: Signals, batch: Batch) -> bool:
    """Tell whether outputs are logits of maps `[rows, classes]`, and labels, if any, class ids.

    Of more classes than positions the counts of true and predicted classes are larger than logits.
    """
    output, rows, labels = signals.output, signals.rows, batch.labels
    if not isinstance(output, Tensor) or output.ndim != _TABLE or output.shape[1] == 1:
        return False
    if rows is None or len(rows.positions) < 2:  # noqa: PLR2004 - a text has one dimension
        return False
    if output.shape[1] > math.prod(rows.positions):
        return False
    return labels is None or (
        isinstance(labels, Tensor)
        and labels.shape == output.shape[:1]
        and not labels.is_floating_point()
    )


def _counts_of_both(
    student: Signals, target: Signals, batch: Batch
) -> tuple[Tensor, Tensor | None] | None:
    """Return what student and teacher predict at all positions; None without labels."""
    rows, output = cast("Rows", student.rows), cast("Tensor", student.output)
    if batch.labels is None:
        return None
    theirs = target.output if isinstance(target.output, Tensor) else None
    alike = theirs is not None and theirs.shape == output.shape
    ours = _counts_of_maps(output, batch.labels, rows)
    return ours, _counts_of_maps(cast("Tensor", theirs), batch.labels, rows) if alike else None


def _counts_of_maps(output: Tensor, labels: Tensor, rows: Rows) -> Tensor:
    """Return how many rows of each example have a true and a predicted class; NaN of NaN."""
    ids, of_rows = labels.to(output.device).long(), rows.examples
    found = confusions(output.argmax(dim=1), ids, of_rows, len(rows.counts), output.shape[1])
    broken = of_rows[(ids != UNLABELLED) & output.isnan().any(dim=1)].unique().cpu()
    return found.double().index_fill(0, broken, torch.nan)


def _thinned(student: Signals, target: Signals, batch: Batch) -> tuple[Signals, Signals, Batch]:
    """Return an even grid of the positions of large maps."""
    kept, which = on_grid(cast("Rows", student.rows))
    if which is None:
        return student, target, batch
    kept = Rows.counted(kept.counts)  # whose mask is as small
    student = replace(student, output=cast("Tensor", student.output)[which], rows=kept)
    if target.output is not None and target.rows is not None:
        found = target.targets
        found = found[which] if isinstance(found, Tensor) else found.changed(lambda v: v[which])
        target = replace(target, output=found, rows=kept)
    labels = None if batch.labels is None else batch.labels[which.to(batch.labels.device)]
    return student, target, replace(batch, labels=labels, rows=kept, row_mask=None)


def _on_cpu(signals: Signals, output: bool) -> Signals:
    """Return what is kept of a model's signals, on the CPU, perhaps with its output in float32.

    Features are not: they may be large.
    """
    own = signals.output if output else None
    if isinstance(own, AlignedTargets):
        own = None
    if isinstance(own, HeadLogits):
        own = own.as_computed().logits()
    if isinstance(own, Tensor) and own.dtype in (torch.bfloat16, torch.float16):
        own = own.float()  # as autocast computes them; metrics in them would be coarse
    return Signals(own, rows=signals.rows, predictions=signals.predictions).to(_CPU)


def _joined_outputs(parts: Sequence[Signals]) -> Signals:
    """Concatenate the outputs of all batches; without an output if one has none."""
    predictions = [part.predictions for part in parts if part.predictions is not None]
    if len(predictions) == len(parts):
        return Signals(predictions=list(chain.from_iterable(predictions)))
    outputs = [part.targets for part in parts if part.output is not None]
    dense = [each for each in outputs if isinstance(each, Tensor)]
    if len(outputs) < len(parts):
        return Signals()
    rows = _joined_rows(parts)
    if len(dense) == len(parts):
        if all(each.ndim == _TABLE for each in dense):
            # Of candidates: their number may vary, and the further ones are impossible.
            most = max(each.shape[1] for each in dense)
            dense = [F.pad(each, (0, most - each.shape[1]), value=-torch.inf) for each in dense]
        return Signals(torch.cat(dense), rows=rows)
    coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return Signals(CoarseLogits.joined(coarse), rows=rows)


def _joined_batches(parts: Sequence[Batch]) -> Batch:
    """Return labels and domains of all examples, where all have them, as a batch without inputs."""
    labels = [to_device(part.labels, _CPU) for part in parts if part.labels is not None]
    domains = [
        part.domain.tolist() if isinstance(part.domain, Tensor) else part.domain
        for part in parts
        if part.domain is not None
    ]
    names = list(map(str, chain.from_iterable(domains)))
    rows = [part.rows for part in parts if part.rows is not None]
    return Batch(
        None,
        joined(labels) if len(labels) == len(parts) else None,
        domain=names if len(domains) == len(parts) else None,
        rows=Rows.joined(rows) if rows else None,
    )


def _joined_rows(parts: Sequence[Signals]) -> Rows | None:
    several = [part.rows for part in parts if part.rows is not None]
    return Rows.joined(several) if several else None
