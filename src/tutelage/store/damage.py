"""Find damage in a store, or in a sample of its blocks."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tutelage.store.manifest import Manifest
from tutelage.store.shards import block_checksum, check_file
from tutelage.store.writer import known_checksums

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
            what = check_file(folder, column, layout, shard)
            if what is not None:
                yield Damage(column.file(shard), what)
    known = known_checksums(folder, manifest)
    blocks = sorted(known)
    if sampled and len(blocks) > _SAMPLED:
        between = random.Random().sample(blocks[1:-1], _SAMPLED - 2)  # noqa: S311 - not for security
        blocks = [blocks[0], *sorted(between), blocks[-1]]
    for number, column in enumerate(columns):
        for block in blocks:
            if block_checksum(folder, column, layout, block) != known[block][number]:
                view, indices = layout.view_of(block)
                where = f"examples {indices[0]} to {indices[-1]}"
                where += f" of view {view}" if layout.views > 1 else ""
                file = column.file(layout.shard_of(block))
                yield Damage(file, f"is damaged in block {block} ({where})", (block,))
