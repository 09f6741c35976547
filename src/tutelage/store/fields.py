"""What is stored of each example: fields, in one of three forms, as columns in `.npy` files.

`numpy.load(file, mmap_mode="r")` opens each file alone. The header is built here and not by numpy,
so that the bytes of a store do not depend on numpy's version.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat
from torch import Tensor

from tutelage.coarse import CoarseLogits, widened
from tutelage.errors import ModelError, NonFiniteError, StoreError
from tutelage.heads import HeadLogits, chunks_of_rows
from tutelage.nested import describe
from tutelage.signals import Signals
from tutelage.store.layout import Layout

OUTPUT_NAME = "output"
_UNUSED = 2**16 - 1  # larger than any id of two bytes; marks an unused column

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 64
_NUMPY = {
    "float16": "<f2",
    "float32": "<f4",
    "bfloat16": "<u2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint8": "|u1",
}
_TORCH = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}
_INTEGERS = {2: (np.int16, np.uint16), 4: (np.int32, np.uint32)}
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000}

Float = Literal["float16", "float32", "bfloat16"]
Arrays = list[NDArray[np.generic]]
"""Entries of each column of a field."""


@dataclass(frozen=True, slots=True)
class Column:
    """An array with an entry of some shape for each example of each view, or for each answer.

    Numpy does not have bfloat16: its bits are stored as unsigned integers.
    """

    stem: str
    dtype: str
    shape: tuple[int, ...]
    by_answer: bool = False

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The dtype in numpy."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry."""
        return self.numpy_dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def file(self, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"{self.stem}.{shard:04d}.npy"

    def header(self, entries: int) -> bytes:
        """Return the `.npy` header of a shard of so many entries."""
        kind = f"'descr': '{_NUMPY[self.dtype]}', 'fortran_order': False"
        text = f"{{{kind}, 'shape': {(entries, *self.shape)}, }}".encode("ascii")
        length = len(_MAGIC) + 2 + len(text) + 1
        text += b" " * (-length % _ALIGNMENT) + b"\n"
        return _MAGIC + len(text).to_bytes(2, "little") + text

    def file_bytes(self, entries: int) -> int:
        """Return the size of the file of a shard of so many entries."""
        return len(self.header(entries)) + entries * self.entry_bytes

    def start_of(self, layout: Layout, block: int) -> tuple[str, int]:
        """Return the name of a block's file, and the offset of its first byte."""
        shard = layout.shard_of(block)
        entries = layout.shard_entries(shard, self.by_answer)
        before = layout.entries(layout.block(block), self.by_answer).start - entries.start
        return self.file(shard), len(self.header(len(entries))) + before * self.entry_bytes

    def bytes_of(self, array: NDArray[np.generic]) -> memoryview:
        """Return the bytes of some entries as they are on disk."""
        content = np.ascontiguousarray(array, self.numpy_dtype)
        return content.reshape(-1).view(np.uint8).data  # `cast` refuses what is empty


class Entry(BaseModel):
    """A part of a manifest: missing or unknown keys, and values of other types, are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Field(Entry):
    """The teacher's output, or one of its features.

    Args:
        name: `"output"`, or the layer path of a feature.
        form: `"dense"`: all values. `"coarse"`: the ids of the k most probable classes, their
            logits, and the logsumexp of the remaining classes (`CoarseLogits`). The row's largest
            logit is subtracted, which does not change the distribution; float16 is most precise
            near 0. `"sampled"`: the ids of k classes sampled from the distribution.
        dtype: Of values and logits; not used for sampled classes.
        shape: Of an example's values, or of a row's; `[k]` for a coarse or a sampled field.
        positions: With several answers an example, the shape of its positions, all of which are
            stored; empty with one, and where the number of answers differs.
        by_answer: Whether examples have different numbers of answers, such as texts of tokens, all
            of which are stored one after another.
        classes: How many there are, for a coarse or a sampled field; 0 where not known.
        complete: Whether the teacher's output had all these classes, so that a student must have as
            many; a server may name fewer tokens than models have columns.
        temperature: At which classes are sampled; 1 for the other forms.
    """

    name: str
    form: Literal["dense", "coarse", "sampled"]
    dtype: Float
    shape: tuple[NonNegativeInt, ...]
    classes: NonNegativeInt = 0
    complete: bool = False
    temperature: PositiveFloat = 1.0
    positions: tuple[NonNegativeInt, ...] = ()
    by_answer: bool = False

    @property
    def id_bits(self) -> int | None:
        """The bits of a class id of more classes than two bytes can number; None for others."""
        return (self.classes - 1).bit_length() if self.classes > _UNUSED else None

    @property
    def id_dtype(self) -> str:
        """The dtype of class ids: two bytes, some bytes of bits, or four for unknown classes."""
        if self.id_bits is not None:
            return "uint8"
        return "uint16" if self.classes else "int32"

    def columns(self, number: int) -> tuple[Column, ...]:
        """Return the columns of the field, which is field `number` of the store."""
        stem = OUTPUT_NAME if self.name == OUTPUT_NAME else f"feature{number}"
        shape = (*self.positions, *self.shape)
        if self.form == "dense":
            return (Column(stem, self.dtype, shape, self.by_answer),)
        bits = self.id_bits
        packed = shape if bits is None else (*self.positions, -(-self.shape[0] * bits // 8))
        ids = Column(f"{stem}.ids", self.id_dtype, packed, self.by_answer)
        if self.form == "sampled":
            return (ids,)
        return (
            ids,
            Column(f"{stem}.logits", self.dtype, shape, self.by_answer),
            Column(f"{stem}.other", self.dtype, self.positions, self.by_answer),
        )


def encode(field: Field, signals: Signals, first_row: int) -> Arrays:
    """Return the rows of each of a field's columns; `first_row` is the store's row of the first."""
    is_output = field.name == OUTPUT_NAME
    values = signals.features.get(field.name)
    if is_output and signals.output is not None:
        output = signals.output
        values = output if isinstance(output, HeadLogits) else signals.targets
    if values is None:
        raise StoreError(
            f"the teacher must return {field.name!r} for every batch, got a batch without it; give "
            "fields that it has"
        )
    rows = signals.rows if is_output and not field.by_answer else None
    positions = () if rows is None else rows.positions
    if positions != field.positions:
        raise ModelError(
            f"the teacher must have answers for the same positions of every example, got "
            f"{list(positions)} after a first batch with {list(field.positions)}; bring all "
            "examples to one shape (pad to a fixed length)"
        )
    if rows is None:
        return _encode(field, values, first_row)

    def everywhere(part: Tensor) -> Tensor:
        """Return values of rows for all positions, one after another."""
        return rows.padded(part).flatten(0, rows.mask.ndim - 1)

    # Positions that are not rows are stored too, as zeros, so that all examples take as much.
    whole = everywhere(values) if isinstance(values, Tensor) else values.changed(everywhere)
    arrays = _encode(field, whole, first_row * math.prod(positions))
    return [array.reshape(-1, *positions, *array.shape[1:]) for array in arrays]


def _encode(field: Field, values: Tensor | CoarseLogits | HeadLogits, first_row: int) -> Arrays:
    expected = field.shape if field.form == "dense" else (field.classes,)
    fits = field.form == "coarse"
    if not isinstance(values, CoarseLogits):
        fits = tuple(values.shape[1:]) == expected or expected == (0,)
    if not fits:
        raise ModelError(
            f"the teacher must return {field.name!r} in one shape, got {describe(values)} after "
            f"rows of {list(expected)}; bring all examples to one shape (texts: pad all of them "
            "to one length, in training too, by padding='max_length' of the tokenizer), give "
            "`top_k` for a teacher of some classes, or learn this from the teacher itself"
        )
    if isinstance(values, CoarseLogits):
        return _encode_coarse(field, values, first_row)
    if field.form == "coarse":
        parts = [
            _encode_coarse(field, CoarseLogits.of(logits), first_row + rows.start)
            for rows, logits in _some_at_a_time(values)
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]
    if field.form == "sampled":
        points, found = sampling_points(len(values), field.shape[0], first_row), list[Tensor]()
        for rows, part in _some_at_a_time(values):
            logits = part.cpu()
            fits = _fits(field, logits, logits).all(dim=1)
            _check_finite(field, fits, part, first_row + rows.start)
            found.append(sample_classes(logits, points[rows], field.temperature))
        return [_ids(field, torch.cat(found))]
    if isinstance(values, HeadLogits):
        values = values.logits()
    stored = values.detach().to("cpu", _TORCH[field.dtype])
    bits = _bits(stored)
    # As integers, the largest float without a sign and with one: many times faster than `isfinite`.
    signed, unsigned = _INTEGERS[bits.itemsize]
    infinity, sign = _INFINITY[field.dtype], 1 << (8 * bits.itemsize - 1)
    largest = bits.view(signed).max(initial=0), bits.view(unsigned).max(initial=0)
    if largest[0] >= infinity or largest[1] >= infinity + sign:
        finite = _fits(field, stored, values.detach().cpu()).flatten(1).all(dim=1)
        _check_finite(field, finite, values, first_row)
    return [bits]


def _some_at_a_time(values: Tensor | HeadLogits) -> Iterator[tuple[slice, Tensor]]:
    """Yield slices of rows and their logits, which for all tokens of a batch would be too many."""
    for rows in list(chunks_of_rows(values.shape, values.device)) or [slice(0, 0)]:
        part = values[rows]
        yield rows, (part if isinstance(part, Tensor) else part.logits()).detach()


def _encode_coarse(field: Field, coarse: CoarseLogits, first_row: int) -> Arrays:
    (k,) = field.shape
    if coarse.sampled_at is not None:
        raise ModelError(
            "a teacher that labels must return probabilities, got sampled classes; label with "
            "the teacher from which they were sampled"
        )
    coarse = replace(coarse, logits=coarse.logits.float(), other=coarse.other.float())
    stored = narrowed(coarse, k).to(torch.device("cpu"))
    top = stored.logits[:, 0].where(stored.ids[:, 0] >= 0, 0)
    logits = (stored.logits - top[:, None]).to(_TORCH[field.dtype])
    other = (stored.other - top).to(_TORCH[field.dtype])
    finite = (_fits(field, logits, stored.logits) | (stored.ids < 0)).all(dim=1) & ~other.isnan()
    finite &= other != torch.inf
    _check_finite(field, finite, coarse.logits, first_row)
    return [_ids(field, stored.ids), _bits(logits), _bits(other)]


def _ids(field: Field, ids: Tensor) -> NDArray[np.generic]:
    """Return class ids as they are on disk; −1 becomes 65,535, or 0 where ids are packed."""
    bits, values = field.id_bits, ids.numpy()
    return values.astype(field.id_dtype) if bits is None else packed_ids(values.clip(min=0), bits)


def _fits(field: Field, stored: Tensor, values: Tensor) -> Tensor:
    """Tell which numbers are finite as they are stored, or −∞ of a class that is ruled out."""
    if field.name != OUTPUT_NAME:
        return stored.isfinite()
    possible = (values > -torch.inf).any(dim=-1, keepdim=True)
    return (stored.isfinite() | (values == -torch.inf)) & possible


def _check_finite(field: Field, finite: Tensor, values: Tensor, first_row: int) -> None:
    """Refuse values whose rows are not all `finite`, `[batch]`, in the field's dtype."""
    if bool(finite.all()):
        return
    index = int((~finite).nonzero()[0])
    row = values[index].detach().float().flatten()
    possible = row != -torch.inf
    if field.name == OUTPUT_NAME and bool(possible.any()):
        row = row[possible]
    worst = row[row.abs().nan_to_num(torch.inf, posinf=torch.inf).argmax()].item()
    where = f"in row {first_row + index}"
    if field.form == "coarse" or not math.isfinite(worst):
        raise NonFiniteError(
            f"the teacher's {field.name!r} must be finite, got {worst} {where}; correct the "
            "teacher, or that example"
        )
    raise StoreError(
        f"the teacher's {field.name!r} must fit {field.dtype}, got {worst:g} {where}; label with "
        "dtype='float32'"
    )


def decode(field: Field, arrays: Arrays) -> Tensor | CoarseLogits:
    """Return the output or feature in the rows of a field's columns, in the stored dtype.

    With several answers an example, those for all its positions follow one another.
    """
    several = len(field.positions)
    if several:
        arrays = [each.reshape(-1, *each.shape[1 + several :]) for each in arrays]
    if field.form == "dense":
        return _floats(arrays[0], field.dtype)
    bits = field.id_bits
    given = arrays[0] if bits is None else unpacked_ids(arrays[0], field.shape[0], bits)
    if field.form == "sampled":
        found = counted(given.astype(np.int64), field.temperature)
        return replace(found, classes=field.classes if field.complete else None)
    ids, logits = torch.from_numpy(given.astype(np.int64)), _floats(arrays[1], field.dtype)
    if bits is not None:
        ids[logits == -torch.inf] = -1  # no number is free to mark an unused column
    elif field.id_dtype == "uint16":
        ids[ids == _UNUSED] = -1
    other = _floats(arrays[2], field.dtype)
    return CoarseLogits(ids, logits, other, classes=field.classes if field.complete else None)


def packed_ids(ids: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Return ids `[rows, k]` in so many bits each, the lowest first, `[rows, ⌈k · bits / 8⌉]`."""
    positions = np.arange(bits, dtype=np.int64)
    single = ((ids[:, :, None] >> positions) & 1).astype(np.uint8)
    return np.packbits(single.reshape(len(ids), ids.shape[1] * bits), axis=1, bitorder="little")


def unpacked_ids(packed: NDArray[np.generic], k: int, bits: int) -> NDArray[np.int64]:
    """Return the ids that `packed_ids` packed, `[rows, k]`."""
    single = np.unpackbits(packed.astype(np.uint8), axis=1, count=k * bits, bitorder="little")
    single = single.reshape(len(packed), k, bits)
    ids = np.zeros((len(packed), k), dtype=np.int64)
    for bit in range(bits):
        ids |= single[:, :, bit].astype(np.int64) << bit
    return ids


def narrowed(coarse: CoarseLogits, k: int) -> CoarseLogits:
    """Keep the k most probable classes of each row; the others are added to "other".

    Shorter rows are padded with −1.
    """
    padded = widened(coarse, k)
    logits, columns = padded.logits.topk(k, dim=1)
    others = padded.logits.scatter(1, columns, -torch.inf).logsumexp(dim=1)
    ids = padded.ids.gather(1, columns)
    return CoarseLogits(ids, logits, torch.logaddexp(coarse.other, others))


def sampling_points(rows: int, count: int, first_row: int) -> Tensor:
    """Return points in [0, 1), `[rows, count]`, one in each of `count` equal parts of it, sorted.

    The seed is the first row, so that a block that is made again is the same.
    """
    numbers = np.random.Generator(np.random.Philox(key=first_row)).random((rows, count))
    points = (torch.arange(count) + torch.from_numpy(numbers)) / count
    return points.clamp(max=1 - 2**-53)  # rounding may give 1 for the last one


def sample_classes(logits: Tensor, points: Tensor, temperature: float) -> Tensor:
    """Return ids `[rows, count]`, sorted, sampled from softmax(logits / T) with replacement.

    Stratified sampling: the points are mapped through the cumulative probabilities. The expected
    frequency of a class is its probability, as with independent samples, with less variance.
    """
    cumulative = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    return torch.searchsorted(cumulative / cumulative[:, -1:], points, right=True)


def counted(ids: NDArray[np.int64], temperature: float) -> CoarseLogits:
    """Return the distinct classes of sorted ids `[batch, k]`, with their log-frequencies."""
    sampled = torch.from_numpy(ids)
    is_new = torch.ones_like(sampled)
    is_new[:, 1:] = sampled[:, 1:] != sampled[:, :-1]
    columns = is_new.cumsum(dim=1) - 1
    frequencies = torch.zeros(sampled.shape).scatter_add_(
        1, columns, torch.full(sampled.shape, 1 / sampled.shape[1])
    )
    classes = torch.full_like(sampled, -1).scatter_(1, columns, sampled)
    other = frequencies.new_full(frequencies.shape[:1], -torch.inf)
    return CoarseLogits(classes, frequencies.log(), other, sampled_at=temperature)


def _bits(values: Tensor) -> NDArray[np.generic]:
    """Return floats as a numpy array; bfloat16 as its bits."""
    if values.dtype == torch.bfloat16:
        return values.contiguous().view(torch.int16).numpy().view(np.uint16)
    return values.numpy()


def _floats(array: NDArray[np.generic], dtype: str) -> Tensor:
    if dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
