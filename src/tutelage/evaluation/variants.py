"""Cheaper forms of a trained model for deployment: compiled, in fewer bits, in ONNX Runtime."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ModelError, in_short
from tutelage.evaluation._forms import FORMS, Form, Wrapped
from tutelage.layers import observe
from tutelage.layers.observe import arguments, output_of
from tutelage.nested import batch_size, describe, on_tensors, to_device
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

_LOSSY, _LOST = ("bf16", "int8"), 1.0
_ROUNDING = 1e-3
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
