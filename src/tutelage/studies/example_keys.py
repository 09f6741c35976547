"""A hash of each example's inputs, without its label: equal for equal inputs in any container."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.data.fingerprint import content
from tutelage.nested import PerExample, index_inputs
from tutelage.signals import Batch

_SIZE = 16


def example_keys(batch: Batch) -> list[bytes]:
    """Return a hash of the inputs of each example of a batch.

    Tokens that `attention_mask` marks as padding are left out, so that the length of a batch does
    not matter.
    """
    length, mask = len(batch), batch.token_mask()
    columns = []
    for path, part in _parts(batch.inputs):
        if isinstance(part, Tensor) and part.ndim and len(part) == length:
            columns.append(list(_rows(path, part, mask)))
        elif not isinstance(part, Tensor):
            rows = (index_inputs(part, slice(at, at + 1), length, True) for at in range(length))
            columns.append([f"{path} {content(row)}".encode() for row in rows])
    return [
        hashlib.blake2b(b"".join(each), digest_size=_SIZE).digest()
        for each in zip(*columns, strict=True)
    ]


def kind_of(batch: Batch) -> str:
    """Return the structure and types of a batch's inputs, without shapes."""
    kinds = (
        f"{path} {part.dtype if isinstance(part, Tensor) else type(part[0]).__name__}".strip()
        for path, part in _parts(batch.inputs)
    )
    return ", ".join(kinds).replace("torch.", "")


def domains_of(batch: Batch) -> list[str] | None:
    """Return the domain of each example of a batch; None where it is not known."""
    if isinstance(batch.domain, Tensor):
        return [str(each) for each in batch.domain.tolist()]
    return None if batch.domain is None else [str(each) for each in batch.domain]


def _parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the columns of inputs, each with a path of its own, in an order of their own."""
    if isinstance(value, PerExample):
        yield path, value
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _parts(value[key], f"{path}/{key}")
    elif isinstance(value, (tuple, list)) and any(
        isinstance(each, (Tensor, Mapping, tuple, list)) for each in value
    ):
        for place, each in enumerate(value):
            yield from _parts(each, f"{path}/{place}")
    elif isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and value):
        yield path, value


def _rows(path: str, column: Tensor, mask: Tensor | None) -> Iterator[bytes]:
    """Yield the bytes of each row, without padding."""
    column = column.detach().cpu().contiguous()
    if mask is not None and column.shape[:2] == mask.shape:
        start = f"{path} {column.dtype} {list(column.shape[2:])};".encode()
        for row, kept in zip(column, mask.cpu(), strict=True):
            yield start + _bytes(row[kept])
        return
    start = f"{path} {column.dtype} {list(column.shape[1:])};".encode()
    flat = column.reshape(len(column), -1)
    if flat.shape[1] == 0:
        yield from (start for _ in range(len(column)))
        return
    for row in flat.view(torch.uint8).numpy():
        yield start + row.tobytes()


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""
