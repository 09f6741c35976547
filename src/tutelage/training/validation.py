"""How good the student is on the validation data, after an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.data import Source, randomness
from tutelage.distiller import Distiller, Losses
from tutelage.errors import ArgumentError
from tutelage.evaluation.figures import usual_figures
from tutelage.evaluation.metrics import Metric, evaluate_metric
from tutelage.layers import evaluating
from tutelage.signals import Batch

_OURS = ("loss", "accuracy", "agreement", "mse", "r2", "teacher_mse")


class Validation:
    """The validation figures: the loss, the usual ones of the task, and the user's own.

    Every process evaluates all of the data; the main one's figures decide.

    Args:
        source: The validation batches.
        metrics: The user's metrics by name; they see the labelled examples.

    Raises:
        ArgumentError: A metric has the name of a usual figure.
    """

    def __init__(self, source: Source, metrics: Mapping[str, Metric]) -> None:
        taken = sorted(set(_OURS) & set(metrics))
        if taken:
            raise ArgumentError(
                f"`metrics` must not be named as the usual figures are, got {taken}; rename yours"
            )
        self.source, self.metrics = source, metrics

    def figures(
        self, distiller: Distiller, device: torch.device, progress: float
    ) -> dict[str, float]:
        """Return all figures by name; modes and random states are left as they were."""
        seen: list[tuple[Losses, Tensor | None]] = []  # of small things: no inputs, no features
        # No inference mode: a student may keep tensors that it makes here for its training.
        with randomness.preserved(), evaluating(distiller), torch.no_grad():
            for raw in self.source.epoch(0):
                batch = raw.to(device, progress)
                seen.append((distiller(batch).without_features(), batch.labels))
        figures = {"loss": _loss(distiller, [losses for losses, _ in seen], progress)}
        student = _joined([losses.student.full_output() for losses, _ in seen])
        teacher = _joined([losses.teacher.full_output() for losses, _ in seen])
        labels = _joined([labels for _, labels in seen])
        if student is None:
            return figures
        figures |= usual_figures(distiller.objective, student, teacher, labels)
        return figures | self._own(distiller.objective.prediction(student), labels)

    def _own(self, prediction: Tensor, labels: Tensor | None) -> dict[str, float]:
        if labels is None or not self.metrics:
            return {}
        known = Batch(prediction, labels).labelled()
        return {
            name: evaluate_metric(name, metric, prediction[known], labels[known])
            for name, metric in self.metrics.items()
        }


def _loss(distiller: Distiller, seen: list[Losses], progress: float) -> float:
    """Return the objective over all examples: each part's mean over those that it counts."""
    loss = 0.0
    for place, term in enumerate(distiller.objective.terms()):
        counts = [float(losses.counts[place]) for losses in seen]
        means = [losses.parts[term.name].item() for losses in seen]
        total = sum(mean * count for mean, count in zip(means, counts, strict=True))
        loss += term.weight(progress) * total / max(sum(counts), 1)
    return loss


def _joined(column: list[Tensor | None]) -> Tensor | None:
    present = [each.cpu() for each in column if each is not None]
    return torch.cat(present) if len(present) == len(column) else None
