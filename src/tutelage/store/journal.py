"""The log of finished blocks while a store is written: a line per block, a file per process.

A line has the block's number, the CRC-32 of the block in each column, and the CRC-32 of the line
itself. A last line that a kill cut short is ignored.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from tutelage.files import flush, write_at
from tutelage.store.manifest import Manifest

Checksums = tuple[int, ...]
"""The CRC-32 of a block in each column."""


class Journal:
    """Writes the log of one process."""

    def __init__(self, folder: Path, process: int) -> None:
        path = folder / f"journal.{process:04d}"
        path.touch()
        self._file = path.open("r+b", buffering=0)
        self._end = _whole_lines(path)[1]
        self._file.truncate(self._end)

    def write(self, finished: dict[int, Checksums]) -> None:
        """Append blocks and flush them to disk; their rows must have been flushed before."""
        texts = (
            " ".join([str(number), *(f"{each:08x}" for each in checksums)])
            for number, checksums in finished.items()
        )
        lines = "".join(f"{text} {crc32(text.encode()):08x}\n" for text in texts).encode()
        write_at(self._file, self._end, lines)
        flush(self._file)
        self._end += len(lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def journals(folder: Path) -> list[Path]:
    """Return the logs of all processes."""
    return sorted(folder.glob("journal.*"))


def read_journals(folder: Path, columns: int, blocks: int) -> dict[int, Checksums]:
    """Return the finished blocks in the logs of all processes."""
    finished: dict[int, Checksums] = {}
    for path in journals(folder):
        for number, *checksums in _whole_lines(path)[0]:
            if len(checksums) == columns and 0 <= number < blocks:
                finished[number] = tuple(checksums)
    return finished


def known_checksums(folder: Path, manifest: Manifest) -> dict[int, Checksums]:
    """Return the checksums of each finished block, in each column."""
    layout, known = manifest.layout, manifest.checksums
    if known is None:
        return read_journals(folder, len(manifest.columns), layout.blocks)
    columns = [
        "".join(known[column.file(shard)] for shard in range(layout.shards))
        for column in manifest.columns
    ]
    return {
        block: tuple(int(digits[8 * block : 8 * block + 8], 16) for digits in columns)
        for block in range(layout.blocks)
    }


def _whole_lines(path: Path) -> tuple[list[list[int]], int]:
    """Return the numbers in the complete lines at the beginning, and the offset of their end."""
    lines: list[list[int]] = []
    end = 0
    for line in path.read_bytes().splitlines(keepends=True):
        text, _, check = line.rpartition(b" ")
        if not text or check != f"{crc32(text):08x}\n".encode():
            break
        number, *checksums = text.split()
        lines.append([int(number), *(int(each, 16) for each in checksums)])
        end += len(line)
    return lines, end
