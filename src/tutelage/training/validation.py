"""How good the student is on the validation data, after an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tutelage.data import Source, randomness
from tutelage.distiller import Distiller, Losses
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation.figures import usual_figures
from tutelage.evaluation.metrics import Metric, evaluate_metric
from tutelage.layers import evaluating
from tutelage.objectives import Objective
from tutelage.signals import Batch
from tutelage.teachers import Teacher
from tutelage.training.review import reviewed

_OURS = ("loss", "accuracy", "agreement", "mse", "r2", "teacher_mse")


class Validation:
    """The validation figures: the loss, the usual ones of the task, and the user's own.

    Every process evaluates all of the data; the main one's figures decide.

    Args:
        source: The validation batches.
        metrics: The user's metrics by name; they see the labelled examples.
        teacher: Who answers for this data; None where nobody does, as where a teacher's answers
            were stored for the training data alone. Then there is no loss, and nothing is compared
            with a teacher.

    Raises:
        ArgumentError: A metric has the name of a usual figure.
    """

    def __init__(
        self, source: Source, metrics: Mapping[str, Metric], teacher: Teacher | None
    ) -> None:
        taken = sorted(set(_OURS) & set(metrics))
        if taken:
            raise ArgumentError(
                f"`metrics` must not be named as the usual figures are, got {taken}; rename yours"
            )
        self.source, self.metrics, self.teacher = source, metrics, teacher

    def figures(
        self, distiller: Distiller, device: torch.device, progress: float
    ) -> dict[str, float]:
        """Return all figures by name, and by `name/domain` where the data carries domains.

        Modes and random states are left as they were.

        Raises:
            DataError: There are neither labels nor a teacher's answers.
        """
        alone = self.teacher is None and bool(distiller.objective.wants.teacher)
        with distiller.asking(self.teacher):
            seen = self._seen(distiller, device, progress, alone)
        losses = [each for each, _ in seen]
        figures = {} if alone else {"loss": _loss(distiller, losses, progress)}
        figures |= reviewed(distiller.objective, seen)
        student = _joined([losses.student.full_output() for losses, _ in seen])
        teacher = _joined([losses.teacher.full_output() for losses, _ in seen])
        if student is None:
            return figures
        said = _Said(student, teacher, _joined([batch.labels for _, batch in seen]))
        if alone and said.labels is None:
            raise DataError(
                "`val` must have labels, or a teacher that answers for it, to judge the student "
                "by, got neither; label it too and give both, tl.teachers.Stored(store, "
                "val_store), or leave `val` out"
            )
        domains = _rows_by_domain([batch for _, batch in seen])
        return (
            figures | self._all(distiller.objective, said) | self._parts(distiller, said, domains)
        )

    def _seen(
        self, distiller: Distiller, device: torch.device, progress: float, alone: bool
    ) -> list[tuple[Losses, Batch]]:
        """Return what is said of each batch, and the batch; small things: no inputs, no features.

        No inference mode: a student may keep tensors that it makes here for its training.
        """
        say = distiller.alone if alone else distiller
        seen: list[tuple[Losses, Batch]] = []
        with randomness.preserved(), evaluating(distiller), torch.no_grad():
            for raw in self.source.epoch(0):
                batch = raw.to(device, progress)
                seen.append((say(batch).without_features(), _without_inputs(batch)))
        return seen

    def _all(self, objective: Objective, said: _Said) -> dict[str, float]:
        """Return the usual figures and the user's own."""
        figures = usual_figures(objective, said.student, said.teacher, said.labels)
        return figures | self._own(objective.prediction(said.student), said.labels)

    def _parts(
        self, distiller: Distiller, said: _Said, domains: Mapping[str, list[int]]
    ) -> dict[str, float]:
        """Return the same of each domain alone; what cannot be told of one is left out."""
        figures = {
            f"{figure}/{name}": value
            for name, rows in domains.items()
            for figure, value in self._part(distiller.objective, said.rows(rows)).items()
        }
        return {name: value for name, value in figures.items() if not math.isnan(value)}

    def _part(self, objective: Objective, said: _Said) -> dict[str, float]:
        figures = usual_figures(objective, said.student, said.teacher, said.labels)
        try:
            return figures | self._own(objective.prediction(said.student), said.labels)
        except ValueError:  # such as an area under a curve where there is one class
            return figures

    def _own(self, prediction: Tensor, labels: Tensor | None) -> dict[str, float]:
        if labels is None or not self.metrics:
            return {}
        known = Batch(prediction, labels).labelled()
        return {
            name: evaluate_metric(name, metric, prediction[known], labels[known])
            for name, metric in self.metrics.items()
        }


@dataclass(frozen=True)
class _Said:
    """What both sides say, and what is true.

    Args:
        student: The student's outputs, on the CPU.
        teacher: The teacher's, if it was asked.
        labels: Where there are any.
    """

    student: Tensor
    teacher: Tensor | None
    labels: Tensor | None

    def rows(self, rows: list[int]) -> _Said:
        """Return what is said of some examples; labels of which none is known are none."""
        student = self.student[rows]
        labels = None if self.labels is None else self.labels[rows]
        known = labels is not None and bool(Batch(student, labels).labelled().any())
        teacher = None if self.teacher is None else self.teacher[rows]
        return _Said(student, teacher, labels if known else None)


def _without_inputs(batch: Batch) -> Batch:
    return replace(batch, inputs=None)


def _rows_by_domain(batches: list[Batch]) -> dict[str, list[int]]:
    """Return the examples of each domain by name; none where not all examples have one."""
    rows: dict[str, list[int]] = {}
    place = 0
    for batch in batches:
        if batch.domain is None:
            return {}
        domain = batch.domain
        for name in domain.tolist() if isinstance(domain, Tensor) else domain:
            rows.setdefault(str(name), []).append(place)
            place += 1
    return rows


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
