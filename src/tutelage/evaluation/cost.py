"""What a model takes, apart from time: parameters, bytes, operations, memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_model
from torch import nn

from tutelage.data import randomness
from tutelage.evaluation._allocations import Allocations
from tutelage.evaluation._kernels import open_kernels
from tutelage.layers import evaluating, observe
from tutelage.signals import OUTPUT, Batch


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model takes, apart from time.

    Args:
        parameters: Numbers that are learnt.
        file_bytes: Size of its weights and buffers as a safetensors file.
        flops: Floating-point operations for one input; None where no input was given.
        activation_bytes: Most memory that tensors take at once while it answers one input, beyond
            weights and input; None where no input was given.
    """

    parameters: int
    file_bytes: int
    flops: int | None = None
    activation_bytes: int | None = None


def measure_cost(model: nn.Module, inputs: Any = None) -> Cost:
    """Count what a model takes; parameters that are tied count once.

    Operations are those of matrix products, convolutions and attention, which
    `torch.utils.flop_counter` knows; a multiplication and the addition that follows it are two.
    Memory is that of all tensors that are alive at the same time during one forward pass. Not seen
    is scratch memory inside of a kernel. Both are counted on kernels that are not fused, so that
    they are the model's own and the same on every machine; fused attention may take less memory.

    The model is left in its former mode, and the global random state as it was.

    Args:
        model: Runs in eval mode, without gradients.
        inputs: A batch such as it is called with, on its device, of which the first example is
            used; None to count no operations and no memory.

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
    one = Batch(inputs)[slice(1)].inputs
    with randomness.preserved(), evaluating(model), torch.no_grad(), open_kernels():
        return Cost(parameters, size, _flops(model, one), _activation_bytes(model, one))


def _flops(model: nn.Module, one: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - loaded where used

    with FlopCounterMode(display=False) as counter:
        observe(model, one, OUTPUT, "model")
    return counter.get_total_flops()


def _activation_bytes(model: nn.Module, one: Any) -> int:
    with Allocations(model, one) as seen:
        output = observe(model, one, OUTPUT, "model")
        del output
    return seen.peak
