"""Hashes of values of any kind, such as of the examples of a data set."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError

_PIECE = 2**20


def content(value: object) -> str:
    """Return a hash over a value's types, shapes and bytes, in nested collections too."""
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: object) -> None:
    """Add a value to a hash, with lengths, so that different nestings give different hashes."""
    if isinstance(value, Tensor):
        digest.update(f"tensor {value.dtype} {list(value.shape)};".encode())
        _feed_bytes(digest, _bytes(value))
    elif isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        digest.update(f"array {value.dtype.str} {value.shape};".encode())
        plain = np.ascontiguousarray(value).reshape(-1)
        _feed_bytes(digest, plain.view(np.uint8).data if plain.size else b"")
    elif value is None or isinstance(value, (str, bytes, Number)):
        text = repr(value)
        digest.update(f"{type(value).__name__} {len(text)} {text};".encode("utf-8", "replace"))
    else:
        parts = _parts(value)
        digest.update(f"{type(value).__name__} {len(parts)};".encode())
        for part in parts:
            _feed(digest, part)


def _feed_bytes(digest: Any, content: Any) -> None:
    """Add bytes to a hash; large ones as hashes of pieces, computed in threads."""
    if len(content) <= _PIECE:
        digest.update(content)
        return
    pieces = (content[start : start + _PIECE] for start in range(0, len(content), _PIECE))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for each in threads.map(partial(hashlib.blake2b, digest_size=16), pieces):
            digest.update(each.digest())


def _parts(value: object) -> list[object]:
    """Return the parts of a composite value."""
    if isinstance(value, np.ndarray):  # of objects
        return [value.shape, *value.reshape(-1).tolist()]
    if isinstance(value, Mapping):
        return [
            each for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for each in pair
        ]
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, each.name) for each in dataclasses.fields(value)]
    image: Any = value
    if all(hasattr(image, each) for each in ("mode", "size", "tobytes", "getpalette")):  # of Pillow
        return [image.mode, image.size, image.getpalette(), image.tobytes()]
    raise DataError(
        "the content of an example must be tensors, arrays, images, numbers or text, or tuples, "
        f"lists, dicts or dataclasses of them, got {type(value).__name__}; make the data set's "
        "__getitem__ return such"
    )


def _bytes(tensor: Tensor) -> Any:
    plain = tensor.detach().as_subclass(Tensor).cpu().contiguous()
    plain = plain.as_strided((plain.numel(),), (1,))  # a single row keeps the strides of its table
    return plain.view(torch.uint8).numpy().data if len(plain) else b""
