"""Tensors as models are called with them: alone, or in tuples, lists and dicts."""

from collections.abc import Callable, Mapping, Sequence, ValuesView
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import DataError

_FEW = 4


def first_tensor(inputs: object) -> Tensor:
    """Return the first tensor of a model's inputs, which tells batch size, device and dtype.

    Raises:
        DataError: There is none.
    """
    if isinstance(inputs, Tensor):
        return inputs
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    for value in values if isinstance(values, (Sequence, ValuesView)) else ():
        if isinstance(value, Tensor):
            return value
    raise DataError(
        f"inputs must be a tensor, or a tuple or dict with tensors, got {describe(inputs)}; "
        "make the data set or its collate function return tensors"
    )


def describe(value: object) -> str:
    """Say in a few words what a value is: types, shapes and dtypes."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        kinds = [describe(item) for item in value]
        alike = len(kinds) > _FEW and len(set(kinds)) == 1
        return f"{len(kinds)} × {kinds[0]}" if alike else "(" + ", ".join(kinds) + ")"
    return type(value).__name__


def moved(value: Any, device: torch.device) -> Any:
    """Return a value with all its tensors on `device`; None and others as they are."""
    if isinstance(value, Tensor) and value.device == device:
        return value
    return on_tensors(value, lambda tensor: tensor.to(device, non_blocking=True))


def on_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every tensor of a (possibly nested) tuple, list or dict."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: on_tensors(item, change) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(on_tensors(item, change) for item in value)
    return value
