"""Cheaper forms of a trained model for deployment: compiled, in fewer bits, in ONNX Runtime."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ModelError, in_short
from tutelage.evaluation._forms import FORMS, Form
from tutelage.layers import observe
from tutelage.nested import describe
from tutelage.signals import OUTPUT

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of a model.

    Args:
        name: `"plain"`, `"compiled"`, `"bf16"`, `"int8"` or `"onnx"`.
        model: Called as the model is, with a tensor `[batch, …]` of any batch size, on the CPU and
            without gradients; returns float32. None if it could not be built.
        reason: Why it could not be built; empty if it was.
        file_bytes: Size of its weights file; None if it could not be built.
    """

    name: str
    model: nn.Module | None
    reason: str = ""
    file_bytes: int | None = None


def variants(model: nn.Module, inputs: Tensor) -> tuple[Variant, ...]:
    """Return cheaper forms of a model, each tested on inputs.

    - `plain`: the model as it is, for comparison;
    - `compiled`: by `torch.compile`, which needs a C++ compiler;
    - `bf16`: weights and computation in bfloat16;
    - `int8`: weights and activations of Linear layers in 8 bits (dynamic quantization);
    - `onnx`: exported, and run by ONNX Runtime with PyTorch's present number of threads; needs the
      extra `tutelage[onnx]`.

    Args:
        model: Any module of one tensor, in float32. A copy is used, on the CPU and in eval mode.
        inputs: An example batch, `[batch, …]`.

    Returns:
        The forms in that order; a form that cannot be built here has the reason instead of a model.

    Raises:
        ModelError: The inputs are not a tensor with an example, or the model refuses them.

    >>> reasons = {each.name: each.reason for each in variants(nn.Flatten(), torch.zeros(2, 3))}
    >>> reasons["int8"]
    'the model has no Linear layers, which are the layers that are quantized'
    """
    if not isinstance(inputs, Tensor) or not inputs.ndim or not len(inputs):
        raise ModelError(
            "`inputs` must be a tensor [batch, …] of at least one example, got "
            f"{describe(inputs)}; wrap a model of several inputs in a module of one"
        )
    batch = inputs.detach().cpu()
    # Given a batch of one, an exporter fixes the batch size at 1.
    batch = batch if len(batch) > 1 else torch.cat([batch, batch])
    with randomness.preserved(), torch.no_grad():
        try:
            own = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
            reason = f"the model cannot be copied: {in_short(error)}"
            return tuple(Variant(name, None, reason) for name in FORMS)
        observe(own, batch, OUTPUT, "model")
        own = own if isinstance(own(batch), Tensor) else _OutputOnly(own)
        # Quantization replaces layers inside a module; a module that is a single layer it ignores.
        own = own if next(own.children(), None) is not None else nn.Sequential(own)
        return tuple(_variant(name, form, own, batch) for name, form in FORMS.items())


class _OutputOnly(nn.Module):
    """A model that returns a tensor instead of a tuple or an object with `logits`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return observe(self.model, inputs, OUTPUT, "model").wanted_output()


def _variant(name: str, form: Form, model: nn.Module, batch: Tensor) -> Variant:
    try:
        with _silenced():
            built = form(copy.deepcopy(model), batch)
            for inputs in (batch, batch[:1]):
                output = built.model.eval()(inputs)
                if not isinstance(output, Tensor) or len(output) != len(inputs):
                    raise ModelError(
                        f"it must return a tensor with one row for each of {len(inputs)} inputs, "
                        f"got {describe(output)}; wrap the model in a module that does"
                    )
    except ModelError as error:
        return Variant(name, None, _COLOURS.sub("", str(error)))
    except Exception as error:  # noqa: BLE001 - compilers and exporters raise errors of any kind
        cause: BaseException = error
        while isinstance(cause.__cause__, Exception):  # an exporter's own error only says it failed
            cause = cause.__cause__
        return Variant(name, None, _COLOURS.sub("", in_short(cause)))
    return Variant(name, built.model, "", built.file_bytes)


@contextmanager
def _silenced() -> Iterator[None]:
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
