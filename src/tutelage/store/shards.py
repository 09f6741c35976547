"""Create, write, read and check the files of a store, one for each column and shard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import IO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tutelage.files import flush, write_at
from tutelage.store.fields import Column
from tutelage.store.layout import Layout

_BYTES_AT_ONCE = 2**20


class ShardFiles:
    """The open files of a store that is being written.

    A file has its full size from the beginning (it is sparse), so that each of several processes
    can write its own rows.

    Args:
        folder: The store.
        columns: Of all fields.
        layout: How rows are divided.
    """

    def __init__(self, folder: Path, columns: tuple[Column, ...], layout: Layout) -> None:
        self.folder, self.columns, self.layout = folder, columns, layout
        self._open: dict[tuple[int, int], IO[bytes]] = {}
        self._made: set[tuple[int, int]] = set()
        self._stack = ExitStack()

    def make_all(self) -> None:
        """Create missing files, and write the header and set the size of all."""
        for shard in range(self.layout.shards):
            rows = len(self.layout.shard(shard))
            for number, column in enumerate(self.columns):
                path = self._path(number, shard)
                path.touch()
                with path.open("r+b", buffering=0) as file:
                    file.truncate(column.file_bytes(rows))
                    write_at(file, 0, column.header(rows))
                self._made.add((number, shard))

    def write(self, column: int, block: int, row: int, content: memoryview) -> None:
        """Write rows of a block, beginning at its row `row`."""
        each = self.columns[column]
        shard, begin = _begin(each, self.layout, block)
        write_at(self._file(column, shard), begin + row * each.row_bytes, content)

    def flush(self) -> None:
        """Flush rows and headers to disk, and close the files."""
        made, self._made = self._made - self._open.keys(), set()
        for file in self._open.values():
            flush(file)
        self.close()
        for column, shard in sorted(made):  # one at a time, since there may be thousands
            with self._path(column, shard).open("r+b", buffering=0) as file:
                flush(file)

    def close(self) -> None:
        """Close the files."""
        self._open.clear()
        self._stack.close()

    def _file(self, column: int, shard: int) -> IO[bytes]:
        key = (column, shard)
        if key not in self._open:
            path = self._path(column, shard)
            self._open[key] = self._stack.enter_context(path.open("r+b", buffering=0))
        return self._open[key]

    def _path(self, column: int, shard: int) -> Path:
        return self.folder / self.columns[column].file(shard)


@lru_cache(maxsize=256)  # a block is written in several pieces
def _begin(column: Column, layout: Layout, block: int) -> tuple[int, int]:
    """Return the shard of a block, and the offset of its first byte in the shard's file."""
    shard, span = layout.location(block)
    return shard, len(column.header(len(layout.shard(shard)))) + span.start * column.row_bytes


def check_file(folder: Path, column: Column, layout: Layout, shard: int) -> str | None:
    """Return what is wrong with the size or header of a shard's file; None if nothing is."""
    rows = len(layout.shard(shard))
    path, size = folder / column.file(shard), column.file_bytes(rows)
    try:
        with path.open("rb") as file:
            found, header = os.fstat(file.fileno()).st_size, file.read(len(column.header(rows)))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if found != size:
        return f"has {found:,} bytes instead of {size:,}"
    return None if header == column.header(rows) else "has a damaged header"


def block_checksum(folder: Path, column: Column, layout: Layout, block: int) -> int | None:
    """Return the CRC-32 of a block on disk; None if it cannot be read completely."""
    shard, begin = _begin(column, layout, block)
    left, value = len(layout.block(block)) * column.row_bytes, 0
    try:
        with (folder / column.file(shard)).open("rb", buffering=0) as file:
            file.seek(begin)
            while left and (piece := file.read(min(left, _BYTES_AT_ONCE))):
                left, value = left - len(piece), crc32(piece, value)
    except OSError:
        return None
    return None if left else value


def open_shards(folder: Path, column: Column, layout: Layout) -> Iterator[NDArray[np.generic]]:
    """Yield a column's shards as read-only memory maps."""
    for shard in range(layout.shards):
        mapped = np.load(folder / column.file(shard), mmap_mode="r", allow_pickle=False)
        yield np.asarray(mapped)  # a plain view: memmap's own indexing costs several times more
