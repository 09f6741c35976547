"""What is in a model: layers, blocks, parameters, and what a layer map may name."""

from __future__ import annotations

from typing import Any

from torch import nn

from tutelage.errors import ArgumentError
from tutelage.layers import blocks
from tutelage.references import load_model
from tutelage.references.reference import ClassesNeededError
from tutelage.teachers import as_teacher

_CLASSES = 2
_NOTE = f"Its output layer is shown for {_CLASSES} classes; in a recipe it is for those of the data"


def describe_model(reference: str, *, trust: bool = False) -> dict[str, Any]:
    """Return what is in the model of a reference, as plain data.

    Args:
        reference: The reference.
        trust: As of `load_model`.

    Raises:
        ArgumentError: The reference names no model with layers.
    """
    try:
        found, note = load_model("MODEL", reference, trust=trust), ""
    except ClassesNeededError:  # a recipe takes the number from its data
        found, note = load_model("MODEL", reference, classes=_CLASSES, trust=trust), _NOTE
    module = found if isinstance(found, nn.Module) else as_teacher(found).module
    if module is None:
        raise ArgumentError(
            f"`MODEL` must be a model with layers, got {reference}, a {type(found).__name__}; only "
            "its outputs are known"
        )
    layers = [
        {"path": path, "class": type(layer).__name__, "parameters": _size(layer)}
        for path, layer in module.named_modules()
        if path
    ]
    try:
        repeated, text = blocks(module), ""
        text = f"Blocks: {len(repeated)}, {repeated[0]} to {repeated[-1]}"
    except ArgumentError as error:
        repeated, text = [], f"Blocks: {error}"
    names = repeated or [each["path"] for each in layers]
    example = f"{{{names[0]}: {names[-1]}}}" if names else "none, as it has no layers"
    return {
        "class": type(module).__name__,
        "parameters": _size(module),
        "layers": layers,
        "blocks": repeated,
        "blocks_text": text,
        "note": note,
        "layer_map_text": f"A layer map may name each of its {len(layers)} layers by its path, "
        "PATH:input for its input, or PATH[1] for one of several outputs; for instance "
        f"layer_map: {example} (student: teacher).",
    }


def _size(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())
