"""Capture the outputs and inputs of layers while a model runs, with temporary hooks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
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

_TABLE = 2  # dimensions of [batch, tokens]


class Complete(BaseException):
    """Ends the forward pass, since everything required has been captured.

    Like KeyboardInterrupt it is not an Exception, so that models do not catch it.
    """


def check_layers(model: nn.Module, paths: Collection[str], side: str) -> None:
    """Refuse paths that do not exist, before the model runs; the nearest ones are named."""
    for text in sorted(paths):
        submodule(model, LayerPath.parse(text).path, side)


@dataclass
class Captured:
    """What was captured: features by layer path, and which tokens a wrapper has made of texts."""

    features: dict[str, Tensor] = field(default_factory=dict)
    tokens: Tensor | None = None


@contextmanager
def capturing(model: nn.Module, fields: Fields, side: str, found: Captured) -> Iterator[None]:
    """Capture layers of a model that runs inside this context, in this thread.

    Of a wrapper's model it also keeps the `attention_mask` that it is given, as bool.

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
        found: Where the clones go while the model runs.
    """
    paths = {text: LayerPath.parse(text) for text in sorted(fields.features)}
    thread = get_ident()

    def keep(text: str, value: Any) -> None:
        # Ignore the tensors of another thread that runs the same model at the same time.
        if text not in found.features and get_ident() == thread:
            found.features[text] = _copy(_tensor(_item(value, paths[text]), text, side))
            if not fields.output and len(found.features) == len(paths):
                raise Complete

    # PyTorch leaves `named` out in a thread that meets a hook which another one is removing.
    def before(text: str, _: Any, args: tuple[Any, ...], named: Any = MappingProxyType({})) -> None:
        keep(text, {**dict(enumerate(args)), **named})

    def after(text: str, _: Any, __: Any, result: Any) -> None:
        keep(text, result)

    with ExitStack() as stack:
        for text, path in paths.items():
            module = submodule(model, path.path, side)
            stack.enter_context(
                module.register_forward_pre_hook(partial(before, text), with_kwargs=True)
                if path.input
                else module.register_forward_hook(partial(after, text))
            )
        if isinstance(model, Wrapper):
            note = partial(_note_tokens, found)
            hook = unwrapped(model).register_forward_pre_hook(note, with_kwargs=True)
            stack.enter_context(hook)
        # Hooks inside a compiled graph do not run, so the model runs uncompiled.
        if _compiled(model, paths.values()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
    missing = sorted(set(paths) - set(found.features))
    if missing:
        raise ModelError(
            f"every required layer must run in the forward pass of the {side}, got no call of "
            f"{missing[0]!r}; choose a layer that its forward calls"
        )


def _note_tokens(
    found: Captured, _: nn.Module, __: tuple[Any, ...], named: Any = MappingProxyType({})
) -> None:
    mask = named.get("attention_mask")
    if found.tokens is None and isinstance(mask, Tensor) and mask.ndim == _TABLE:
        found.tokens = mask.bool()


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


def _copy(value: Tensor) -> Tensor:
    """Clone a tensor within its graph; in inference mode, as an ordinary tensor."""
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(False):
            return value.detach().clone()
    return value.clone()


def _compiled(model: nn.Module, paths: Iterable[LayerPath]) -> bool:
    """Tell whether a layer, or a module that contains it, was compiled."""
    return any(
        each is not None and (COMPILED in each._modules or each._compiled_call_impl)  # noqa: SLF001
        for path in paths
        for each in along(model, path.path)
    )
