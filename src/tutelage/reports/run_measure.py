"""Quality, size and speed of a run's student and teacher."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.evaluation import (
    Latency,
    label_figures,
    latencies,
    measure_cost,
    usual_figures,
)
from tutelage.layers import evaluating, observe
from tutelage.reports.run_record import ModelFigures, RunFigures, RunRecord
from tutelage.signals import OUTPUT
from tutelage.teachers import Live

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
    if isinstance(run.teacher, Live):
        models["teacher"] = run.teacher.module
    said, times = None, {}
    with (
        randomness.preserved(),
        nullcontext() if run.teacher is None else run.teacher.ready(device),
    ):
        if run.val is not None:
            said = _ask_both(run, device)
            times = _times(models, said.inputs)
    quality = (
        {}
        if said is None
        else usual_figures(run.objective, said.student, said.teacher, said.labels)
    )
    figures = ModelFigures(quality, measure_cost(run.student), tuple(times.get("student", ())))
    return RunFigures(
        student=figures,
        teacher=None if run.teacher is None else _teacher_figures(run, models, said, times),
        examples=0 if said is None else len(said.student),
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


def _teacher_figures(
    run: RunRecord,
    models: dict[str, nn.Module],
    said: _Said | None,
    times: dict[str, list[Latency]],
) -> ModelFigures:
    module = models.get("teacher")
    known = None if said is None else said.teacher
    return ModelFigures(
        {} if said is None or known is None else _teacher_quality(run, known, said.labels),
        None if module is None else measure_cost(module),
        tuple(times.get("teacher", ())),
    )


def _teacher_quality(run: RunRecord, output: Tensor, labels: Tensor | None) -> dict[str, float]:
    return label_figures(run.objective, run.objective.prediction(output), labels)


def _times(models: dict[str, nn.Module], inputs: Any) -> dict[str, list[Latency]]:
    """Time models whose input is one tensor, alone and in a batch."""
    if not isinstance(inputs, Tensor):
        return {}
    return latencies(models, inputs, sorted({1, min(len(inputs), _TIMED_BATCH)}), rounds=5)


def _joined(column: tuple[Any, ...]) -> Tensor | None:
    if not all(isinstance(each, Tensor) for each in column):
        return None
    return torch.cat([each.cpu() for each in column])
