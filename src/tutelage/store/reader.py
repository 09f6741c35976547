"""Read a finished store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import StoreError
from tutelage.signals import CoarseLogits
from tutelage.store.damage import Damage, find_damage
from tutelage.store.fields import Field, decode
from tutelage.store.layout import Layout
from tutelage.store.manifest import Manifest

_MOST_NAMED = 3


class TargetStore:
    """A teacher's targets for a data set, on disk; made by `tl.label`.

    Rows are read through memory maps when they are used, and are not kept in memory.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self.layout: Layout = manifest.layout
        self._maps: dict[int, list[list[NDArray[np.generic]]]] = {}

    @classmethod
    def open(cls, path: str | Path) -> TargetStore:
        """Open a store after a quick check.

        The check covers the manifest, each file's size and header, and the checksums of a random
        sample of blocks; `verify` checks all blocks.

        Raises:
            StoreError: There is no store, it is not finished, of another format, or damaged.
        """
        folder = Path(path).expanduser()
        manifest = Manifest.read(folder)
        if manifest.checksums is None:
            raise StoreError(
                f"the store {folder} must be finished, got one that is unfinished; call tl.label "
                "with the same arguments to finish it"
            )
        found = list(map(str, find_damage(folder, manifest, sampled=True)))
        if found:
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise StoreError(
                f"the store {folder} must be as it was written, got damage: "
                f"{'; '.join(found[:_MOST_NAMED])}{more}; call tl.label with the same arguments "
                "and verify=True, which computes the damaged blocks again"
            )
        return cls(folder, manifest)

    def __len__(self) -> int:
        return self.layout.examples

    def __repr__(self) -> str:
        names = [field.name for field in self.fields]
        return f"TargetStore({str(self.path)!r}, {len(self)} examples, {self.views} views, {names})"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_maps": {}}  # another process opens the files itself

    @property
    def views(self) -> int:
        """The number of views of each example."""
        return self.layout.views

    @property
    def fields(self) -> tuple[Field, ...]:
        """What is stored of each example."""
        return self.manifest.fields

    @property
    def bytes(self) -> int:
        """The size of all files of rows."""
        return self.manifest.file_bytes

    def read(
        self, name: str, rows: Tensor | NDArray[np.integer] | Sequence[int]
    ) -> Tensor | CoarseLogits:
        """Return some rows of a field, in the stored dtype.

        With several answers an example, those of a row follow one another.

        Args:
            name: `"output"`, or the layer path of a feature.
            rows: Row numbers, view · examples + index, in any order.

        Raises:
            StoreError: There is no such field or row, or rows are not integers.
        """
        names = [field.name for field in self.fields]
        if name not in names:
            raise StoreError(
                f"the store must contain the field {name!r}, got one with {names}; label again "
                "with an objective that needs it, into another folder"
            )
        number = names.index(name)
        wanted, field = self._numbers(rows), self.fields[number]
        if field.by_answer:
            first, counts = cast("Any", self.layout.offsets)[wanted], self.answers(wanted)
            wanted = np.repeat(first - counts.cumsum() + counts, counts) + np.arange(counts.sum())
        starts = np.array(
            [
                self.layout.shard_entries(each, field.by_answer).start
                for each in range(self.layout.shards)
            ]
        )
        return decode(field, [_take(shards, wanted, starts) for shards in self._shards(number)])

    def answers(self, rows: Tensor | NDArray[np.integer] | Sequence[int]) -> NDArray[np.int64]:
        """Return how many answers some rows have, in a store of examples with different numbers."""
        numbers, offsets = self._numbers(rows), cast("Any", self.layout.offsets)
        return offsets[numbers + 1] - offsets[numbers]

    def verify(self) -> Iterator[Damage]:
        """Check every byte and yield all damage."""
        return find_damage(self.path, self.manifest)

    def _shards(self, number: int) -> list[list[NDArray[np.generic]]]:
        """Return the read-only memory maps of each column of a field."""
        if number not in self._maps:
            # As plain views: memmap's own indexing costs several times more.
            self._maps[number] = [
                [
                    np.asarray(np.load(self.path / column.file(shard), mmap_mode="r"))
                    for shard in range(self.layout.shards)
                ]
                for column in self.fields[number].columns(number)
            ]
        return self._maps[number]

    def _numbers(self, rows: Tensor | NDArray[np.integer] | Sequence[int]) -> NDArray[np.int64]:
        """Return row numbers as an array; a mask would be read as rows 0 and 1, −1 as the last."""
        numbers = np.asarray(rows)
        if numbers.size == 0:
            return numbers.astype(np.int64)
        last = self.layout.rows - 1
        if numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() > last:
            raise StoreError(
                f"rows must be integers from 0 to {last}, view · {len(self)} + index, got "
                f"{numbers.dtype} from {numbers.min()} to {numbers.max()}; of a mask, give "
                "mask.nonzero().flatten()"
            )
        return numbers.astype(np.int64, copy=False)


def _take(
    shards: list[NDArray[np.generic]], entries: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.generic]:
    """Return entries of a column, from shards that begin at the entries `starts`."""
    if len(shards) == 1:
        return shards[0].take(entries, axis=0)
    result = np.empty((len(entries), *shards[0].shape[1:]), dtype=shards[0].dtype)
    owners = np.searchsorted(starts, entries, side="right") - 1
    for shard in np.unique(owners):
        inside = owners == shard
        result[inside] = shards[shard].take(entries[inside] - starts[shard], axis=0)
    return result
