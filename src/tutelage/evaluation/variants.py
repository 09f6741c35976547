"""Cheaper forms of a trained model, as one would deploy it: compiled, in fewer bits, elsewhere."""

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
from tutelage.evaluation._forms import FORMS, Built, Form
from tutelage.evaluation.cost import measure_cost
from tutelage.layers import observe
from tutelage.nested import describe
from tutelage.signals import OUTPUT

_TWO = 2
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Variant:
    """One form of a model.

    Args:
        name: `"plain"`, `"compiled"`, `"bf16"`, `"int8"` or `"onnx"`.
        model: Called as the model was, with a tensor `[batch, …]` of any batch size, on the CPU and
            without gradients; returns float32. None where it could not be built.
        reason: Why it could not; empty where it was.
        file_bytes: Size of the file that holds its weights; None where it was not built.
    """

    name: str
    model: nn.Module | None
    reason: str = ""
    file_bytes: int | None = None


def variants(model: nn.Module, inputs: Tensor) -> tuple[Variant, ...]:
    """Return cheaper forms of a model, each tried on inputs before it is given out.

    - `plain`: the model as it is, to compare the others with;
    - `compiled`: by `torch.compile`, which needs a C++ compiler;
    - `bf16`: weights and computation in bfloat16;
    - `int8`: weights of Linear layers in 8 bits, their inputs rounded to 8 bits as they come;
    - `onnx`: exported, and run by ONNX Runtime on as many threads as PyTorch has at that moment;
      needs the extra `tutelage[onnx]`.

    Args:
        model: Any module of one tensor, in float32. It is copied, to the CPU and in eval mode, and
            itself left as it is.
        inputs: A batch such as it takes, `[batch, …]`.

    Returns:
        The forms in that order; of one that cannot be had here, the reason.

    Raises:
        ModelError: The inputs are not a tensor with an example, or the model refuses them.

    >>> reasons = {each.name: each.reason for each in variants(nn.Flatten(), torch.zeros(2, 3))}
    >>> reasons["int8"]
    'the model has no Linear layers, which are what is quantised'
    """
    if not isinstance(inputs, Tensor) or not inputs.ndim or not len(inputs):
        raise ModelError(
            "`inputs` must be a tensor [batch, …] of at least one example, got "
            f"{describe(inputs)}; a model of several inputs needs a module that takes them as one"
        )
    rows = inputs.detach().cpu()
    # An exporter takes a batch of one for a model of single inputs.
    rows = rows if len(rows) >= _TWO else torch.cat([rows, rows])
    forms = {"plain": _plain, **FORMS}
    with randomness.preserved(), torch.no_grad():
        try:
            own = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
            reason = f"the model cannot be copied: {in_short(error)}"
            return tuple(Variant(name, None, reason) for name in forms)
        observe(own, rows, OUTPUT, "model")
        own = own if isinstance(own(rows), Tensor) else _OutputAlone(own)
        # Quantisation replaces layers inside of a module, and leaves a layer by itself as it is.
        own = own if next(own.children(), None) is not None else nn.Sequential(own)
        return tuple(_variant(name, form, own, rows) for name, form in forms.items())


def _plain(model: nn.Module, _: Tensor) -> Built:
    return Built(model, measure_cost(model).file_bytes)


class _OutputAlone(nn.Module):
    """A model that returns a tensor, where it returned a tuple or an object with `logits`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        return observe(self.model, inputs, OUTPUT, "model").wanted_output()


def _variant(name: str, form: Form, model: nn.Module, rows: Tensor) -> Variant:
    with _quiet():
        try:
            built = form(copy.deepcopy(model), rows)
            for some in (rows, rows[:1]):
                _try(built.model.eval(), some)
        except ModelError as error:
            return Variant(name, None, _COLOURS.sub("", str(error)))
        except Exception as error:  # noqa: BLE001 - compilers and exporters raise what they like
            return Variant(name, None, _COLOURS.sub("", in_short(_root(error))))
    return Variant(name, built.model, "", built.file_bytes)


def _root(error: Exception) -> Exception:
    """Return what an error came of: an exporter's own first line says only that it failed."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


@contextmanager
def _quiet() -> Iterator[None]:
    """Let tools say nothing of themselves: deprecations, missing packages, printed graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    silence = io.StringIO()
    try:
        with warnings.catch_warnings(), redirect_stdout(silence), redirect_stderr(silence):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _try(model: nn.Module, rows: Tensor) -> None:
    answer = model(rows)
    if not isinstance(answer, Tensor) or len(answer) != len(rows):
        raise ModelError(
            f"it must return a tensor with one row for each of {len(rows)} inputs, got "
            f"{describe(answer)}; wrap the model in a module that does"
        )
