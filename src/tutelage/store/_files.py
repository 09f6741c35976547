"""Writing that survives a kill: at a place, in the end whole, and flushed to the disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

_DRAFT = ".draft"


def write_at(file: IO[bytes], offset: int, content: bytes | memoryview) -> None:
    """Write all of the content at a place of an unbuffered file.

    No memory map: a full disk is an OSError here, and the end of the process (SIGBUS) there.
    """
    file.seek(offset)
    left = memoryview(content).cast("B")
    while left:
        left = left[file.write(left) :]


def flush(file: IO[bytes]) -> None:
    """Make what was written durable."""
    file.flush()
    os.fsync(file.fileno())


def write_whole(path: Path, content: bytes, *, replace: bool = True) -> None:
    """Put a file in its place in one step, durable; readers find the old one or the new.

    Args:
        path: Where.
        content: Of the whole file.
        replace: Whether to take the place of a file that is there; else that one stays.
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
    """Remove what killed processes left of files that they were to put in place."""
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
    """Make the names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
