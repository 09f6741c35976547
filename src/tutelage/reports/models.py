"""What the models of a run or a study cost, measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from textwrap import shorten
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.errors import TutelageError, in_short
from tutelage.evaluation import (
    Cost,
    Latency,
    latencies,
    measure_cost,
    predict,
    run_model,
    variants,
)
from tutelage.reports.record import ModelRecord, VariantRecord
from tutelage.signals import OUTPUT, Batch
from tutelage.teachers import Stored, Teacher

_LONGEST = 400  # characters of a reason
_STORED = "its outputs are read from a store"
_NO_DATA = "there is no validation data to take inputs from"


class Timing(NamedTuple):
    """How models are timed.

    Args:
        batch_size: The largest number of inputs in a call, besides one.
        seconds: For each model and batch size.
        rounds: Measurements of each.
    """

    batch_size: int
    seconds: float
    rounds: int


def first_batch(name: str, data: object, size: int) -> Batch:
    """Return the first batch of a data set."""
    with randomness.preserved():
        randomness.seed_everything(0)
        return next(iter(as_source(name, data, size, shuffle=False).epoch(0)))


def measure_models(
    models: Mapping[str, Teacher],
    batch: Batch | None,
    device: torch.device,
    timing: Timing,
    names: Mapping[str, str] | None = None,
) -> dict[str, ModelRecord]:
    """Return size, FLOPs, memory and time of models; what cannot be measured has a reason.

    Args:
        models: By key; a module as `Live`.
        batch: The inputs; None for sizes alone.
        device: Where to measure.
        timing: How long.
        names: For readers, by key, where the key is none.
    """
    names = {key: _called(key, each) for key, each in models.items()} | dict(names or {})
    with ExitStack() as stack:
        for each in models.values():
            stack.enter_context(each.ready(device))
        batch = None if batch is None else batch.to(device)
        parts = {key: each.module or each for key, each in models.items()}
        times, untimed = _times(parts, batch, timing)
        found = {}
        for key, part in parts.items():
            cost, uncounted = _cost(part, batch)
            found[key] = ModelRecord(
                names[key],
                cost,
                times.get(key, ()),
                untimed=untimed.get(key, ""),
                uncounted=uncounted,
                device=device.type,
            )
    return found


def measure_variants(
    model: nn.Module,
    batch: Batch,
    data: object,
    metric: Callable[[Tensor], float | None],
    timing: Timing,
) -> tuple[VariantRecord, ...]:
    """Return quality and time of the cheaper forms of a model, on the CPU.

    Args:
        model: The trained student.
        batch: The first of the data.
        data: What the quality is measured on.
        metric: From outputs on it to the deciding metric.
        timing: How long.
    """
    batch = batch.to(torch.device("cpu"))
    try:
        built = variants(model, batch.inputs)
    except TutelageError as error:
        return (VariantRecord("plain", str(error)),)
    forms = {each.name: each.model for each in built if each.model is not None}
    reasons = {each.name: each.reason for each in built}
    values: dict[str, float | None] = {}
    for name, form in forms.items():
        try:
            values[name] = metric(predict(form, data).float())
        except Exception as error:  # noqa: BLE001 - runtimes raise errors of any kind
            reasons[name] = f"it fails on this data: {_reason(error)}"
    usable = {name: form for name, form in forms.items() if name in values}
    times, untimed = _times(usable, batch, timing)
    return tuple(
        VariantRecord(
            each.name,
            reasons[each.name] or untimed.get(each.name, ""),
            each.file_bytes,
            values.get(each.name),
            times.get(each.name, ()),
        )
        for each in built
    )


def _times(
    models: Mapping[str, nn.Module | Teacher], batch: Batch | None, timing: Timing
) -> tuple[dict[str, tuple[Latency, ...]], dict[str, str]]:
    """Return the latencies of models, and why those without have none."""
    reasons = {name: _not_timed(model, batch, timing) for name, model in models.items()}
    timed = {name: model for name, model in models.items() if not reasons[name]}
    if batch is None or not timed:
        return {}, reasons
    found = latencies(timed, batch, _sizes(batch, timing), timing.seconds, timing.rounds)
    return {name: tuple(each) for name, each in found.items()}, reasons


def _not_timed(model: nn.Module | Teacher, batch: Batch | None, timing: Timing) -> str:
    """Return why a model cannot be timed; empty if it can."""
    if isinstance(model, Teacher) and _is_stored(model):
        return _STORED
    if batch is None:
        return _NO_DATA
    try:
        with torch.inference_mode():
            for size in _sizes(batch, timing):
                run_model(model, batch[:size], OUTPUT, "model")
    except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
        return _reason(error)
    return ""


def _sizes(batch: Batch, timing: Timing) -> list[int]:
    return sorted({1, min(len(batch), timing.batch_size)})


def _cost(model: nn.Module | Teacher, batch: Batch | None) -> tuple[Cost | None, str]:
    """Return what a model costs, and why that is not all of it."""
    if isinstance(model, Teacher) and not model.is_made_of_modules():
        return None, _STORED if _is_stored(model) else "not a PyTorch module"
    try:
        return measure_cost(model, batch), "" if batch is not None else _NO_DATA
    except Exception as error:  # noqa: BLE001 - not every operation can be counted
        reason = _reason(error)
    try:
        return measure_cost(model), reason
    except Exception as error:  # noqa: BLE001 - nor every weight be saved
        return None, _reason(error)


def _is_stored(teacher: Teacher) -> bool:
    return isinstance(teacher, Stored) or any(map(_is_stored, teacher.members))


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, TutelageError) else in_short(error)
    return shorten(text, _LONGEST)


def _called(key: str, model: Teacher) -> str:
    several = len(model.modules())
    return f"{several} teachers together" if several > 1 else key
