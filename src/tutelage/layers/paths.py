"""Layer paths, and the layer at a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from torch import nn

from tutelage.errors import ArgumentError

COMPILED = "_orig_mod"
"""The name under which `torch.compile` stores the module that it wraps."""

_FORM = re.compile(r"(?P<path>.+?)(?P<input>:input)?(\[(?P<item>\w+)\])?")


@dataclass(frozen=True, slots=True)
class LayerPath:
    """The output of a module of a network, or its input.

    Args:
        path: The module, as `named_modules()` lists it.
        input: Whether it is the module's input instead of its output.
        item: An index in a tuple, a key of a dict or the name of an argument; None for the first
            tensor.
    """

    path: str
    input: bool = False
    item: int | str | None = None

    @classmethod
    def parse(cls, text: str) -> LayerPath:
        """Parse `path`, `path:input`, `path[1]` or `path:input[mask]`.

        >>> LayerPath.parse("attention:input[1]")
        LayerPath(path='attention', input=True, item=1)
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ArgumentError(
                f"a layer must be the path of a module, got {text!r}; write 'layer3', "
                "'layer3:input' for its input, 'layer3[1]' for one item of several"
            )
        item: str | None = found["item"]
        position = int(item) if item is not None and item.isdecimal() else item
        return cls(found["path"], found["input"] is not None, position)


def submodule(model: nn.Module, path: str, side: str) -> nn.Module:
    """Return the layer at a path that `named_modules()` lists; `""` is the model itself.

    `side` is `"student"`, `"teacher"` or `"model"`, for messages.
    """
    *_, layer = along(model, path)
    if layer is not None:
        return layer
    # With duplicates, since a module that is shared by two parents has two paths.
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    near, word = get_close_matches(path, names, n=3), "nearest are"
    if not near:
        near, word = [name for name, _ in model.named_children()][:5], "its parts are"
    found = f"{word} {', '.join(map(repr, near))}" if near else "it has no layers inside"
    raise ArgumentError(
        f"the {side} ({type(model).__name__}) has no layer {path!r}; {found}; "
        "all are listed by [name for name, _ in model.named_modules()]"
    )


def along(model: nn.Module, path: str) -> Iterator[nn.Module | None]:
    """Yield the model and each layer along a path; None for one that does not exist.

    Modules that `torch.compile` has wrapped are found with or without `_orig_mod` in the path.
    """
    layer: nn.Module | None = model
    yield layer
    for name in path.split(".") if path else ():
        if layer is None:
            return
        parts = layer._modules  # noqa: SLF001 - the names that named_modules() lists
        wrapped = parts.get(COMPILED)
        layer = parts.get(name)
        if layer is None and wrapped is not None:
            layer = wrapped._modules.get(name)  # noqa: SLF001
        yield layer
