"""How each cheaper form of a model is built; whatever goes wrong is raised."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, in_short
from tutelage.evaluation.cost import measure_cost

_MANY = 1000  # compilations of one class of models


class Built(NamedTuple):
    """A form that was built.

    Args:
        model: Takes and returns what the original does.
        file_bytes: Size of its weights file.
    """

    model: nn.Module
    file_bytes: int


Form = Callable[[nn.Module, Tensor], Built]
"""Builds a form of a model (a copy, the form's own) with the help of a batch of two or more."""


def compiled(model: nn.Module, rows: Tensor) -> Built:
    """Compile the model twice: for a batch of one, and for any other."""
    from torch._dynamo import config, maybe_mark_dynamic  # noqa: PLC0415 - takes its time

    size = measure_cost(model).file_bytes
    many = rows.clone()
    maybe_mark_dynamic(many, 0)
    # All models of a class share a limit, past which PyTorch runs them uncompiled without a word.
    with config.patch(recompile_limit=_MANY, fail_on_recompile_limit_hit=True):
        try:
            quick = _InferenceAlone(cast("nn.Module", torch.compile(model)))
            for some in (many, rows[:1]):
                quick(some)
        except Exception as error:
            raise ModelError(
                f"torch.compile failed with {in_short(getattr(error, 'inner_exception', error))}; "
                "it needs a C++ compiler, such as g++, and a model that can be traced"
            ) from error
    return Built(quick, size)


class _InferenceAlone(nn.Module):
    """A compiled model in one mode; PyTorch would compile it anew for each that it is called in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.model(inputs)


def bfloat16(model: nn.Module, _: Tensor) -> Built:
    """Halve the bits of weights and computation, and keep float32 outside."""
    short = model.bfloat16()
    return Built(_Bfloat16(short), measure_cost(short).file_bytes)


def int8(model: nn.Module, _: Tensor) -> Built:
    """Quantise Linear layers dynamically: weights once, inputs as they come."""
    if not any(isinstance(part, nn.Linear) for part in model.modules()):
        raise ModelError("the model has no Linear layers, which are what is quantised")
    # torch.ao is deprecated in favour of torchao, whose int8 layers took five times as long as
    # plain ones for a single input on a CPU (an MLP 784-800-800-10), and these two thirds.
    try:
        from torch.ao.quantization import quantize_dynamic  # noqa: PLC0415 - warns when loaded
    except ImportError as error:
        raise ModelError("this version of PyTorch has no torch.ao.quantization any more") from error
    small = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    file = io.BytesIO()
    torch.save(small.state_dict(), file)
    return Built(small, file.getbuffer().nbytes)


def onnx(model: nn.Module, rows: Tensor) -> Built:
    """Export the model for any batch size, weights included, and open it in ONNX Runtime."""
    runtime = _runtime()
    with TemporaryDirectory() as folder, _quiet("torch.onnx"):
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (rows,),
            str(file),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
        content = file.read_bytes()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Built(_Session(session), len(content))


FORMS: dict[str, Form] = {"compiled": compiled, "bf16": bfloat16, "int8": int8, "onnx": onnx}


class _Bfloat16(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        short = inputs.bfloat16() if inputs.is_floating_point() else inputs
        return self.model(short).float()


class _Session(nn.Module):
    """A model of ONNX Runtime, of one input and one output."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._input = session.get_inputs()[0].name

    def forward(self, inputs: Tensor) -> Tensor:
        (answer, *_) = self._session.run(None, {self._input: inputs.numpy()})
        return torch.from_numpy(answer)


def _runtime() -> Any:
    try:
        # The exporter loads the first two itself, and says less well what is missing.
        return [import_module(name) for name in ("onnx", "onnxscript", "onnxruntime")][-1]
    except ImportError as error:
        raise ModelError(
            f"{error.name} is not installed; pip install 'tutelage[onnx]' brings it"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Let a logger say nothing but errors."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
