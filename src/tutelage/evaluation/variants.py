"""Cheaper forms of a trained model for deployment: compiled, in fewer bits, in ONNX Runtime."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ModelError, in_short
from tutelage.evaluation.cost import measure_cost
from tutelage.evaluation.onnx_file import OnnxSession, write_onnx
from tutelage.layers import observe
from tutelage.layers.observe import arguments, output_of
from tutelage.nested import batch_size, describe, on_tensors, to_device
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

_LOSSY, _LOST = ("bf16", "int8"), 1.0
_ROUNDING = 1e-3
_MANY = 1000  # compilations of one class of models
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of a model.

    Args:
        name: `"plain"`, `"compiled"`, `"bf16"`, `"int8"` or `"onnx"`.
        model: Called as the model is, with inputs of any batch size, on the CPU and without
            gradients; returns the output alone, in float32. None if it could not be built.
        reason: Why it could not be built; empty if it was.
        file_bytes: Size of its weights file; None if it could not be built.
    """

    name: str
    model: nn.Module | None
    reason: str = ""
    file_bytes: int | None = None


def variants(model: nn.Module, inputs: Any) -> tuple[Variant, ...]:
    """Return cheaper forms of a model, whose outputs for the inputs are close to the model's.

    They are compared for all the inputs, and for the first alone. The tolerance is relative to the
    largest output: 0.001 for forms in float32, and 1 for `bf16` and `int8`, whose loss is to be
    measured on data.

    - `plain`: the model as it is, for comparison;
    - `compiled`: by `torch.compile`, which needs a C++ compiler;
    - `bf16`: weights and computation in bfloat16;
    - `int8`: weights and activations of Linear layers in 8 bits (dynamic quantization);
    - `onnx`: exported, and run by ONNX Runtime with PyTorch's present number of threads; needs the
      extra `tutelage[onnx]`. Numbers and other parts of the inputs that are not tensors are fixed.

    Args:
        model: Any module in float32. A copy is used, on the CPU and in eval mode.
        inputs: A batch of its inputs, of any form that `Batch` may have.

    Returns:
        The forms in that order; a form that cannot be built here has the reason instead of a model.

    Raises:
        DataError: The inputs cannot be split by example.
        ModelError: There is no example, or the model refuses the inputs.

    >>> reasons = {each.name: each.reason for each in variants(nn.Flatten(), torch.zeros(2, 3))}
    >>> reasons["int8"]
    'the model has no Linear layers, which are the layers that are quantized'
    """
    size = batch_size(inputs)
    if not size:
        raise ModelError(
            f"`inputs` must be a batch of at least one example, got {describe(inputs)}; give some "
            "of the data"
        )
    batch = Batch(on_tensors(to_device(inputs, torch.device("cpu")), Tensor.detach))
    # Given a batch of one, an exporter fixes the batch size at 1.
    inputs = batch[slice(size) if size > 1 else torch.tensor([0, 0])].inputs
    with randomness.preserved(), torch.no_grad():
        try:
            own = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
            reason = f"the model cannot be copied: {in_short(error)}"
            return tuple(Variant(name, None, reason) for name in FORMS)
        expected = [
            (each, observe(own, each, OUTPUT, "model").logits)
            for each in (inputs, batch[:1].inputs)
        ]
        args, kwargs = arguments(on_tensors(inputs, Tensor.clone))
        returned = own(*args, **kwargs)
        whole = isinstance(returned, Tensor) and returned.shape == expected[0][1].shape
        whole = whole and next(own.children(), None) is not None
        # Quantization replaces layers inside a module; a module that is a single layer it ignores.
        own = own if whole else OutputOnly(own)
        return tuple(_variant(name, form, own, expected) for name, form in FORMS.items())


class Wrapped(nn.Module):
    """A model inside of another module."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class OutputOnly(Wrapped):
    """A model that returns a tensor instead of a tuple or an object with `logits`."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output."""
        return output_of(self.model(*args, **kwargs), "model")


def _variant(
    name: str, form: Form, model: nn.Module, expected: Sequence[tuple[Any, Tensor]]
) -> Variant:
    tolerance = _LOST if name in _LOSSY else _ROUNDING
    try:
        with silenced():
            built = form(copy.deepcopy(model), expected[0][0])
            built.model.eval()
            for inputs, output in expected:
                # A copy, since a model may work in place on its inputs.
                args, kwargs = arguments(on_tensors(inputs, Tensor.clone))
                check_close(built.model(*args, **kwargs), output, batch_size(inputs), tolerance)
    except Exception as error:  # noqa: BLE001 - compilers and exporters raise errors of any kind
        return Variant(name, None, reason_of(error))
    return Variant(name, built.model, "", built.file_bytes)


def check_close(found: Any, expected: Tensor, size: int | None, tolerance: float) -> float:
    """Return how far outputs are from the model's own.

    Raises:
        ModelError: They are too far, or not one row for each input.
    """
    if not isinstance(found, Tensor) or len(found) != size or found.shape != expected.shape:
        raise ModelError(
            f"it must return a tensor with one row for each of {size} inputs, got "
            f"{describe(found)}; wrap the model in a module that does"
        )
    scale = expected.nan_to_num(0, 0, 0).abs().amax().item() if expected.numel() else 0.0
    difference = (found - expected).abs().nan_to_num(0)
    largest = difference.amax().item() if expected.numel() else 0.0
    if not torch.isclose(found, expected, rtol=0, atol=tolerance * scale, equal_nan=True).all():
        raise ModelError(
            f"its outputs must be close to the model's, whose largest is {scale:.3g}, got a "
            f"difference of {largest:.3g}; such a form is not used"
        )
    return largest


def reason_of(error: Exception) -> str:
    """Return why a form cannot be built, from an error of a compiler or an exporter."""
    if isinstance(error, ModelError):
        return _COLOURS.sub("", str(error))
    cause: BaseException = error
    while isinstance(cause.__cause__, Exception):  # an exporter's own error only says it failed
        cause = cause.__cause__
    return _COLOURS.sub("", in_short(cause))


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress what tools print, log and warn of: deprecations, missing packages, graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


class Built(NamedTuple):
    """A form, called as the original is, and the size of its weights file."""

    model: nn.Module
    file_bytes: int


Form = Callable[[nn.Module, Any], Built]
"""Callable: (a copy of a model, which it may change; two or more inputs, nested) → the form."""


def plain(model: nn.Module, _: Any) -> Built:
    """Return the model as it is."""
    return Built(model, measure_cost(model).file_bytes)


def compiled(model: nn.Module, inputs: Any) -> Built:
    """Compile the model twice: for a batch of one, and for all other sizes."""
    from torch._dynamo import config, maybe_mark_dynamic  # noqa: PLC0415 - slow to import

    @torch.inference_mode()
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
    """A compiled model, always in inference mode and on tensors that were made in it.

    PyTorch would recompile it for other ones, and leave it uncompiled at a limit, in silence.
    """

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        with torch.inference_mode():
            args, kwargs = on_tensors((args, kwargs), _of_inference)
            return self.model(*args, **kwargs)


def _of_inference(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_inference() else tensor.clone()


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
