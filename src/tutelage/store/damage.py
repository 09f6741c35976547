"""Check the files of a store, one for each column and shard."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from tutelage.store.fields import Column
from tutelage.store.journal import known_checksums
from tutelage.store.layout import Layout
from tutelage.store.manifest import Manifest

_SAMPLED = 8


@dataclass(frozen=True, slots=True)
class Damage:
    """One fault of one file, and the blocks to compute again; a header is only rewritten."""

    file: str
    what: str
    blocks: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def find_damage(folder: Path, manifest: Manifest, sampled: bool = False) -> Iterator[Damage]:
    """Yield the faults of the files of a store; of an unfinished one, of its finished blocks.

    Sizes and headers are always checked. Checksums are checked for all blocks, or with `sampled`
    for the first, the last and a few random blocks.
    """
    layout, columns = manifest.layout, manifest.columns
    for column in columns:
        for shard in range(layout.shards):
            what = _fault_of(folder, column, layout, shard)
            if what is not None:
                yield Damage(column.file(shard), what)
    known = known_checksums(folder, manifest)
    blocks = sorted(known)
    if sampled and len(blocks) > _SAMPLED:
        between = random.Random().sample(blocks[1:-1], _SAMPLED - 2)  # noqa: S311 - not for security
        blocks = [blocks[0], *sorted(between), blocks[-1]]
    for number, column in enumerate(columns):
        for block in blocks:
            if _block_checksum(folder, column, layout, block) != known[block][number]:
                view, indices = layout.view_of(block)
                where = f"examples {indices[0]} to {indices[-1]}"
                where += f" of view {view}" if layout.views > 1 else ""
                file = column.file(layout.shard_of(block))
                yield Damage(file, f"is damaged in block {block} ({where})", (block,))


def _fault_of(folder: Path, column: Column, layout: Layout, shard: int) -> str | None:
    """Return what is wrong with the size or header of a shard's file; None if nothing is."""
    entries = len(layout.shard_entries(shard, column.by_answer))
    header, size = column.header(entries), column.file_bytes(entries)
    try:
        with (folder / column.file(shard)).open("rb") as file:
            found, there = os.fstat(file.fileno()).st_size, file.read(len(header))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if found != size:
        return f"has {found:,} bytes instead of {size:,}"
    return None if there == header else "has a damaged header"


def _block_checksum(folder: Path, column: Column, layout: Layout, block: int) -> int | None:
    """Return the CRC-32 of a block on disk; None if it cannot be read completely."""
    name, begin = column.start_of(layout, block)
    size = len(layout.entries(layout.block(block), column.by_answer)) * column.entry_bytes
    try:
        with (folder / name).open("rb") as file:
            file.seek(begin)
            content = file.read(size)
    except OSError:
        return None
    return crc32(content) if len(content) == size else None
