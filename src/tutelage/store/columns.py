"""Columns: the arrays that a field is kept in, and the `.npy` files that hold them.

`numpy.load(file, mmap_mode="r")` opens each file alone. The header is built here and not by numpy,
so that the bytes of a store do not depend on numpy's version.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 64
_NUMPY = {"float16": "<f2", "float32": "<f4", "bfloat16": "<u2", "uint16": "<u2", "int32": "<i4"}


@dataclass(frozen=True, slots=True)
class Column:
    """One array with a row for each example of each view.

    Args:
        stem: Of its file names.
        dtype: `"float16"`, `"float32"`, `"uint16"`, `"int32"`, or `"bfloat16"`, which numpy does
            not know: its bits are kept as unsigned integers.
        shape: Of a row.
    """

    stem: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def numpy_dtype(self) -> np.dtype[np.generic]:
        """The dtype that numpy sees."""
        return np.dtype(_NUMPY[self.dtype])

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.numpy_dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def file(self, shard: int) -> str:
        """Return the name of a shard's file."""
        return f"{self.stem}.{shard:04d}.npy"

    def header(self, rows: int) -> bytes:
        """Return the `.npy` header of a shard with so many rows."""
        entries = f"'descr': '{_NUMPY[self.dtype]}', 'fortran_order': False"
        text = f"{{{entries}, 'shape': {(rows, *self.shape)}, }}".encode("ascii")
        length = len(_MAGIC) + 2 + len(text) + 1
        text += b" " * (-length % _ALIGNMENT) + b"\n"
        return _MAGIC + len(text).to_bytes(2, "little") + text

    def file_bytes(self, rows: int) -> int:
        """Return the size of a shard's file with so many rows."""
        return len(self.header(rows)) + rows * self.row_bytes

    def bytes_of(self, array: NDArray[np.generic]) -> memoryview:
        """Return the bytes of some rows as they are on the disk."""
        return np.ascontiguousarray(array, self.numpy_dtype).data.cast("B")
