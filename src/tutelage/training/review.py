"""What an objective finds on the validation data, of which it sees all examples at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.distiller import Losses
from tutelage.objectives import Objective, with_feedback
from tutelage.signals import Batch, Signals


def reviewed(objective: Objective, seen: Sequence[tuple[Losses, Batch]]) -> dict[str, float]:
    """Return the figures of the objective's own; none where it does not ask for them.

    Args:
        objective: Which may look.
        seen: What was said of each batch, and the batch.
    """
    adapting = with_feedback(objective)
    if not adapting:
        return {}
    student = Signals(_together([losses.student.wanted_answer() for losses, _ in seen]))
    teacher = Signals(_together([losses.teacher.wanted_answer() for losses, _ in seen]))
    batch = _joined([batch for _, batch in seen])
    figures = [each.validation_metrics(student, teacher, batch) for each in adapting]
    return {name: value for each in figures for name, value in each.items()}


def _together(answers: Sequence[Tensor | CoarseLogits]) -> Tensor | CoarseLogits:
    dense = [each.cpu() for each in answers if isinstance(each, Tensor)]
    if len(dense) == len(answers):
        return torch.cat(dense)
    parts = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in answers]
    return CoarseLogits.joined([each.to(torch.device("cpu")) for each in parts])


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return all examples as one batch: labels and domains, where all batches have them."""
    labels = [batch.labels.cpu() for batch in batches if batch.labels is not None]
    domains = [
        batch.domain.tolist() if isinstance(batch.domain, Tensor) else batch.domain
        for batch in batches
        if batch.domain is not None
    ]
    whole = len(batches)
    return Batch(
        None,
        torch.cat(labels) if len(labels) == whole else None,
        domain=list(map(str, chain.from_iterable(domains))) if len(domains) == whole else None,
    )
