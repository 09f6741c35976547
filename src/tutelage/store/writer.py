"""Write a store block by block, so that finished blocks survive a kill."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO
from zlib import crc32

import numpy as np
from torch import Tensor

from tutelage.errors import ModelError, StoreError
from tutelage.files import flush, remove_drafts, write_at, writing
from tutelage.signals import CoarseLogits, Signals
from tutelage.store.fields import Arrays, encode
from tutelage.store.journal import (
    Checksums,
    Journal,
    journals,
    known_checksums,
    read_journals,
)
from tutelage.store.manifest import Manifest

_SECONDS_BETWEEN_COMMITS = 1.0


class StoreWriter:
    """Writes blocks of an unfinished store, as one of several processes or alone.

    A block is finished when it has a line in its process's log, which is written after its rows are
    on disk. After a kill, about a second's work and the current block are repeated.
    """

    def __init__(self, folder: Path, manifest: Manifest, process: int = 0) -> None:
        self.folder, self.manifest, self.layout = folder, manifest, manifest.layout
        self._columns = manifest.columns
        self._open: dict[str, IO[bytes]] = {}
        self._waiting: dict[int, Checksums] = {}
        self._last_commit = time.monotonic()
        with writing(folder, StoreError):
            self.finished = set(read_journals(folder, len(self._columns), self.layout.blocks))
            self._journal = Journal(folder, process)
            self._make_files()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Log the finished blocks; after an error, if possible."""
        try:
            self.commit()
        except StoreError:
            if error is None:
                raise
        finally:
            self._close_files()
            self._journal.close()

    def _make_files(self) -> None:
        """Create missing files, and write the header and set the size of all.

        A file has its full size from the beginning (it is sparse), so that each of several
        processes can write its own rows.
        """
        for shard in range(self.layout.shards):
            for column in self._columns:
                entries = len(self.layout.shard_entries(shard, column.by_answer))
                path = self.folder / column.file(shard)
                path.touch()
                with path.open("r+b", buffering=0) as file:
                    file.truncate(column.file_bytes(entries))
                    write_at(file, 0, column.header(entries))
                    flush(file)

    def _close_files(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def pending(self, process: int = 0, of: int = 1) -> list[int]:
        """Return the blocks of a process among those that were not finished at the beginning."""
        left = [block for block in range(self.layout.blocks) if block not in self.finished]
        return left[len(left) * process // of : len(left) * (process + 1) // of]

    def write(self, block: int, pieces: Iterable[Signals]) -> None:
        """Write a block, from the teacher's signals for its rows, in order, batch by batch."""
        rows, done = self.layout.block(block), 0
        checksums = [0] * len(self._columns)
        for signals in pieces:
            part = range(rows.start + done, rows.start + done + _examples(signals))
            if part.stop > rows.stop:
                break
            arrays = self._encoded(signals, part)
            with writing(self.folder, StoreError):
                for number, (column, array) in enumerate(zip(self._columns, arrays, strict=True)):
                    content = column.bytes_of(array)
                    checksums[number] = crc32(content, checksums[number])
                    before = self.layout.entries(range(rows.start, part.start), column.by_answer)
                    name, start = column.start_of(self.layout, block)
                    if name not in self._open:
                        self._open[name] = (self.folder / name).open("r+b", buffering=0)
                    write_at(self._open[name], start + len(before) * column.entry_bytes, content)
            done += len(part)
        if done != len(rows):
            raise StoreError(
                f"block {block} must have {len(rows)} rows, got another number from the teacher; "
                "let it return one output for each example"
            )
        self._waiting[block] = tuple(checksums)
        if time.monotonic() - self._last_commit > _SECONDS_BETWEEN_COMMITS:
            self.commit()

    def commit(self) -> None:
        """Flush the blocks that were written, and log them as finished."""
        # Not retried after a failure: a second flush may succeed although the system has dropped
        # what the first one could not write.
        waiting, self._waiting = self._waiting, {}
        with writing(self.folder, StoreError):
            for file in self._open.values():
                flush(file)
            self._close_files()
            if waiting:
                self._journal.write(waiting)
        self._last_commit = time.monotonic()

    def _encoded(self, signals: Signals, rows: range) -> Arrays:
        fields, output, offsets = self.manifest.fields, signals.output, self.layout.offsets
        if offsets is not None:  # space is reserved for the answers that were counted
            expected = np.diff(offsets[rows.start : rows.stop + 1]).tolist()
            found = None if signals.rows is None else signals.rows.counts.tolist()
            if found != expected:
                raise StoreError(
                    f"the teacher must answer for {expected[:4]} tokens of the examples from row "
                    f"{rows.start} on, got {None if found is None else found[:4]}; give data that "
                    "does not change, and label again into another folder"
                )
        if fields[0].form == "coarse" and self.manifest.settings.top_k is None:
            ids = output.ids if isinstance(output, CoarseLogits) else output
            width, known = ids.shape[1] if isinstance(ids, Tensor) else 0, fields[0].shape[0]
            if width > known:  # the least probable would be lost
                raise ModelError(
                    f"the teacher must know at most {known} classes of an example, as in its first "
                    f"batch, got {width}; give `top_k`, the largest number to store"
                )
        return [array for field in fields for array in encode(field, signals, rows.start)]


def _examples(signals: Signals) -> int:
    """Return of how many examples signals are."""
    if signals.rows is not None:
        return len(signals.rows.mask)
    if isinstance(signals.output, CoarseLogits):
        return len(signals.output.ids)
    tensors = (signals.output, *signals.features.values())
    return len(next(each for each in tensors if each is not None))


def close_store(folder: Path, manifest: Manifest) -> None:
    """Finish a store whose blocks are all finished: write the checksums to its manifest."""
    layout, columns = manifest.layout, manifest.columns
    with writing(folder, StoreError):
        finished = read_journals(folder, len(columns), layout.blocks)
        missing = layout.blocks - len(finished)
        if missing:
            raise StoreError(
                f"all {layout.blocks} blocks of {folder} must be finished, got {missing} that are "
                "not, since another process stopped; call again: finished blocks are kept"
            )
        checksums = {
            column.file(shard): "".join(
                f"{finished[block][number]:08x}" for block in layout.blocks_of_shard(shard)
            )
            for number, column in enumerate(columns)
            for shard in range(layout.shards)
        }
        manifest.model_copy(update={"checksums": checksums}).write(folder)
        tidy(folder)


def reopen_store(folder: Path, manifest: Manifest, damaged: set[int]) -> Manifest:
    """Make a store unfinished again, without its damaged blocks."""
    known = known_checksums(folder, manifest).items()
    opened = manifest.model_copy(update={"checksums": None})
    with writing(folder, StoreError):
        tidy(folder)
        journal = Journal(folder, 0)
        journal.write({block: checksums for block, checksums in known if block not in damaged})
        journal.close()
        opened.write(folder)
    return opened


def tidy(folder: Path) -> None:
    """Remove logs and drafts, which a finished store does not need."""
    for path in journals(folder):
        path.unlink(missing_ok=True)
    remove_drafts(folder)
