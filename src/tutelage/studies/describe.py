"""Settings as text for readers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any

from tutelage.data import as_source
from tutelage.identity import declared_data


def readable(value: object) -> str:
    """Return a setting as text.

    >>> import torch
    >>> readable(partial(torch.optim.SGD, lr=0.1)), readable(None), readable(0.5)
    ('SGD(lr=0.1)', 'none', '0.5')
    """
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, partial):
        named = (f"{key}={readable(each)}" for key, each in value.keywords.items())
        return f"{readable(value.func)}({', '.join([*map(readable, value.args), *named])})"
    if isinstance(value, (type, FunctionType)):
        return value.__qualname__.removeprefix("<locals>.").rsplit(".", 1)[-1]
    if isinstance(value, (tuple, list)):
        return ", ".join(map(readable, value))
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def readable_setting(setting: Mapping[str, Any]) -> str:
    """Return swept values as text: `learning rate 0.1, epochs 3`."""
    return ", ".join(f"{name.replace('_', ' ')} {readable(each)}" for name, each in setting.items())


def data_identity(data: object, batch_size: int) -> str:
    """Return a text that changes with a data set: its size, order and content."""
    if data is None:
        return "none"
    return f"{as_source('data', data, batch_size).description} {declared_data(data)}"


def seeded(data: object) -> Callable[[int], object] | None:
    """Return `data` if it is a function from a seed to data, else None."""
    known = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    return data if callable(data) and not known else None  # pyright: ignore[reportReturnType]
