"""A layer of a model by its dotted path, or an error that names the nearest ones."""

from collections.abc import Iterator
from difflib import get_close_matches

from torch import nn

from tutelage.errors import ArgumentError

COMPILED = "_orig_mod"
"""Under which name `torch.compile` keeps the module that it wraps."""


def submodule(model: nn.Module, path: str, side: str) -> nn.Module:
    """Return the layer at a path.

    Args:
        model: The model that holds it.
        path: A name that `model.named_modules()` lists, such as `"encoder.layer.0"`; `""` is the
            model itself.
        side: `"student"`, `"teacher"` or `"model"`, for messages.

    Raises:
        ArgumentError: The model has no layer of this name.

    >>> submodule(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), "1", "student")
    ReLU()
    """
    if not isinstance(path, str):
        raise ArgumentError(
            f"a layer of the {side} must be named by its path, a str, got {path!r}; "
            "pass a name that model.named_modules() lists"
        )
    *_, layer = along(model, path)
    if layer is None:
        raise ArgumentError(_not_found(model, path, side))
    return layer


def along(model: nn.Module, path: str) -> Iterator[nn.Module | None]:
    """Yield the model and the layers on the way to a path; None in place of one that is not there.

    What `torch.compile` has wrapped is looked into, with or without its `_orig_mod` in the path.
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


def _not_found(model: nn.Module, path: str, side: str) -> str:
    """Say which names come nearest; without any that resemble it, which the model begins with."""
    # A module shared by two parents may be reached by either path, so both are offered.
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    near, word = get_close_matches(path, names, n=3), "nearest are"
    if not near:
        near, word = [name for name, _ in model.named_children()][:5], "its parts are"
    found = f"{word} {', '.join(map(repr, near))}" if near else "it has no layers inside"
    return (
        f"the {side} ({type(model).__name__}) has no layer {path!r}; {found}; "
        "all are listed by [name for name, _ in model.named_modules()]"
    )
