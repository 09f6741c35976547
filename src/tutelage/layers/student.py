"""Run a student, by its own loss if that is required; what of it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.heads import HeadLogits
from tutelage.layers.capture import Captured, capturing
from tutelage.layers.observe import call, observe, returned
from tutelage.layers.output import Output
from tutelage.layers.paths import LayerPath, submodule
from tutelage.layers.prepared import Prepared
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.nested import describe, on_tensors
from tutelage.signals import Batch, Signals
from tutelage.wants import Fields

# Modules that behave in training mode as they must not in validation, also where they have parts.
_RANDOM = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.MultiheadAttention)  # noqa: SLF001


def returned_loss(student: nn.Module, batch: Batch) -> Any:
    """Call a student with its targets and return what it returns, its loss among it.

    Of an `Output` it is what the wrapped model returns; a `Prepared` prepares its inputs first.
    """
    model, inputs = student, batch.inputs
    while isinstance(model, Wrapper):
        inputs = model.prepared(inputs) if isinstance(model, Prepared) else inputs
        model = model.wrapped
    return call(model, inputs, "student", batch.labels)


def observe_student(model: nn.Module, batch: Batch, fields: Fields, side: str) -> Signals:
    """Return what is required of a model for a batch, with its own loss if that is required.

    The model runs once. One that in eval mode returns predictions in place of its loss, as the
    detectors of torchvision do, then runs a second time for its loss: modules that contain others
    in training mode, and the rest, such as BatchNorm and dropout, in eval mode.

    Raises:
        ArgumentError: The loss of the user's function has another shape.
        DataError: Examples are mixed from two.
        ModelError: The model refuses the batch, or returns no loss.
    """
    loss = fields.loss
    if loss is None:
        return observe(model, batch.inputs, fields, side)
    own = _for_loss(batch)
    by_model = loss is returned_loss
    captured, calls = Captured(), list[Any]()
    with ExitStack() as stack:
        if fields.features:
            whole = replace(fields, output=True)  # the loss needs the whole forward pass
            stack.enter_context(capturing(model, whole, side, captured))
        if fields.output:
            keep = model.register_forward_hook(lambda _, __, result: calls.append(result))
            stack.enter_context(keep)
        result = loss(model, own)
        losses = losses_in(result, batch, not by_model)
        if not losses and by_model and not model.training:
            with _as_when_training(model):
                losses = losses_in(loss(model, own), batch, False)
    if not losses and not by_model:
        raise ArgumentError(
            "the function of OwnLoss must return a tensor, a scalar or one value per example "
            f"[{len(batch)}], a dict of such, or an object with `loss`, got {describe(result)}"
        )
    if not losses:
        targets = "no targets" if batch.labels is None else f"targets {describe(batch.labels)}"
        raise ModelError(
            f"the {side} ({type(model).__name__}) must return its own loss: a scalar, an object or "
            f"a dict with `loss`, or a dict of scalar losses, got {describe(result)} for {targets};"
            " give data with targets, or compute the loss: tl.OwnLoss(function of student, batch)"
        )
    features, tokens = captured.features, captured.tokens
    if not fields.output:
        return Signals(None, features, losses=losses, tokens=tokens)
    if by_model:
        calls = [_chosen(model, result)]
    if not calls:
        raise ModelError(
            f"an objective or a metric reads the output of the {side} ({type(model).__name__}), "
            "got a function of OwnLoss that never calls it; let it call student(...)"
        )
    signals = returned(calls[0], side)
    return replace(signals, features=features, losses=losses, tokens=tokens)


def _for_loss(batch: Batch) -> Batch:
    """Return a copy of a batch, with the labels that the data has, for a loss of the user's."""
    if batch.mixture is not None:
        raise DataError(
            "a student's own loss reads one target per example, got mixed examples with two labels "
            "each; leave out the transform that mixes labels, or mix within the loss function"
        )
    labels = batch.aligned_labels if batch.next_tokens else batch.labels
    inputs, labels = (on_tensors(each, Tensor.clone) for each in (batch.inputs, labels))
    return replace(batch, inputs=inputs, labels=labels)


def losses_in(result: Any, batch: Batch, of_function: bool) -> dict[str, Tensor]:
    """Return the loss in what a model or a user's function returned; empty if there is none.

    It is under `"loss"`, and the parts, if there are any, are under their names. All are `[batch]`:
    a scalar is taken for the mean over the examples, and so for the value of each. A dict in which
    some have a gradient and some have none is not summed.

    Raises:
        ArgumentError: A loss is neither a scalar nor `[batch]`.
    """
    size = len(batch)
    if isinstance(result, Tensor):
        return {"loss": _per_example(result, size)} if of_function or result.ndim == 0 else {}
    plain = result if isinstance(result, Mapping) else {}
    total = plain.get("loss") if plain else getattr(result, "loss", None)
    if isinstance(total, Tensor):
        parts = plain.get("loss_dict") if plain else getattr(result, "loss_dict", None)
        parts = parts if isinstance(parts, Mapping) else plain
        # Besides losses, there may be anything.
        losses = {str(name): each for name, each in parts.items() if _is_loss(each, size)}
        losses = {name: _per_example(each, size) for name, each in losses.items()}
        return {**losses, "loss": _per_example(total, size)}
    tensors = all(isinstance(each, Tensor) for each in plain.values())
    if not plain or not tensors or not (of_function or all(x.ndim == 0 for x in plain.values())):
        return {}
    losses = {str(name): _per_example(each, size, str(name)) for name, each in plain.items()}
    trained = [each.requires_grad for each in losses.values()]
    if any(trained) and not all(trained):  # such as an accuracy: no sum of losses
        return losses
    return {**losses, "loss": torch.stack(list(losses.values())).sum(dim=0)}


def _is_loss(value: object, size: int) -> bool:
    """Tell whether a value is a scalar or one value per example."""
    if not (isinstance(value, Tensor) and value.is_floating_point()):
        return False
    return value.numel() == 1 or value.shape == (size,)


def _per_example(loss: Tensor, size: int, name: str = "loss") -> Tensor:
    if not _is_loss(loss, size):
        raise ArgumentError(
            f"a student's own loss must be a scalar or one value per example, [{size}], of floats, "
            f"got {describe(loss)} for {name!r}; average over other dimensions, or over all of them"
        )
    return loss.reshape(()).expand(size) if loss.numel() == 1 else loss


@contextmanager
def _as_when_training(model: nn.Module) -> Iterator[None]:
    """Put the model and its modules that contain others in training mode, the rest in eval mode.

    Parts whose parameters are all frozen stay in eval mode, as in training.
    """
    root = unwrapped(model)
    parts = [
        part
        for part in root.modules()
        if part is root or (next(part.children(), None) and not isinstance(part, _RANDOM))
    ]
    parts = [part for part in parts if part is root or not is_frozen(part)]
    before = [part.training for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, training in zip(parts, before, strict=True):
            part.training = training


def _chosen(model: nn.Module, result: Any) -> Any:
    """Return the part of what the innermost model returned that is the output."""
    while isinstance(model, Wrapper):
        if isinstance(model, Output):
            return model.chosen(result)
        model = model.wrapped
    return result


def is_frozen(module: nn.Module) -> bool:
    """Tell whether a module has parameters, none of which is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(each.requires_grad for each in parameters)


def eval_frozen_modules(module: nn.Module) -> None:
    """Put the largest parts of a module whose parameters are all frozen in eval mode."""
    if is_frozen(module):
        module.eval()
        return
    for part in module.children():
        eval_frozen_modules(part)


def check_gradients(student: nn.Module, signals: Signals, terms: Mapping[str, Fields]) -> None:
    """Refuse outputs and features of the student from which no gradient reaches its parameters.

    Otherwise a projector may be trained and the loss fall, while the student learns nothing.

    `signals` are the student's for one batch, in training mode and with gradients; `terms` are the
    signals that each loss term requires, by the term's name.
    """
    for path, feature in signals.features.items():
        layer = LayerPath.parse(path)
        parameters = submodule(student, layer.path, "student").parameters()
        due = not layer.input and feature.is_floating_point()
        if due and not feature.requires_grad and any(each.requires_grad for each in parameters):
            raise ModelError(
                f"the student's layer {path!r} has trainable parameters, got a feature without a "
                "gradient; it was computed under torch.no_grad, as in "
                "torch.utils.checkpoint(use_reentrant=True): set use_reentrant=False (in "
                "transformers: model.gradient_checkpointing_enable("
                "gradient_checkpointing_kwargs={'use_reentrant': False})), or choose a layer "
                "outside of the checkpointed part"
            )
    for name, fields in terms.items():
        features = [signals.features[each] for each in sorted(fields.features)]
        used = [signals.output, *features] if fields.output else features
        tensors = [each for each in used if isinstance(each, (Tensor, HeadLogits))]
        if tensors and not any(each.requires_grad for each in tensors):
            read = ["the output"] if fields.output else []
            read += [repr(each) for each in sorted(fields.features)]
            raise ModelError(
                f"each loss term must train the student, got the term {name!r}, which reads "
                f"{', '.join(read)}, computed without any trainable parameter; unfreeze that layer "
                "or one before it (in a Stage: name it in `trainable`), choose a later layer, or "
                "leave the term out"
            )
