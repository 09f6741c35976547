"""Run a student, by its own loss if that is required; what of it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, DataError, ModelError, TutelageError
from tutelage.heads import HeadLogits
from tutelage.layers.capture import capturing, token_masks
from tutelage.layers.observe import advice, arguments, observe, returned
from tutelage.layers.output import Output
from tutelage.layers.paths import LayerPath, submodule
from tutelage.layers.prepared import Prepared
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.nested import describe, is_column, on_tensors
from tutelage.signals import Batch, Signals
from tutelage.wants import Fields

# Modules that behave in training mode as they must not in validation, also where they have parts.
_RANDOM = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd, nn.MultiheadAttention)  # noqa: SLF001


def returned_loss(student: nn.Module, batch: Batch) -> Any:
    """Return what a student returns that is given its targets too.

    For inputs in a dict these are its argument `labels`, otherwise its last positional argument.
    Of an `Output` it is what the wrapped model returns; a `Prepared` prepares its inputs first.
    """
    model, inputs = student, batch.inputs
    while isinstance(model, Wrapper):
        inputs = model.prepared(inputs) if isinstance(model, Prepared) else inputs
        model = model.wrapped
    args, kwargs = arguments(inputs)
    if batch.labels is not None and isinstance(inputs, Mapping):
        kwargs["labels"] = batch.labels
    elif batch.labels is not None:
        args = (*args, batch.labels)
    return model(*args, **kwargs)


def observe_student(model: nn.Module, batch: Batch, fields: Fields, side: str) -> Signals:
    """Return what is required of a model for a batch, with its own loss if that is required.

    The model runs once. One that in eval mode returns predictions in place of its loss, as the
    detectors of torchvision do, then runs a second time for its loss: modules that contain others
    in training mode, and the rest, such as BatchNorm and dropout, in eval mode.

    Raises:
        ArgumentError: The user's function fails, or its loss has another shape.
        DataError: Examples are mixed from two.
        ModelError: The model refuses the batch, or returns no loss.
    """
    loss = fields.loss
    if loss is None:
        return observe(model, batch.inputs, fields, side)
    if batch.next_tokens:
        batch = replace(batch, labels=batch.aligned_labels)
    if batch.mixture is not None:
        raise DataError(
            "a student's own loss reads one target per example, got mixed examples with two labels "
            "each; leave out the transform that mixes labels, or mix within the loss function"
        )
    with ExitStack() as stack:
        features: dict[str, Tensor] = {}
        if fields.features:
            whole = replace(fields, output=True)  # the loss needs the whole forward pass
            traced = torch.compiler.is_dynamo_compiling()
            stack.enter_context(capturing(model, whole, side, features, traced))
        masks = stack.enter_context(token_masks(model)) if fields.features else []
        calls = stack.enter_context(_returned_by(model)) if fields.output else []
        result = _call(loss, model, batch, side)
        losses = losses_in(result, batch, loss is not returned_loss)
        if not losses and loss is returned_loss and not model.training:
            with _losing(model):
                losses = losses_in(_call(loss, model, batch, side), batch, False)
    if not losses:
        raise _no_loss(model, batch, result, side, loss is returned_loss)
    tokens = masks[0] if masks else None
    if not fields.output:
        return Signals(None, features, losses=losses, tokens=tokens)
    if loss is returned_loss:
        calls = [_chosen(model, result)]
    if not calls:
        raise ModelError(
            f"an objective or a metric reads the output of the {side} ({type(model).__name__}), "
            "got a function of OwnLoss that never calls it; let it call student(...)"
        )
    signals = returned(calls[0], side)
    return replace(signals, features=features, losses=losses, tokens=tokens)


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


def _call(loss: Any, model: nn.Module, batch: Batch, side: str) -> Any:
    # Copies, since a model may work in place on them; see `observe`.
    inputs, labels = (on_tensors(each, Tensor.clone) for each in (batch.inputs, batch.labels))
    given = f"inputs {describe(batch.inputs)} and targets {describe(batch.labels)}"
    try:
        return loss(model, replace(batch, inputs=inputs, labels=labels))
    except (TutelageError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if loss is returned_loss:
            listed = isinstance(batch.inputs, (tuple, list)) and not is_column(batch.inputs)
            images = "; images of one batch in a list are tl.data.PerExample(images)"
            raise ModelError(
                f"the {side} ({type(model).__name__}) refused its {given} with {text}; "
                f"{advice(error)}, or call it yourself in tl.OwnLoss(function)"
                f"{images if listed else ''}"
            ) from error
        mode = "training" if model.training else "eval"
        raise ArgumentError(
            "the function of OwnLoss must return the loss from (student, batch), got one that "
            f"fails for {given}, with the student in {mode} mode, with {text}; correct it"
        ) from error


@contextmanager
def _returned_by(model: nn.Module) -> Iterator[list[Any]]:
    """Keep what a model returns in this context, at each call."""
    calls: list[Any] = []
    handle = model.register_forward_hook(lambda _, __, result: calls.append(result))
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def _losing(model: nn.Module) -> Iterator[None]:
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


def _no_loss(
    model: nn.Module, batch: Batch, result: Any, side: str, by_model: bool
) -> ModelError | ArgumentError:
    if not by_model:
        return ArgumentError(
            "the function of OwnLoss must return a tensor, a scalar or one value per example "
            f"[{len(batch)}], a dict of such, or an object with `loss`, got {describe(result)}"
        )
    targets = "no targets" if batch.labels is None else f"targets {describe(batch.labels)}"
    return ModelError(
        f"the {side} ({type(model).__name__}) must return its own loss: an object or a dict with "
        f"`loss`, a dict of scalar losses, or a scalar, got {describe(result)} for {targets}; "
        "give data with targets, or compute the loss yourself: tl.OwnLoss(function), whose "
        "function takes (student, batch)"
    )


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
