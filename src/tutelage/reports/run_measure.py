"""Quality, size and speed of a run's student and teacher."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.evaluation import (
    Cost,
    Latency,
    Outputs,
    divergence,
    evaluate,
    label_metrics,
    latencies,
    measure,
    measure_cost,
)
from tutelage.reports.run_answers import confidence_of, misses_of
from tutelage.reports.run_record import Misses, ModelFigures, RunFigures, RunRecord

_BATCH = 256
_TIMED_BATCH = 32


def measure_run(run: RunRecord) -> RunFigures:
    """Measure student and teacher: quality on the validation data, size, time for an input."""
    first = next(chain(run.student.parameters(), run.student.buffers()), None)
    device = torch.device("cpu") if first is None else first.device
    models = {"student": run.student}
    if run.teacher is not None and run.teacher.module is not None:
        models["teacher"] = run.teacher.module
    found, times, inputs = None, {}, None
    with (
        randomness.preserved(),
        nullcontext() if run.teacher is None else run.teacher.ready(device),
    ):
        if run.val is not None:
            source = as_source("val", run.val, _BATCH, shuffle=False)
            found = evaluate(run.student, run.teacher, run.objective, source, outputs=True)
            inputs = found.outputs.inputs
            times = _times(models, inputs)
        costs = {name: measure_cost(model, inputs) for name, model in models.items()}
        if "teacher" not in costs and run.teacher is not None and run.teacher.is_made_of_modules():
            costs["teacher"] = measure_cost(nn.ModuleList(run.teacher.modules()))
    said = None if found is None else replace(found.outputs, domains=None)
    figures = ModelFigures(cost=costs["student"], latencies=tuple(times.get("student", ())))
    return RunFigures(
        student=figures if said is None else _answered(run, said, figures),
        teacher=None if run.teacher is None else _teacher_figures(run, costs, said, times),
        examples=0 if said is None else len(_student(said)),
        misses=() if said is None or not run.objective.predicts_values else _misses(run, said),
    )


def _answered(run: RunRecord, said: Outputs, figures: ModelFigures) -> ModelFigures:
    """Return the student's figures with what its answers tell."""
    quality = measure(run.objective, said)
    if run.objective.predicts_values:
        return replace(figures, quality=quality)
    return replace(
        figures,
        quality=quality,
        confidence=confidence_of(run.objective.prediction(_student(said)), said.labels),
        kl=divergence(run.objective, said).get("kl"),
    )


def _student(said: Outputs) -> Tensor:
    """Return the student's outputs, which were asked for."""
    return cast("Tensor", said.student)


def _misses(run: RunRecord, said: Outputs) -> tuple[Misses, ...]:
    return misses_of(run.objective.prediction(_student(said)), said.labels)


def _teacher_figures(
    run: RunRecord,
    costs: dict[str, Cost],
    said: Outputs | None,
    times: dict[str, list[Latency]],
) -> ModelFigures:
    figures = ModelFigures(
        cost=costs.get("teacher"),
        latencies=tuple(times.get("teacher", ())),
        modules=1 if run.teacher is None else max(1, len(run.teacher.modules())),
    )
    # Of another form than the student's outputs it is not read by the objective.
    if said is None or said.teacher is None or said.teacher.shape != _student(said).shape:
        return figures
    output = run.objective.prediction(said.teacher)
    quality = label_metrics(run.objective, output, said.labels)
    values = run.objective.predicts_values
    confidence = None if values else confidence_of(output, said.labels)
    return replace(figures, quality=quality, confidence=confidence)


def _times(models: dict[str, nn.Module], inputs: Any) -> dict[str, list[Latency]]:
    """Time models whose input is one tensor, alone and in a batch."""
    if not isinstance(inputs, Tensor):
        return {}
    return latencies(models, inputs, sorted({1, min(len(inputs), _TIMED_BATCH)}), rounds=5)
