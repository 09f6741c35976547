"""How each cheaper form of a model is built; errors are raised."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, in_short
from tutelage.evaluation.cost import measure_cost
from tutelage.evaluation.onnx_file import OnnxSession, write_onnx
from tutelage.layers.observe import arguments
from tutelage.nested import batch_size, on_tensors
from tutelage.signals import Batch

_MANY = 1000  # compilations of one class of models


class Built(NamedTuple):
    """A form, called as the original is, and the size of its weights file."""

    model: nn.Module
    file_bytes: int


Form = Callable[[nn.Module, Any], Built]
"""Callable: (a copy of a model, which it may change; two or more inputs, nested) → the form."""


class Wrapped(nn.Module):
    """A model inside of another module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def plain(model: nn.Module, _: Any) -> Built:
    """Return the model as it is."""
    return Built(model, measure_cost(model).file_bytes)


def compiled(model: nn.Module, inputs: Any) -> Built:
    """Compile the model twice: for a batch of one, and for all other sizes."""
    from torch._dynamo import config, maybe_mark_dynamic  # noqa: PLC0415 - slow to import

    def of_any_size(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        if tensor.ndim and len(tensor) == batch_size(inputs):
            maybe_mark_dynamic(tensor, 0)
        return tensor

    size = measure_cost(model).file_bytes
    # All models of a class share a limit, beyond which PyTorch runs them uncompiled in silence.
    with config.patch(recompile_limit=_MANY, fail_on_recompile_limit_hit=True):
        try:
            fast = _Inference(cast("nn.Module", torch.compile(model)))
            for batch in (inputs, Batch(inputs)[:1].inputs):
                args, kwargs = arguments(on_tensors(batch, of_any_size))
                fast(*args, **kwargs)
        except Exception as error:
            raise ModelError(
                f"torch.compile failed with {in_short(getattr(error, 'inner_exception', error))}; "
                "it needs a C++ compiler, such as g++, and a model that can be traced"
            ) from error
    return Built(fast, size)


class _Inference(Wrapped):
    """A compiled model, always in inference mode; PyTorch would recompile it for each grad mode."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        with torch.inference_mode():
            return self.model(*args, **kwargs)


def bfloat16(model: nn.Module, _: Any) -> Built:
    """Convert weights and computation to bfloat16; inputs and outputs are float32."""
    short = model.bfloat16()
    return Built(_Bfloat16(short), measure_cost(short).file_bytes)


class _Bfloat16(Wrapped):
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        args, kwargs = on_tensors((args, kwargs), _short)
        return self.model(*args, **kwargs).float()


def _short(tensor: Tensor) -> Tensor:
    return tensor.bfloat16() if tensor.is_floating_point() else tensor


def int8(model: nn.Module, _: Any) -> Built:
    """Quantize Linear layers dynamically: weights once, activations at each call."""
    if not any(isinstance(part, nn.Linear) for part in model.modules()):
        raise ModelError("the model has no Linear layers, which are the layers that are quantized")
    # torch.ao is deprecated in favour of torchao, whose int8 layers took five times as long as
    # float32 ones for a single input on a CPU (an MLP 784-800-800-10); torch.ao's took two thirds.
    try:
        from torch.ao.quantization import quantize_dynamic  # noqa: PLC0415 - warns when imported
    except ImportError as error:
        raise ModelError("this version of PyTorch has no torch.ao.quantization any more") from error
    small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    return Built(small, file.getbuffer().nbytes)


def onnx(model: nn.Module, inputs: Any) -> Built:
    """Export the model for any batch size, weights included, and open it in ONNX Runtime."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        write_onnx(model, inputs, file)
        content = file.read_bytes()
    return Built(OnnxSession(content), len(content))


FORMS: dict[str, Form] = {
    "plain": plain,
    "compiled": compiled,
    "bf16": bfloat16,
    "int8": int8,
    "onnx": onnx,
}
