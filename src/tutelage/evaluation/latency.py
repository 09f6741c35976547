"""Latency of models, timed side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.errors import ArgumentError
from tutelage.layers import evaluating
from tutelage.layers.observe import arguments
from tutelage.nested import on_tensors
from tutelage.signals import Batch
from tutelage.teachers import Teacher, ask
from tutelage.wants import OUTPUT

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a model takes for a batch.

    Args:
        batch_size: The number of inputs.
        median: Median of the measurements for the whole batch, in seconds.
        percentile_95: Their 95th percentile, in seconds.
        threads: CPU threads that PyTorch used.
    """

    batch_size: int
    median: float
    percentile_95: float
    threads: int

    @property
    def per_input(self) -> float:
        """Seconds for one input of the batch."""
        return self.median / self.batch_size


def latencies(
    models: Mapping[str, nn.Module | Teacher],
    inputs: Any,
    batch_sizes: Sequence[int],
    seconds: float = 0.2,
    rounds: int = 10,
) -> dict[str, list[Latency]]:
    """Time models in alternation, once in each round, so that noise affects all of them alike.

    Args:
        models: By name; each runs in eval and inference mode, and is called as the evaluation
            calls it: `model(x)`, `model(*x)` for a tuple or list, `model(**x)` for a dict.
        inputs: At least as many as the largest batch, on the models' device; or a `Batch` of them,
            whose domains and labels teachers may need.
        batch_sizes: Numbers of inputs per call.
        seconds: Total time for each model and batch size, after a warm-up.
        rounds: Measurements of each.

    Returns:
        For each model one `Latency` for each batch size.

    Raises:
        ArgumentError: A batch size exceeds the number of inputs, or `rounds` is below 1.
        DataError: The inputs cannot be split by example, or a teacher lacks a domain.
    """
    integer("rounds", rounds, 1, "it counts measurements")
    batch = as_batch(inputs)
    for size in batch_sizes:
        if not 1 <= size <= len(batch):
            raise ArgumentError(
                f"`batch_sizes` must lie from 1 to {len(batch)}, the number of inputs, got "
                f"{size}; give more inputs or smaller batches"
            )
    result: dict[str, list[Latency]] = {name: [] for name in models}
    modules = (each for model in models.values() for each in model.modules())
    with evaluating(*modules), torch.inference_mode():
        for size in batch_sizes:
            timers = {
                name: _timer(bound(each, copied(batch[:size]))) for name, each in models.items()
            }
            loops = {name: _loops(timer, seconds / rounds) for name, timer in timers.items()}
            times: dict[str, list[float]] = {name: [] for name in models}
            for _ in range(rounds):
                for name, timer in timers.items():
                    times[name].append(timer.timeit(loops[name]).mean)
            for name, measured in times.items():
                result[name].append(_latency(size, measured))
    return result


def as_batch(inputs: Any) -> Batch:
    """Return a batch of inputs, or the batch itself."""
    return inputs if isinstance(inputs, Batch) else Batch(inputs)


def copied(batch: Batch) -> Batch:
    """Return a batch whose inputs a model may change in place."""
    return replace(batch, inputs=on_tensors(batch.inputs, Tensor.clone))


def bound(model: nn.Module | Teacher, batch: Batch) -> partial[Any]:
    """Return a call of a model for a batch, as the evaluation calls it but without a copy."""
    if isinstance(model, Teacher):
        return partial(ask, model, batch, OUTPUT, predictions=True)
    args, kwargs = arguments(batch.inputs)
    return partial(model, *args, **kwargs)


def _timer(call: partial[Any]) -> Timer:
    from torch.utils.benchmark import Timer  # noqa: PLC0415 - slow to import

    return Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())


def _loops(timer: Timer, seconds: float) -> int:
    """Warm the model up, and return how many calls take `seconds`."""
    timer.timeit(3)
    return max(1, int(seconds / timer.timeit(5).mean))


def _latency(size: int, measured: list[float]) -> Latency:
    # The "exclusive" method may return more than the longest of a few measurements.
    several = len(measured) > 1
    high = quantiles(measured, n=20, method="inclusive")[-1] if several else measured[0]
    return Latency(size, median(measured), high, torch.get_num_threads())
