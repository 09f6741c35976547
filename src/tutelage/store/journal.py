"""The log of finished blocks while a store is written: a line per block, a file per process.

A line has the block's number, the CRC-32 of the block in each column, and the CRC-32 of the line
itself. A last line that a kill cut short is ignored.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from tutelage.files import flush, write_at

Checksums = tuple[int, ...]
"""The CRC-32 of a block in each column."""


class Journal:
    """Writes the log of one process.

    Args:
        folder: The store.
        process: The number of the process.
    """

    def __init__(self, folder: Path, process: int) -> None:
        path = _path(folder, process)
        path.touch()
        self._file = path.open("r+b", buffering=0)
        self._end = _whole_lines(path.read_bytes())[1]
        self._file.truncate(self._end)

    def write(self, finished: dict[int, Checksums]) -> None:
        """Append blocks and flush them to disk; their rows must have been flushed before."""
        lines = b"".join(_line(number, checksums) for number, checksums in finished.items())
        write_at(self._file, self._end, lines)
        flush(self._file)
        self._end += len(lines)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_journals(folder: Path, columns: int, blocks: int) -> dict[int, Checksums]:
    """Return the finished blocks in the logs of all processes."""
    finished: dict[int, Checksums] = {}
    for path in _paths(folder):
        for number, *checksums in _whole_lines(path.read_bytes())[0]:
            if len(checksums) == columns and 0 <= number < blocks:
                finished[number] = tuple(checksums)
    return finished


def remove_journals(folder: Path) -> None:
    """Remove the logs of all processes."""
    for path in _paths(folder):
        path.unlink(missing_ok=True)


def _path(folder: Path, process: int) -> Path:
    return folder / f"journal.{process:04d}"


def _paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal.*"))


def _line(number: int, checksums: Checksums) -> bytes:
    text = " ".join([str(number), *(f"{each:08x}" for each in checksums)])
    return f"{text} {crc32(text.encode()):08x}\n".encode()


def _whole_lines(content: bytes) -> tuple[list[list[int]], int]:
    """Return the numbers in the complete lines at the beginning, and the offset of their end."""
    lines: list[list[int]] = []
    end = 0
    for line in content.splitlines(keepends=True):
        text, _, check = line.removesuffix(b"\n").rpartition(b" ")
        whole = text and line.endswith(b"\n") and check == f"{crc32(text):08x}".encode()
        if not whole:
            break
        number, *checksums = text.split()
        lines.append([int(number), *(int(each, 16) for each in checksums)])
        end += len(line)
    return lines, end
