"""Cost of the models of a study, measured once for all arms that share an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.data import as_source
from tutelage.errors import DataError, TutelageError
from tutelage.evaluation import Cost, Latency, latencies, measure_cost, variants
from tutelage.identity import digest
from tutelage.reports.record import ModelRecord, VariantRecord
from tutelage.signals import OUTPUT, Batch
from tutelage.studies.outputs import BATCH, ask
from tutelage.teachers import Live, Teacher

TEACHER = "teacher"
_BATCH_SIZES = (1, 256)
_SECONDS, _ROUNDS = 0.5, 20
_CPU = torch.device("cpu")


class TeacherModule(nn.Module):
    """Wraps a teacher that is not a module, so that it can be timed.

    Args:
        teacher: Such as a `Predictor`, or several teachers.
    """

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, inputs: Any) -> Tensor:
        """Return the teacher's output."""
        return self.teacher.signals(Batch(inputs), OUTPUT).wanted_output()


def architecture(model: nn.Module) -> str:
    """Return a text that two models share if they have the same parts and shapes."""
    shapes = [(name, tuple(each.shape)) for name, each in model.state_dict().items()
              if isinstance(each, Tensor)]  # fmt: skip
    return digest(repr(model), repr(shapes))


def measure(
    models: Mapping[str, nn.Module], names: Mapping[str, str], inputs: Any
) -> dict[str, ModelRecord]:
    """Return cost and time of models, timed in turns.

    Args:
        models: By key.
        names: For readers, by key.
        inputs: A batch of the test data.
    """
    inputs = Batch(inputs).to(_CPU).inputs
    for model in models.values():
        model.to(_CPU)
    times = _times(models, inputs)
    return {
        key: ModelRecord(names[key], _cost(model, inputs), tuple(times.get(key, ())))
        for key, model in models.items()
    }


def measure_variants(
    model: nn.Module, data: object, metric: Callable[[Tensor], float | None]
) -> tuple[VariantRecord, ...]:
    """Return quality and time of the cheaper forms of a model.

    Args:
        model: The trained student.
        data: The test data, whose inputs are one tensor.
        metric: From outputs on it to the deciding metric.
    """
    batch = next(iter(as_source("test", data, BATCH, shuffle=False).epoch(0)))
    inputs = batch.to(_CPU).inputs
    if not isinstance(inputs, Tensor):
        return ()
    built = variants(model, inputs)
    timed = {each.name: each.model for each in built if each.model is not None}
    times = _times(timed, inputs)
    return tuple(
        VariantRecord(
            each.name,
            each.reason,
            each.file_bytes,
            None
            if each.model is None
            else metric(cast("Tensor", ask(Live(each.model), "test", data, _CPU))),
            tuple(times.get(each.name, ())),
        )
        for each in built
    )


def _cost(model: nn.Module, inputs: Any) -> Cost | None:
    if isinstance(model, TeacherModule):
        teacher = model.teacher
        modules = nn.ModuleList(teacher.modules())
        return measure_cost(modules) if teacher.is_made_of_modules() else None
    try:
        return measure_cost(model, inputs)
    except (TutelageError, RuntimeError, NotImplementedError):
        return measure_cost(model)  # what cannot be counted is left out


def _times(models: Mapping[str, nn.Module], inputs: Any) -> dict[str, list[Latency]]:
    """Time models whose input is one tensor, alone and in a batch."""
    models = {key: each for key, each in models.items() if _needs_inputs_only(each, inputs)}
    if not isinstance(inputs, Tensor) or not models:
        return {}
    sizes = sorted({min(each, len(Batch(inputs))) for each in _BATCH_SIZES})
    return latencies(models, inputs, sizes, seconds=_SECONDS, rounds=_ROUNDS)


def _needs_inputs_only(model: nn.Module, inputs: Any) -> bool:
    """Return whether a model needs inputs only; specialists need the domain too."""
    if not isinstance(model, TeacherModule):
        return True
    try:
        model(inputs)
    except DataError:
        return False
    return True
