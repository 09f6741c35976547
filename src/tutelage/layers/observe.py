"""Run a model and take its output and the features that are required."""

import inspect
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, TutelageError
from tutelage.heads import HeadLogits
from tutelage.layers.capture import Captured, Complete, capturing
from tutelage.layers.head import Head, head_of, is_exact
from tutelage.layers.language import is_causal
from tutelage.layers.packing import separated, tell_if_texts_mix
from tutelage.layers.wrapper import unwrapped
from tutelage.nested import batch_size, describe, index_inputs, is_column, on_tensors
from tutelage.signals import Signals
from tutelage.wants import Fields


def observe(model: nn.Module, inputs: Any, fields: Fields, side: str) -> Signals:
    """Return the output and the features of a model for some inputs.

    The model is called as `model(x)` for a tensor, a list of strings or a `data.PerExample`,
    `model(*x)` for another tuple or list and `model(**x)` for a dict. Without required signals it
    does not run, and without the output it runs no further than the last layer required. `side` is
    for messages.

    Where `fields.head_from` allows it and the model's logits are exactly those of its output layer,
    the output is `HeadLogits`: the model then runs as far as the input of that layer.
    """
    if isinstance(inputs, Mapping) and isinstance(inputs.get("input_ids"), Tensor):
        base: Any = unwrapped(model)
        if hasattr(base, "get_base_model"):  # of peft, which passes on what it does not name
            base = base.get_base_model()
        _tell_unused(type(base), frozenset(map(str, inputs)))
        inputs = _apart(model, inputs, side)
    head = None
    if fields.head_from is not None and hasattr(model, "get_output_embeddings"):
        head = _exact_head(model, inputs, fields, side)
    if head is not None:
        path = f"{head.path}:input"
        found = observe(model, inputs, Fields(features=fields.features | {path}), side)
        kept = {each: x for each, x in found.features.items() if each in fields.features}
        return replace(found, output=head.of(found.features[path]), features=kept)
    if not fields.features:
        return returned(call(model, inputs, side), side) if fields.output else Signals()
    result, captured = None, Captured()
    with suppress(Complete), capturing(model, fields, side, captured):
        result = call(model, inputs, side)
    signals = returned(result, side) if fields.output else Signals()
    return replace(signals, features=captured.features, tokens=captured.tokens)


@cache
def _tell_unused(kind: type[nn.Module], names: frozenset[str]) -> None:
    """Warn once of inputs that a model of transformers takes in its `**kwargs`."""
    known = inspect.signature(kind.forward).parameters
    takes_others = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = sorted(names - known.keys() - {"token_type_ids"})  # which tokenizers give to any
    if takes_others and unknown and "input_ids" in known:
        logging.getLogger("tutelage").warning(
            "%s names no input %s, which probably has no effect. Leave it out of the data; tokens "
            "that are not to be learned are marked by labels of -100 or a `row_mask`.",
            kind.__name__, " or ".join(map(repr, unknown)),
        )  # fmt: skip


def _apart(model: nn.Module, inputs: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """Return the inputs of a causal language model such that texts in one row do not mix."""
    if torch.compiler.is_dynamo_compiling() or not is_causal(model):
        return inputs
    inputs, whole = separated(inputs), unwrapped(model)

    def run(given: Mapping[str, Any]) -> Tensor:
        with evaluating(whole):
            return output_of(call(whole, given, side), side)

    tell_if_texts_mix(whole, inputs, run)
    return inputs


def _exact_head(model: nn.Module, inputs: Any, fields: Fields, side: str) -> Head | None:
    """Return the output layer whose input may be observed in place of the output, if any."""
    if not fields.output or fields.head_from is None or torch.compiler.is_dynamo_compiling():
        return None
    head = head_of(model, fields.head_from)
    size = None if head is None else batch_size(inputs)
    if head is None or not size:
        return None

    def run() -> Tensor:
        with evaluating(model):
            return output_of(call(model, index_inputs(inputs, slice(0, 1), size), side), side)

    return head if is_exact(model, head, run) else None


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Put modules in eval mode; afterwards each submodule has its former mode again."""
    parts: list[nn.Module | None] = [*modules]
    for part in parts:  # the list grows; faster than `modules()`
        if part is not None:
            parts += part._modules.values()  # noqa: SLF001
    training = [part for part in parts if part is not None and part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the keyword arguments by which a model is given its inputs."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, (tuple, list)) and not is_column(inputs):
        return tuple(inputs), {}
    return (inputs,), {}


def call(model: nn.Module, inputs: Any, side: str, labels: Any = None) -> Any:
    """Return what a model returns for some inputs, and for its targets where they are given.

    Targets are the argument `labels` beside inputs in a dict, otherwise the last positional one.

    Raises:
        ModelError: The model refuses them.
    """
    # Copies, since a model may work in place (`x.sub_(mean)`) on what others see too.
    # Tensors' version counters would not tell: `x.data` and arrays bypass them.
    inputs = inputs.clone() if isinstance(inputs, Tensor) else on_tensors(inputs, Tensor.clone)
    try:
        if isinstance(inputs, Tensor) and labels is None:
            return model(inputs)
        args, kwargs = arguments(inputs)
        if kwargs and hasattr(getattr(unwrapped(model), "config", None), "use_cache"):
            kwargs.setdefault("use_cache", False)  # with it, texts of a packed row would mix
        if labels is not None:
            labels = on_tensors(labels, Tensor.clone)
            if isinstance(inputs, Mapping):
                kwargs["labels"] = labels
            else:
                args = (*args, labels)
        return model(*args, **kwargs)
    except (TutelageError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        given, what = describe(inputs), advice(error)
        if labels is not None:
            given += f" and targets {describe(labels)}"
            what += ", or call it yourself in tl.OwnLoss(function)"
            if isinstance(inputs, (tuple, list)) and not is_column(inputs):
                what += "; images of one batch in a list are tl.data.PerExample(images)"
        raise ModelError(
            f"the {side} ({type(model).__name__}) refused its inputs {given} with "
            f"{type(error).__name__}: {error}; {what}"
        ) from error


def advice(error: Exception) -> str:
    """Return what to do about the error of a model that refused its inputs."""
    if "more than 1 value per channel" in str(error):
        return "BatchNorm needs more than one example: use a DataLoader with drop_last=True"
    compiler: Any = sys.modules.get("torch._dynamo.exc")  # imported if anything was compiled
    if compiler is not None and isinstance(error, compiler.BackendCompilerFailed):
        return "torch.compile needs, on a CPU, a C++ compiler, such as g++: install one"
    return "give it the inputs that its forward takes, all of them and no others"


def returned(result: Any, side: str) -> Signals:
    """Return what a model returned: its output, or a detector's list of dicts as predictions.

    A model may return `HeadLogits` itself.
    """
    if isinstance(result, Tensor) and result.ndim > 1:
        return Signals(result)
    if isinstance(result, list) and result and all(isinstance(each, Mapping) for each in result):
        return Signals(predictions=result)
    if isinstance(result, HeadLogits):
        return Signals(result)
    return Signals(output_of(result, side))


def output_of(result: Any, side: str) -> Tensor:
    """Return the output in what a model returned, as `[batch, …]` of two dimensions or more."""
    output = result
    if isinstance(result, Mapping):
        output = result.get("logits", result.get("out"))  # as torchvision's segmenters call it
    elif hasattr(result, "logits"):
        output = result.logits
    elif isinstance(result, Sequence) and len(result):
        if sum(isinstance(each, Tensor) for each in result) > 1:  # (features, logits) for instance
            raise ModelError(
                f"the {side} must return one output, got {describe(result)}; choose one by its "
                "position: tl.layers.Output(model, 0)"
            )
        output = result[0]
    if not isinstance(output, Tensor) or output.ndim == 0:
        parts = result if isinstance(result, Mapping) else {}
        tensors = [key for key, value in parts.items() if isinstance(value, Tensor) and value.ndim]
        remedy = "wrap it in a module that does"
        if tensors:
            names = " or ".join(f'tl.layers.Output(model, "{key}")' for key in tensors)
            remedy = f"choose the output: {names}, or a function in place of the name"
        raise ModelError(
            f"the {side} must return a tensor [batch, …], a tuple of it and no other, or an "
            f"object or dict with `logits`, got {describe(result)}; {remedy}"
        )
    return output.unsqueeze(1) if output.ndim == 1 else output
