"""The outputs of all batches of an evaluation: as they are, or scores of their rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError
from tutelage.heads import HeadLogits
from tutelage.nested import joined, to_device
from tutelage.positions import labels_by_row
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.tasks import Outputs
from tutelage.tasks.token_scores import TokenScores, token_scores

_CPU = torch.device("cpu")
_TABLE = 2  # dimensions of [rows, classes]


class Keeper:
    """Keeps the outputs of all batches on the CPU, or of language models scores of their rows.

    Args:
        logits: Whether logits are kept also where there are scores.
        scores: Whether to make scores of any logits, not of language models alone.
        language: Whether the model is one of language.
    """

    def __init__(self, logits: bool, scores: bool, language: bool) -> None:
        self._logits, self._any, self._language = logits, scores, language
        self.batches: list[tuple[Signals, Signals, Batch, Tensor | None]] = []

    def add(self, student: Signals, target: Signals, batch: Batch) -> None:
        """Keep a batch."""
        labels = replace(labels_by_row(batch, student.rows), inputs=None)
        wanted = self._any or (self._language and student.rows is not None)
        wanted |= isinstance(student.output, HeadLogits) and not self._logits
        scored = wanted and _has_scores(student.output)
        table = None
        if scored:
            output, theirs = cast("Tensor", student.output), target.output
            if isinstance(theirs, AlignedTargets):  # probabilities of other tokens
                theirs = None
            table = token_scores(output, theirs, labels.labels).table
        whole = self._logits or not scored
        self.batches.append((_kept(student, whole), _kept(target, whole), labels, table))

    def joined(self) -> tuple[Outputs, Signals, Signals, Batch]:
        """Return the outputs of all batches; of both models as signals; and the labels."""
        if not self.batches:
            raise DataError(
                "data that a model is evaluated on must yield at least one batch in each pass, got "
                "none; fill it, and let a stream begin anew in each pass"
            )
        students, targets, batches, tables = zip(*self.batches, strict=True)
        student, target = _joined_outputs(students), _joined_outputs(targets)
        batch = _joined_batches(batches)
        scores = [each for each in tables if each is not None]
        scored = len(scores) == len(tables)
        found = Outputs(
            student.dense_or_none,
            target.dense_or_none,
            batch.labels,
            cast("list[str] | None", batch.domain),
            _joined_rows(students) if scored else student.rows,
            student.predictions,
            TokenScores(torch.cat(scores)) if scored else None,
            self._language or self._any,
        )
        return found, student, target, batch


def _has_scores(output: object) -> bool:
    """Tell whether an output has class logits by row, or probabilities of some classes."""
    if isinstance(output, CoarseLogits):
        return output.sampled_at is None
    return isinstance(output, (Tensor, HeadLogits)) and output.ndim == _TABLE


def _kept(signals: Signals, output: bool) -> Signals:
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
    if len(outputs) < len(parts) or not parts:
        return Signals()
    rows = _joined_rows(parts)
    if len(dense) == len(parts):
        if all(each.ndim == _TABLE for each in dense):  # of candidates: their number may vary
            widest = max(each.shape[1] for each in dense)
            dense = [_widened(each, widest) for each in dense]
        return Signals(torch.cat(dense), rows=rows)
    coarse = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return Signals(CoarseLogits.joined(coarse), rows=rows)


def _widened(logits: Tensor, width: int) -> Tensor:
    """Return logits of more classes, of which the further ones are impossible."""
    missing = width - logits.shape[1]
    return logits if not missing else F.pad(logits, (0, missing), value=-torch.inf)


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
