"""Settings as text: for readers, and to tell whether two trials are the same trial."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tutelage.data import as_source
from tutelage.data.fingerprint import fingerprint

_DEPTH = 8


def readable(value: object) -> str:
    """Return a setting as a reader wants it.

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
    """Return swept values as a reader wants them: `learning rate 0.1, epochs 3`."""
    return ", ".join(f"{name.replace('_', ' ')} {readable(each)}" for name, each in setting.items())


def identity(value: object) -> str:
    """Return a text that is the same in another process, and another for another setting.

    Functions are known by their code, by what they close over, and by the globals that they name
    (functions among these if they are of the same module); modules by their weights, which of
    these are frozen, and plain attributes; tensors and arrays by their content. What hides deeper
    than a few levels, or in other libraries, is not seen.
    """
    return _identity(value, _DEPTH, set())


def data_identity(data: object, batch_size: int) -> str:
    """Return a text that changes with a data set: its size, order and content.

    The content of a data set that is no tensors is that of its attributes.
    """
    if data is None:
        return "none"
    source = as_source("data", data, batch_size, shuffle=False)
    inner = data.dataset if isinstance(data, DataLoader) else data
    collate = identity(data.collate_fn) if isinstance(data, DataLoader) else ""
    return f"{source.description} {source.fingerprint()} {identity(inner)} {collate}"


def _identity(value: object, depth: int, seen: set[int]) -> str:
    if value is None or isinstance(value, (str, int, float, bytes)):
        return repr(value)
    if depth == 0 or id(value) in seen:
        return type(value).__qualname__
    if isinstance(value, (Tensor, np.ndarray)):
        return _content(value)
    parts = _parts(value)
    if parts is None:
        text = value.__qualname__ if isinstance(value, type) else repr(value)
        return re.sub(r" at 0x[0-9a-f]+", "", text)
    # What is being looked at is not looked at again inside of itself.
    inner = [_identity(each, depth - 1, seen | {id(value)}) for each in parts[1]]
    return f"{parts[0]} {inner}"


def _parts(value: object) -> tuple[str, list[Any]] | None:
    """Return the name of a composite setting and the parts that tell it from others."""
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    if isinstance(value, FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [value.__defaults__, value.__kwdefaults__, closed, _named_globals(value)]
        return f"{value.__qualname__} {_code(value.__code__)}", held
    if isinstance(value, nn.Module):
        own = [_plain_attributes(each) for each in value.modules()]
        frozen = [name for name, each in value.named_parameters() if not each.requires_grad]
        return f"{value!r} {fingerprint(value.state_dict())} {frozen}", own
    if isinstance(value, Dataset) or (is_dataclass(value) and not isinstance(value, type)):
        return type(value).__qualname__, [_attributes(value)]
    return _items(value)


def _items(value: object) -> tuple[str, list[Any]] | None:
    """Return the kind and the items of a collection."""
    if isinstance(value, Mapping):
        return str(list(map(str, value))), list(value.values())
    if isinstance(value, (set, frozenset)):
        return "set", sorted(value, key=repr)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, list(value)
    return None


def _attributes(value: object) -> dict[str, Any]:
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return dict(vars(value))


def _plain_attributes(module: nn.Module) -> dict[str, Any]:
    return {
        name: each
        for name, each in vars(module).items()
        if not name.startswith("_") and name != "training"
    }


def _named_globals(function: FunctionType) -> dict[str, Any]:
    """Return the globals that a function names; of functions, those of its own module."""
    found = {}
    for name in _names(function.__code__):
        value = function.__globals__.get(name)
        foreign = getattr(value, "__module__", None) != function.__module__
        if isinstance(value, ModuleType) or (callable(value) and foreign):
            continue
        found[name] = value
    return found


def _names(code: CodeType) -> list[str]:
    inner = [name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each)]
    return [*code.co_names, *inner]


def _content(value: Tensor | np.ndarray[Any, Any]) -> str:
    if isinstance(value, Tensor):
        return fingerprint({"": value})
    digest_ = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16)
    return f"{value.dtype} {value.shape} {digest_.hexdigest()}"


def digest(*parts: str) -> str:
    """Return 12 characters that stand for texts."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def seeded(data: object) -> Callable[[int], object] | None:
    """Return `data` if it is a function from a seed to data, else None."""
    known = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    return data if callable(data) and not known else None  # pyright: ignore[reportReturnType]


def _code(code: CodeType) -> str:
    """Return a hash over a function's instructions and constants, those of inner ones too."""
    inner = [
        _code(each) if isinstance(each, CodeType) else identity(each) for each in code.co_consts
    ]
    text = f"{code.co_code.hex()} {inner} {code.co_names}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
