"""Take what passes named places while a model runs; before and after, the model is as it was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from threading import get_ident
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.paths import COMPILED, along, submodule
from tutelage.layers.place import Place
from tutelage.nested import describe

_NONE: Mapping[str, Any] = MappingProxyType({})


class Complete(BaseException):
    """All that is wanted has passed: the rest of the forward pass is not needed.

    Like KeyboardInterrupt it is no Exception, so that no model takes it for an error of its own.
    """


def check_layers(model: nn.Module, places: Collection[str], side: str) -> None:
    """Refuse places that are not there, before the model runs.

    Raises:
        ArgumentError: The model has no layer of that name; the nearest ones are named.
    """
    for text in sorted(places):
        submodule(model, Place.read(text).path, side)


@contextmanager
def capturing(
    model: nn.Module, places: Collection[str], side: str, output: bool
) -> Iterator[dict[str, Tensor]]:
    """Collect what passes places of a model that runs inside this context, in this thread.

    Hooks exist only here. What is collected are copies: a later layer may work in place
    (`ReLU(inplace=True)`, `x += y`), and what was computed in inference mode could not be learnt
    from. Where a module runs several times, its first run counts.

    Args:
        model: Called by the caller.
        places: As `Place.read` takes them.
        side: `"student"` or `"teacher"`, for messages.
        output: Whether the model's output is wanted too; if not, `Complete` ends the forward pass
            at the last place, and must be caught by the caller.

    Yields:
        The copies by place, filled in while the model runs.

    Raises:
        ArgumentError: A place names no module.
        ModelError: It names no tensor, or a module that did not run.
    """
    found: dict[str, Tensor] = {}
    thread = get_ident()

    def keep(text: str, place: Place, value: Any) -> None:
        # Another thread may run the same model meanwhile; what passes there is not ours.
        if text not in found and get_ident() == thread:
            found[text] = _copy(_tensor(_item(value, place), text, side))
            if not output and len(found) == len(places):
                raise Complete

    with ExitStack() as stack:
        for text in sorted(places):
            place = Place.read(text)
            module = submodule(model, place.path, side)
            stack.callback(_hook(module, text, place, keep).remove)
        if any(_compiled(model, Place.read(text).path) for text in places):
            # A compiled graph has no hooks: what is inside it is seen only without it.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield found
    missing = sorted(set(places) - set(found))
    if missing:
        raise ModelError(
            f"every layer that is wanted must take part when the {side} runs, got none from "
            f"{missing[0]!r}; choose one that its forward calls"
        )


def _hook(
    module: nn.Module, text: str, place: Place, keep: Callable[[str, Place, Any], None]
) -> torch.utils.hooks.RemovableHandle:
    """Hang a hook on a module that hands over what passes the place."""
    if place.input:

        def before(
            _module: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any] = _NONE
        ) -> None:
            keep(text, place, {**dict(enumerate(args)), **named})

        return module.register_forward_pre_hook(before, with_kwargs=True)

    def after(_module: nn.Module, _args: tuple[Any, ...], result: Any) -> None:
        keep(text, place, result)

    return module.register_forward_hook(after)


def _item(value: Any, place: Place) -> Any:
    """Return the item that a place names, or the first tensor; else all, to be refused as such."""
    if place.item is None:
        several = value.values() if isinstance(value, Mapping) else value
        if isinstance(value, (Mapping, Sequence)):
            return next((each for each in several if isinstance(each, Tensor)), value)
        return value
    if isinstance(value, Tensor):  # whose items would be examples
        return (value,)
    try:
        return value[place.item]
    except (KeyError, IndexError, TypeError):
        return value


def _tensor(value: Any, place: str, side: str) -> Tensor:
    if isinstance(value, Tensor) and value.ndim > 1:
        return value
    raise ModelError(
        f"layer {place!r} of the {side} must give a tensor [batch, …], got {describe(value)}; "
        "name one item of several by its position or key, such as 'layer3[0]', and a tensor that "
        "is alone without one"
    )


def _copy(value: Tensor) -> Tensor:
    """Copy a tensor with its place in the graph; out of inference mode it is an ordinary one."""
    if torch.is_inference_mode_enabled():
        with torch.inference_mode(mode=False):
            return value.detach().clone()
    return value.clone()


def _compiled(model: nn.Module, path: str) -> bool:
    """Tell whether a module, or one that it lies in, was compiled."""
    return any(
        each is not None and (COMPILED in each._modules or each._compiled_call_impl)  # noqa: SLF001
        for each in along(model, path)
    )
