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
_NUMPY = {"float16": "<f2", "float32": "<f4", "bfloat16": "<u2", "uint16": "<u2", "int32": "<i4"}

Float = Literal["float16", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Column:
    """An array with a row of some shape for each example of each view.

    Numpy does not have bfloat16: its bits are stored as unsigned integers.
    """

    stem: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The dtype in numpy."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.numpy_dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def file(self, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"{self.stem}.{shard:04d}.npy"

    def header(self, rows: int) -> bytes:
        """Return the `.npy` header of a shard of `rows` rows."""
        entries = f"'descr': '{_NUMPY[self.dtype]}', 'fortran_order': False"
        text = f"{{{entries}, 'shape': {(rows, *self.shape)}, }}".encode("ascii")
        length = len(_MAGIC) + 2 + len(text) + 1
        text += b" " * (-length % _ALIGNMENT) + b"\n"
        return _MAGIC + len(text).to_bytes(2, "little") + text

    def file_bytes(self, rows: int) -> int:
        """Return the size of the file of a shard of `rows` rows."""
        return len(self.header(rows)) + rows * self.row_bytes

    def bytes_of(self, array: NDArray[np.generic]) -> memoryview:
        """Return the bytes of some rows as they are on disk."""
        return np.ascontiguousarray(array, self.numpy_dtype).data.cast("B")


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
            stored; empty with one.
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

    @property
    def id_dtype(self) -> str:
        """The dtype of class ids: two bytes if the number of classes is known and small enough."""
        return "uint16" if 0 < self.classes <= _MOST_UINT16 else "int32"

    def columns(self, number: int) -> tuple[Column, ...]:
        """Return the columns of the field, which is field `number` of the store."""
        stem = OUTPUT_NAME if self.name == OUTPUT_NAME else f"feature{number}"
        shape = (*self.positions, *self.shape)
        if self.form == "dense":
            return (Column(stem, self.dtype, shape),)
        if self.form == "sampled":
            return (Column(f"{stem}.ids", self.id_dtype, shape),)
        return (
            Column(f"{stem}.ids", self.id_dtype, shape),
            Column(f"{stem}.logits", self.dtype, shape),
            Column(f"{stem}.other", self.dtype, self.positions),
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
