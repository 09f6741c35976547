"""Settings as text: for readers, and to tell whether two trials are the same trial."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

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


def identity(value: object, depth: int = _DEPTH) -> str:
    """Return a text that is the same in another process, and another for another setting.

    Functions are known by their code and by the plain values that they close over, tensors and
    modules by their content. What hides deeper than a few levels is not seen.
    """
    if value is None or isinstance(value, (str, int, float)):
        return repr(value)
    if depth == 0:
        return type(value).__qualname__
    deeper = _parts(value)
    if deeper is not None:
        return f"{deeper[0]} {[identity(each, depth - 1) for each in deeper[1]]}"
    if isinstance(value, nn.Module):
        return f"{value!r} {fingerprint(value.state_dict())}"
    if isinstance(value, Tensor):
        return fingerprint({"": value})
    text = value.__qualname__ if isinstance(value, type) else repr(value)
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _parts(value: object) -> tuple[str, list[Any]] | None:
    """Return the name of a composite setting and the parts that tell it from others."""
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    if isinstance(value, FunctionType):
        closed = [cell.cell_contents for cell in value.__closure__ or ()]
        name = f"{value.__qualname__} {_code(value.__code__)}"
        return name, [value.__defaults__, value.__kwdefaults__, closed]
    if isinstance(value, Mapping):
        return str(list(map(str, value))), list(value.values())
    if isinstance(value, (tuple, list)):
        return "", list(value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {each.name: getattr(value, each.name) for each in fields(value)}
        return type(value).__qualname__, list(held.values())
    return None


def data_identity(data: object, batch_size: int) -> str:
    """Return a text that changes with a data set: its size, order, and content if it is tensors."""
    if data is None:
        return "none"
    source = as_source("data", data, batch_size, shuffle=False)
    return f"{source.description} {source.fingerprint()}"


def digest(*parts: str) -> str:
    """Return 12 characters that stand for texts."""
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=6).hexdigest()


def seeded(data: object) -> Callable[[int], object] | None:
    """Return `data` if it is a function from a seed to data, else None."""
    known = hasattr(data, "__getitem__") or hasattr(data, "__iter__")
    return data if callable(data) and not known else None  # pyright: ignore[reportReturnType]


def _code(code: CodeType) -> str:
    """Return a hash over a function's instructions and constants, those of inner ones too."""
    inner = [_code(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    text = f"{code.co_code.hex()} {inner} {code.co_names}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
