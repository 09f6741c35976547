"""Capture the outputs and inputs of layers while a model runs, with temporary hooks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.paths import COMPILED, LayerPath, along, submodule
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.nested import describe
from tutelage.wants import Fields

TRACES_CAPTURE = torch.__version__ >= "2.13"
"""Whether `torch.compile` can trace the capture of layers; tested from this version on."""

_TABLE = 2  # dimensions of [batch, tokens]
_NONE: Mapping[str, Any] = MappingProxyType({})


class Complete(BaseException):
    """Ends the forward pass, since everything required has been captured.

    Like KeyboardInterrupt it is not an Exception, so that models do not catch it.
    """


def check_layers(model: nn.Module, paths: Collection[str], side: str) -> None:
    """Refuse paths that do not exist, before the model runs; the nearest ones are named."""
    for text in sorted(paths):
        submodule(model, LayerPath.parse(text).path, side)


@contextmanager
def capturing(
    model: nn.Module, fields: Fields, side: str, found: dict[str, Tensor], traced: bool
) -> Iterator[None]:
    """Capture layers of a model that runs inside this context, in this thread.

    Hooks exist only inside. Captured tensors are cloned, so that later in-place operations
    (`ReLU(inplace=True)`, `x += y`) cannot change them, and so that those computed in inference
    mode can be used in training. Of a module that runs several times, only the first call is
    captured.

    If the model's output is not required, `Complete` ends the forward pass at the last path, and
    must be caught by the caller.

    Args:
        model: The model.
        fields: What is required of it.
        side: Its name in messages.
        found: Where the clones go, by path, while the model runs.
        traced: Whether `torch.compile` traces this code, as part of a graph.
    """
    paths = fields.features
    thread = None if traced else get_ident()

    def keep(text: str, path: LayerPath, value: Any) -> None:
        # Ignore the tensors of another thread that runs the same model at the same time.
        if text not in found and (traced or get_ident() == thread):
            found[text] = _copy(_tensor(_item(value, path), text, side), traced)
            if not fields.output and len(found) == len(paths):
                raise Complete

    parsed = {text: LayerPath.parse(text) for text in sorted(paths)}
    with ExitStack() as stack:
        for text, path in parsed.items():
            module = submodule(model, path.path, side)
            stack.callback(_register(module, text, path, keep, traced))
        # Hooks inside a compiled graph do not run, so the model runs uncompiled.
        if not traced and any(_compiled(model, path.path) for path in parsed.values()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
    missing = sorted(set(paths) - set(found))
    if missing:
        raise ModelError(
            f"every required layer must run in the forward pass of the {side}, got no call of "
            f"{missing[0]!r}; choose a layer that its forward calls"
        )


@contextmanager
def token_masks(model: nn.Module) -> Iterator[list[Tensor]]:
    """Note the `attention_mask` that a wrapper gives its model in this context, as bool."""
    found: list[Tensor] = []
    if not isinstance(model, Wrapper):
        yield found
        return

    def note(_: nn.Module, __: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        mask = named.get("attention_mask")
        if isinstance(mask, Tensor) and mask.ndim == _TABLE:
            found.append(mask.bool())

    handle = unwrapped(model).register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def _register(
    module: nn.Module,
    text: str,
    path: LayerPath,
    keep: Callable[[str, LayerPath, Any], None],
    traced: bool,
) -> Callable[[], None]:
    """Register the hook that captures a path; return the function that removes it."""

    def before(_: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any] = _NONE) -> None:
        keep(text, path, {**dict(enumerate(args)), **named})

    def after(_: nn.Module, __: tuple[Any, ...], result: Any) -> None:
        keep(text, path, result)

    if traced and path.input:
        every = {"_forward_pre_hooks": before, "_forward_pre_hooks_with_kwargs": True}
        return _exchange(module, text, every)
    if traced:
        return _exchange(module, text, {"_forward_hooks": after})
    if path.input:
        return module.register_forward_pre_hook(before, with_kwargs=True).remove
    return module.register_forward_hook(after).remove


def _exchange(module: nn.Module, key: str, entries: Mapping[str, Any]) -> Callable[[], None]:
    """Add a hook in a way that `torch.compile` can trace; return the function that removes it.

    It cannot trace `register_forward_hook`, which counts all hooks. Here the module gets other
    dicts of hooks and then its own ones again, so that the graph has the hook and the module is
    left as it was.

    Args:
        module: The module.
        key: By which the dicts have the hook: a str, other than those that PyTorch gives.
        entries: What is added to each dict, by the name of the dict.
    """
    attributes = vars(module)
    former = {name: attributes[name] for name in entries}
    for name, entry in entries.items():
        attributes[name] = OrderedDict([*former[name].items(), (key, entry)])

    def restore() -> None:
        for name, hooks in former.items():
            attributes[name] = hooks

    return restore


def _item(value: Any, path: LayerPath) -> Any:
    """Return the item of a path, or the first tensor; the whole value if there is none."""
    if path.item is None:
        several = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, (Mapping, Sequence)):
            return next((each for each in several if isinstance(each, Tensor)), value)
        return value
    if isinstance(value, Tensor):  # its items would be examples
        return (value,)
    try:
        return value[path.item]
    except (KeyError, IndexError, TypeError):
        return value


def _tensor(value: Any, path: str, side: str) -> Tensor:
    if isinstance(value, Tensor) and value.ndim > 1:
        return value
    raise ModelError(
        f"layer {path!r} of the {side} must return a tensor [batch, …], got {describe(value)}; "
        "choose one item of several by its index or key, such as 'layer3[0]', and no item if the "
        "layer returns a tensor"
    )


def _copy(value: Tensor, traced: bool) -> Tensor:
    """Clone a tensor within its graph; in inference mode, as an ordinary tensor."""
    # `torch.compile` cannot trace a question for inference mode, nor `mode=`.
    without = not torch.is_grad_enabled() if traced else torch.is_inference_mode_enabled()
    if without:
        with torch.inference_mode(False):
            return value.detach().clone()
    return value.clone()


def _compiled(model: nn.Module, path: str) -> bool:
    """Tell whether a module, or one that contains it, was compiled."""
    return any(
        each is not None and (COMPILED in each._modules or each._compiled_call_impl)  # noqa: SLF001
        for each in along(model, path)
    )
