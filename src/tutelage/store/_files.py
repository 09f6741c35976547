"""Writes that survive a kill: at an offset, or of a whole file at once; flushed to disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

_DRAFT = ".draft"


def write_at(file: IO[bytes], offset: int, content: bytes | memoryview) -> None:
    """Write all of the content at an offset of an unbuffered file.

    Not through a memory map, where a full disk kills the process (SIGBUS); here it is an OSError.
    """
    file.seek(offset)
    left = memoryview(content).cast("B")
    while left:
        left = left[file.write(left) :]


def flush(file: IO[bytes]) -> None:
    """Flush what was written to disk."""
    file.flush()
    os.fsync(file.fileno())


def write_whole(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Write a file atomically and durably: readers find the old content or the new.

    Args:
        path: Of the file.
        content: All of it.
        replace: Whether to replace an existing file; otherwise that one stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{_DRAFT}")
    try:
        with draft.open("wb", buffering=0) as file:
            write_at(file, 0, content)
            flush(file)
        if replace:
            draft.replace(path)
        else:
            _link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    flush_folder(path.parent)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that killed processes left behind."""
    for path in folder.glob(f".*{_DRAFT}"):
        path.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return  # another process was first
    except (NotImplementedError, OSError):  # a file system without links
        if not path.exists():
            draft.replace(path)


def flush_folder(path: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
