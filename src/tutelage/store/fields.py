"""What is stored of each example: fields, in one of three forms, as columns in `.npy` files.

`numpy.load(file, mmap_mode="r")` opens each file alone. The header is built here and not by numpy,
so that the bytes of a store do not depend on numpy's version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from tutelage.wants import Fields

OUTPUT_NAME = "output"
_MOST_UINT16 = 2**16 - 1  # larger than any id; marks an unused column

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

Float = Literal["float16", "float32", "bfloat16"]


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

    def bytes_of(self, array: NDArray[np.generic]) -> memoryview:
        """Return the bytes of some entries as they are on disk."""
        content = np.ascontiguousarray(array, self.numpy_dtype)
        return content.reshape(-1).view(np.uint8).data  # `cast` refuses what is empty


class Entry(BaseModel):
    """A part of a manifest; a missing or unknown entry, or another type, is an error."""

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
        temperature: At which classes are sampled; 1 for the other forms.
    """

    name: str
    form: Literal["dense", "coarse", "sampled"]
    dtype: Float
    shape: tuple[NonNegativeInt, ...]
    classes: NonNegativeInt = 0
    temperature: PositiveFloat = 1.0
    positions: tuple[NonNegativeInt, ...] = ()
    by_answer: bool = False

    @property
    def id_bits(self) -> int | None:
        """The bits of a class id of more classes than two bytes can number; None for others."""
        return (self.classes - 1).bit_length() if self.classes > _MOST_UINT16 else None

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


class Settings(Entry):
    """The arguments of `label`, which must be equal for a call to resume a store.

    The batch size is one of them, since another may change the last bit of the teacher's outputs.
    """

    output: bool
    features: tuple[str, ...]
    top_k: PositiveInt | None
    sampled_classes: PositiveInt | None = None
    temperature: PositiveFloat = 1.0
    dtype: Float
    batch_size: PositiveInt
    precision: str
    compile: bool

    @property
    def fields(self) -> Fields:
        """The signals that are required of the teacher."""
        return Fields(self.output, frozenset(self.features))
