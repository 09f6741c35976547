"""What a model costs: parameters, file size, FLOPs, memory, and the time of models side by side."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.backends import cudnn, mha, mkldnn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tutelage._checks import integer
from tutelage.data import randomness
from tutelage.errors import ArgumentError, ModelError
from tutelage.evaluation.evaluate import run_model
from tutelage.layers import evaluating
from tutelage.layers.observe import arguments
from tutelage.nested import on_tensors
from tutelage.signals import Batch
from tutelage.teachers import Teacher, ask
from tutelage.wants import OUTPUT

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs, apart from time.

    Args:
        parameters: The number of parameters.
        file_bytes: Size of its weights and buffers as a safetensors file.
        flops: FLOPs for one input; None without `inputs`.
        activation_bytes: Peak memory of tensors in a forward pass for one input, without weights
            and input; None without `inputs`.
    """

    parameters: int
    file_bytes: int
    flops: int | None = None
    activation_bytes: int | None = None


def measure_cost(model: nn.Module | Teacher, inputs: Any = None) -> Cost:
    """Measure what a model costs; tied parameters count once.

    FLOPs are those of matrix products, convolutions and attention, as `torch.utils.flop_counter`
    counts them: a multiply-add is two. Memory is that of all tensors that exist at the same time;
    scratch memory inside kernels is not included. Both are measured with unfused kernels, so that
    they are the same on every machine; fused attention may need less memory.

    The model's mode and the global random state do not change.

    Args:
        model: Runs in eval mode, without gradients; of a teacher all modules count together.
        inputs: A batch of its inputs, on its device, or a `Batch` of them; the first example is
            used. None to measure neither FLOPs nor memory.

    Raises:
        DataError: The inputs cannot be split by example, or a teacher lacks a domain.
        ModelError: The model refuses the input, or a teacher is not made of modules.

    >>> cost = measure_cost(nn.Linear(10, 5), torch.zeros(8, 10))
    >>> cost.parameters, cost.flops, cost.activation_bytes
    (55, 100, 20)
    """
    module = _as_module(model)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(module, str(file))
        size = file.stat().st_size
    parameters = sum(each.numel() for each in module.parameters())
    if inputs is None:
        return Cost(parameters, size)
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - slow to import

    one = as_batch(inputs)[:1]
    own = copied(one)
    with randomness.preserved(), evaluating(module), torch.no_grad(), _unfused_kernels():
        with FlopCounterMode(display=False) as counter:
            run_model(model, one, OUTPUT, "model")
        with Allocations(module, own.inputs) as held:
            call_of(model, own)()
    return Cost(parameters, size, counter.get_total_flops(), held.peak)


def _as_module(model: nn.Module | Teacher) -> nn.Module:
    if isinstance(model, nn.Module):
        return model
    if not model.is_made_of_modules():
        raise ModelError(
            f"a teacher must be made of PyTorch modules to be measured, got {type(model).__name__}"
            "; measure its modules alone"
        )
    return nn.ModuleList(model.modules())


@contextmanager
def _unfused_kernels() -> Iterator[None]:
    """Switch off fused kernels, whose FLOPs and tensors cannot be counted from outside.

    These are attention, the fast path of an encoder layer, and the recurrent layers of oneDNN and
    cuDNN.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: PLC0415 - slow to import

    before = mha.get_fastpath_enabled(), bool(mkldnn.enabled), cudnn.enabled
    _switch(False, False, False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        _switch(*before)


def _switch(fast_path: bool, onednn: bool, cuda: bool) -> None:
    mha.set_fastpath_enabled(fast_path)
    mkldnn.enabled = onednn
    cudnn.enabled = cuda


class Allocations(TorchDispatchMode):
    """Tracks every storage from the operation that creates it until it is freed.

    torch's profiler also counts the scratch memory of this machine's kernels, and peak counters
    exist for GPUs only. Storages are the same on every machine.

    Args:
        model: Its parameters and buffers are not counted.
        inputs: Not counted either.

    Attributes:
        peak: The largest number of bytes in use at one time.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.peak, self._in_use = 0, 0
        existing = (*model.parameters(), *model.buffers(), *_tensors(inputs))
        # The storages are kept, so that their ids cannot be reused.
        self._existing = {id(each): each for each in (old.untyped_storage() for old in existing)}
        self._tracked: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and track the storages of its result."""
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._track(tensor)
        return result

    def _track(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._existing or key in self._tracked:
            return
        self._tracked.add(key)
        size = storage.nbytes()
        self._in_use += size
        self.peak = max(self.peak, self._in_use)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._tracked.discard(key)
        self._in_use -= size


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in tree_leaves(value) if isinstance(each, Tensor)]


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
            calls = {name: call_of(each, copied(batch[:size])) for name, each in models.items()}
            for name, found in in_turns(calls, size, seconds, rounds).items():
                result[name].append(found)
    return result


def in_turns(
    calls: Mapping[_Key, partial[Any]], size: int, seconds: float = 0.2, rounds: int = 10
) -> dict[_Key, Latency]:
    """Time calls for batches of one size in alternation, once in each round; see `latencies`."""
    timers = {name: _timer(each) for name, each in calls.items()}
    loops = {name: _loops(timer, seconds / rounds) for name, timer in timers.items()}
    times: dict[_Key, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(timer.timeit(loops[name]).mean)
    return {name: _latency(size, each) for name, each in times.items()}


def as_batch(inputs: Any) -> Batch:
    """Return a batch of inputs, or the batch itself."""
    return inputs if isinstance(inputs, Batch) else Batch(inputs)


def copied(batch: Batch) -> Batch:
    """Return a batch whose inputs a model may change in place."""
    return replace(batch, inputs=on_tensors(batch.inputs, Tensor.clone))


def call_of(model: nn.Module | Teacher, batch: Batch) -> partial[Any]:
    """Return a function without arguments that calls a model on a batch, as the evaluation does.

    The inputs are not copied first (see `copied`).
    """
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
