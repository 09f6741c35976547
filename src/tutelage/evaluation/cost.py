"""What a model costs apart from time: parameters, file size, FLOPs, memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn
from torch.backends import cudnn, mha, mkldnn

from tutelage.data import randomness
from tutelage.errors import ModelError
from tutelage.evaluation._allocations import Allocations
from tutelage.evaluation.evaluate import run_model
from tutelage.evaluation.latency import as_batch, bound, copied
from tutelage.layers import evaluating
from tutelage.teachers import Teacher
from tutelage.wants import OUTPUT


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
    module = _module(model)
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
            bound(model, own)()
    return Cost(parameters, size, counter.get_total_flops(), held.peak)


def _module(model: nn.Module | Teacher) -> nn.Module:
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
