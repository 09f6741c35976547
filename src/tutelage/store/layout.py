"""The order of rows on disk: rows in blocks, blocks in shards, one view after another.

Row number = view · examples + index. A block is a range of rows of one view, and the unit that is
logged, checked and computed again. A shard is one `.npy` file of several blocks of one column.
Where examples have several answers, such as a text with one for each token, a row has as many
entries as its example has answers, one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 1024
_BLOCK_BYTES = 4 * 2**20
_SHARD_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are divided; the last block of a view and the last shard may be smaller.

    `offsets` has the first answer of each row, and the number of all, for columns of answers.
    """

    examples: int
    views: int
    block_rows: int
    shard_blocks: int
    offsets: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def fitting(
        cls, examples: int, views: int, batch_size: int, row_bytes: int, by_batch: bool = False
    ) -> Layout:
        """Return a layout for rows whose widest column takes `row_bytes`.

        A block is about 1,024 rows or 4 MiB, whichever is less, in whole batches, since the last
        bit of a teacher's output may depend on the rest of the batch; `by_batch`, it is one batch.
        A shard is about 1 GiB.
        """
        rows = 1 if by_batch else min(_BLOCK_ROWS, max(1, _BLOCK_BYTES // row_bytes))
        block_rows = batch_size * -(-rows // batch_size)
        shard_blocks = max(1, _SHARD_BYTES // (block_rows * row_bytes))
        return cls(examples, views, block_rows, shard_blocks)

    @property
    def rows(self) -> int:
        """The number of rows, of all views."""
        return self.examples * self.views

    @property
    def blocks_per_view(self) -> int:
        """The number of blocks of one view."""
        return -(-self.examples // self.block_rows)

    @property
    def blocks(self) -> int:
        """The number of blocks, of all views."""
        return self.blocks_per_view * self.views

    @property
    def shards(self) -> int:
        """The number of files of each column."""
        return -(-self.blocks // self.shard_blocks)

    def view_of(self, block: int) -> tuple[int, range]:
        """Return the view of a block, and the indices of its examples in the data set."""
        view, number = divmod(block, self.blocks_per_view)
        first = number * self.block_rows
        return view, range(first, min(first + self.block_rows, self.examples))

    def block(self, number: int) -> range:
        """Return the rows of a block."""
        view, indices = self.view_of(number)
        return range(view * self.examples + indices.start, view * self.examples + indices.stop)

    def blocks_of_shard(self, number: int) -> range:
        """Return the blocks of a shard."""
        return range(self.blocks)[number * self.shard_blocks :][: self.shard_blocks]

    def shard_entries(self, number: int, by_answer: bool) -> range:
        """Return the entries of a shard of a column."""
        blocks = self.blocks_of_shard(number)
        rows = range(self.block(blocks[0]).start, self.block(blocks[-1]).stop)
        return self.entries(rows, by_answer)

    def entries(self, rows: range, by_answer: bool) -> range:
        """Return the entries of some rows in a column: the rows themselves, or their answers."""
        if not by_answer or self.offsets is None:
            return rows
        return range(int(self.offsets[rows.start]), int(self.offsets[rows.stop]))

    def shard_of(self, block: int) -> int:
        """Return the shard of a block."""
        return block // self.shard_blocks


def runs(blocks: list[int], layout: Layout) -> Iterator[range]:
    """Yield the longest ranges of consecutive blocks of one view, in order."""
    first = 0
    for i in range(1, len(blocks) + 1):
        ends = i == len(blocks) or blocks[i] != blocks[i - 1] + 1
        if ends or blocks[i] % layout.blocks_per_view == 0:
            yield range(blocks[first], blocks[i - 1] + 1)
            first = i
