"""What a model costs apart from time: parameters, file size, FLOPs, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn
from torch.backends import cudnn, mha, mkldnn

from tutelage.data import randomness
from tutelage.evaluation._allocations import Allocations
from tutelage.layers import evaluating, observe
from tutelage.signals import OUTPUT, Batch


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


def measure_cost(model: nn.Module, inputs: Any = None) -> Cost:
    """Measure what a model costs; tied parameters count once.

    FLOPs are those of matrix products, convolutions and attention, as `torch.utils.flop_counter`
    counts them: a multiply-add is two. Memory is that of all tensors that exist at the same time;
    scratch memory inside kernels is not included. Both are measured with unfused kernels, so that
    they are the same on every machine; fused attention may need less memory.

    The model's mode and the global random state do not change.

    Args:
        model: Runs in eval mode, without gradients.
        inputs: A batch of its inputs, on its device; the first example is used. None to measure
            neither FLOPs nor memory.

    Raises:
        ModelError: The model refuses the input.

    >>> cost = measure_cost(nn.Linear(10, 5), torch.zeros(8, 10))
    >>> cost.parameters, cost.flops, cost.activation_bytes
    (55, 100, 20)
    """
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_model(model, str(file))
        size = file.stat().st_size
    parameters = sum(each.numel() for each in model.parameters())
    if inputs is None:
        return Cost(parameters, size)
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - slow to import

    one = Batch(inputs)[slice(1)].inputs
    with randomness.preserved(), evaluating(model), torch.no_grad(), _unfused_kernels():
        with FlopCounterMode(display=False) as counter:
            observe(model, one, OUTPUT, "model")
        peak = _activation_bytes(model, one)
    return Cost(parameters, size, counter.get_total_flops(), peak)


def _activation_bytes(model: nn.Module, one: Any) -> int:
    started: list[Allocations] = []
    with ExitStack() as stack:

        def start(_module: nn.Module, args: Any, kwargs: Any) -> None:
            # From here on, since `observe` calls the model with a copy of its inputs.
            started.append(stack.enter_context(Allocations(model, (args, kwargs))))

        stack.callback(model.register_forward_pre_hook(start, with_kwargs=True).remove)
        observe(model, one, OUTPUT, "model")
    return started[0].peak


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
