"""How good the student is on the validation data, after an epoch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tutelage.data import Source, randomness
from tutelage.distiller import Distiller
from tutelage.evaluation.metrics import (
    Metric,
    accuracy,
    agreement,
    evaluate_metric,
    mse,
    r2,
)
from tutelage.layers import evaluating
from tutelage.objectives import BoundedRegression, LabelRegression, Objective, OutputRegression


class Validation:
    """The validation figures: the loss, usual metrics of the task, and the user's own.

    Labelled classes give `accuracy`, labelled values `mse` and `r2`; where the objective asks the
    teacher, there is also `agreement` with it (classes) or `teacher_mse` (values).

    Every process evaluates all of the data, so that all come to the same decision.

    Args:
        source: The validation batches.
        metrics: The user's metrics by name.
    """

    def __init__(self, source: Source, metrics: Mapping[str, Metric]) -> None:
        self.source, self.metrics = source, metrics

    def figures(
        self, distiller: Distiller, device: torch.device, progress: float
    ) -> dict[str, float]:
        """Return all figures by name; modes and random states are left as they were."""
        losses, sizes, rows = [], [], []
        with randomness.preserved(), evaluating(distiller), torch.inference_mode():
            for raw in self.source.epoch(0):
                batch = raw.to(device, progress)
                result = distiller(batch)
                losses.append(result.total)
                sizes.append(len(batch))
                rows.append((result.student.output, result.teacher.output, batch.labels))
        weights = torch.tensor(sizes, dtype=torch.float64)
        loss = (torch.stack(losses).double().cpu() * weights).sum() / weights.sum()
        student, teacher, labels = (_joined(column) for column in zip(*rows, strict=True))
        figures = {"loss": loss.item()}
        if student is None:
            return figures
        return (
            figures
            | self._usual(distiller.objective, student, teacher, labels)
            | self._own(student, labels)
        )

    def _usual(
        self, objective: Objective, student: Tensor, teacher: Tensor | None, labels: Tensor | None
    ) -> dict[str, float]:
        figures: dict[str, float] = {}
        values = is_regression(objective, labels)
        if labels is not None and values:
            figures |= {"mse": mse(student, labels), "r2": r2(student, labels)}
        elif labels is not None:
            figures["accuracy"] = accuracy(student, labels)
        if teacher is not None and teacher.shape == student.shape:
            name, compare = ("teacher_mse", mse) if values else ("agreement", agreement)
            figures[name] = compare(student, teacher)
        return figures

    def _own(self, student: Tensor, labels: Tensor | None) -> dict[str, float]:
        if labels is None:
            return {}
        return {
            name: evaluate_metric(name, metric, student, labels)
            for name, metric in self.metrics.items()
        }


def is_regression(objective: Objective, labels: Tensor | None) -> bool:
    """Tell whether outputs are values and not logits: by the labels, else by the objective."""
    if labels is not None:
        return labels.is_floating_point()
    values = (BoundedRegression, LabelRegression, OutputRegression)
    return any(isinstance(term.objective, values) for term in objective.terms())


def _joined(column: tuple[Tensor | None, ...]) -> Tensor | None:
    present = [each.cpu() for each in column if each is not None]
    return torch.cat(present) if len(present) == len(column) else None
