"""Quality, size and speed of a run's student and teacher."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.evaluation import (
    Cost,
    Latency,
    label_figures,
    latencies,
    measure_cost,
    usual_figures,
)
from tutelage.layers import evaluating, observe
from tutelage.reports.run_answers import confidence_of, divergence_of, misses_of
from tutelage.reports.run_record import Misses, ModelFigures, RunFigures, RunRecord
from tutelage.signals import OUTPUT

_BATCH = 256
_TIMED_BATCH = 32


@dataclass(frozen=True)
class _Said:
    """What both sides say of the validation data, on the CPU.

    Args:
        student: The student's outputs.
        teacher: The teacher's, where they are of the student's shape.
        labels: Where the data has them.
        inputs: Of the first batch, on the student's device.
    """

    student: Tensor
    teacher: Tensor | None
    labels: Tensor | None
    inputs: Any


def measure_run(run: RunRecord) -> RunFigures:
    """Measure student and teacher: quality on the validation data, size, time for an input."""
    first = next(chain(run.student.parameters(), run.student.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    models = {"student": run.student}
    if run.teacher is not None and run.teacher.module is not None:
        models["teacher"] = run.teacher.module
    said, times = None, {}
    with (
        randomness.preserved(),
        nullcontext() if run.teacher is None else run.teacher.ready(device),
    ):
        if run.val is not None:
            said = _ask_both(run, device)
            times = _times(models, said.inputs)
        inputs = None if said is None else said.inputs
        costs = {name: measure_cost(model, inputs) for name, model in models.items()}
        if "teacher" not in costs and run.teacher is not None and run.teacher.is_made_of_modules():
            costs["teacher"] = measure_cost(nn.ModuleList(run.teacher.modules()))
    figures = ModelFigures(cost=costs["student"], latencies=tuple(times.get("student", ())))
    return RunFigures(
        student=figures if said is None else _answered(run, said, figures),
        teacher=None if run.teacher is None else _teacher_figures(run, costs, said, times),
        examples=0 if said is None else len(said.student),
        misses=() if said is None or not run.objective.predicts_values else _misses(run, said),
    )


def _ask_both(run: RunRecord, device: torch.device) -> _Said:
    rows, inputs = [], None
    with evaluating(run.student), torch.no_grad():
        for raw in as_source("val", run.val, _BATCH, shuffle=False).epoch(0):
            batch = raw.to(device)
            inputs = batch.inputs if inputs is None else inputs
            student = observe(run.student, batch.inputs, OUTPUT, "student").wanted_output()
            teacher = None if run.teacher is None else run.teacher.signals(batch, OUTPUT).output
            rows.append((student.cpu(), teacher, batch.labels))
    outputs, answers, labels = zip(*rows, strict=True)
    student, teacher = torch.cat(outputs), _joined(answers)
    same = teacher is not None and teacher.shape == student.shape
    return _Said(student, teacher if same else None, _joined(labels), inputs)


def _answered(run: RunRecord, said: _Said, figures: ModelFigures) -> ModelFigures:
    """Return the student's figures with what its answers tell."""
    answer, known = run.objective.prediction, said.teacher
    quality = usual_figures(run.objective, said.student, known, said.labels)
    if run.objective.predicts_values:
        return replace(figures, quality=quality)
    output = answer(said.student)
    return replace(
        figures,
        quality=quality,
        confidence=confidence_of(output, said.labels),
        kl=divergence_of(output, None if known is None else answer(known)),
    )


def _misses(run: RunRecord, said: _Said) -> tuple[Misses, ...]:
    return misses_of(run.objective.prediction(said.student), said.labels)


def _teacher_figures(
    run: RunRecord,
    costs: dict[str, Cost],
    said: _Said | None,
    times: dict[str, list[Latency]],
) -> ModelFigures:
    figures = ModelFigures(
        cost=costs.get("teacher"),
        latencies=tuple(times.get("teacher", ())),
        modules=1 if run.teacher is None else max(1, len(run.teacher.modules())),
    )
    if said is None or said.teacher is None:
        return figures
    output = run.objective.prediction(said.teacher)
    quality = label_figures(run.objective, output, said.labels)
    values = run.objective.predicts_values
    confidence = None if values else confidence_of(output, said.labels)
    return replace(figures, quality=quality, confidence=confidence)


def _times(models: dict[str, nn.Module], inputs: Any) -> dict[str, list[Latency]]:
    """Time models whose input is one tensor, alone and in a batch."""
    if not isinstance(inputs, Tensor):
        return {}
    return latencies(models, inputs, sorted({1, min(len(inputs), _TIMED_BATCH)}), rounds=5)


def _joined(column: tuple[Any, ...]) -> Tensor | None:
    if not all(isinstance(each, Tensor) for each in column):
        return None
    return torch.cat([each.cpu() for each in column])
