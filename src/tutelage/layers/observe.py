"""Run a model on inputs and take from it the signals that are wanted."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, TutelageError, is_of_compiler
from tutelage.layers.capture import Complete, capturing
from tutelage.nested import describe, on_tensors
from tutelage.signals import Fields, Signals


def observe(model: nn.Module, inputs: Any, fields: Fields, side: str) -> Signals:
    """Return what the model says of the inputs.

    Args:
        model: Called as `model(x)` for a tensor, `model(*x)` for a tuple or list and `model(**x)`
            for a dict.
        inputs: Its inputs, on its device.
        fields: The signals wanted; with none, the model does not run, and without its output it
            runs no further than the last layer wanted.
        side: `"student"` or `"teacher"`, for messages.

    Raises:
        ArgumentError: A layer that is wanted is not there.
        ModelError: The model refuses the inputs (its own error is the cause), returns something
            that holds no output, or a layer that is wanted did not run or gave no tensor.
    """
    if not fields:
        return Signals()
    if not fields.features:
        return Signals(_output(_call(model, inputs, side), side))
    result: Any = None
    with capturing(model, fields.features, side, fields.output) as features, suppress(Complete):
        result = _call(model, inputs, side)
    return Signals(_output(result, side) if fields.output else None, features)


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode; afterwards each submodule has its former mode again."""
    training = list(chain.from_iterable(map(_in_training, modules)))
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _in_training(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the parts of a module that are in training mode (faster than `modules()`)."""
    if module.training:
        yield module
    for part in module._modules.values():  # noqa: SLF001
        if part is not None:
            yield from _in_training(part)


def _call(model: nn.Module, inputs: Any, side: str) -> Any:
    # A copy, since a model may work in place on its inputs (`x.sub_(mean)`), which others see too.
    inputs = on_tensors(inputs, Tensor.clone)
    try:
        if isinstance(inputs, Mapping):
            return model(**inputs)
        if isinstance(inputs, (tuple, list)):
            return model(*inputs)
        return model(inputs)
    except (TutelageError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"the {side} ({type(model).__name__}) refused its inputs {describe(inputs)} with "
            f"{type(error).__name__}: {error}; {_advice(error)}"
        ) from error


def _advice(error: Exception) -> str:
    if "more than 1 value per channel" in str(error):
        return "a batch of one has no statistics: use a DataLoader with drop_last=True"
    if is_of_compiler(error):
        return "torch.compile needs, on a CPU, a C++ compiler, such as g++: install one"
    return "give it the inputs that its forward takes, all of them and no others"


def _output(result: Any, side: str) -> Tensor:
    """Find the output in what a model returned, and bring it to `[batch, …]` with two dims."""
    output = _candidate(result)
    if not isinstance(output, Tensor) or output.ndim == 0:
        raise ModelError(
            f"the {side} must return a tensor [batch, …], a tuple that begins with it, or an "
            f"object or dict with `logits`, got {describe(result)}; wrap it in a module that does"
        )
    return output.unsqueeze(1) if output.ndim == 1 else output


def _candidate(result: Any) -> Any:
    if isinstance(result, Tensor):
        return result
    if isinstance(result, Mapping):
        return result.get("logits")
    if hasattr(result, "logits"):
        return result.logits
    if isinstance(result, Sequence) and len(result):
        return result[0]
    return result
