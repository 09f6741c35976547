"""Files that survive a kill: atomic writes, append-only logs, locks."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from tutelage.errors import TutelageError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_DRAFT = ".draft"


def write_whole(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file atomically: readers find the old content or the new, even after a kill.

    Content and name are flushed to the disk. `content` is the whole of it, or a function that
    writes it to a given path.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}{_DRAFT}")
    try:
        if callable(content):
            content(draft)
            umask = os.umask(0)  # can only be read by setting it
            os.umask(umask)
            draft.chmod(0o666 & ~umask)  # libraries may write files for the user alone
        else:
            with draft.open("wb", buffering=0) as file:
                write_at(file, 0, content)
        flush_path(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    flush_path(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole; what JSON does not know is written as text."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    write_whole(path, f"{text}\n".encode())


def remove_drafts(folder: Path) -> None:
    """Remove the unfinished files of killed processes."""
    for path in folder.glob(f".*{_DRAFT}"):
        path.unlink(missing_ok=True)


def write_at(file: IO[bytes], offset: int, content: bytes | memoryview) -> None:
    """Write all of the content at an offset of an unbuffered file.

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


def flush_path(path: Path) -> None:
    """Make a file, or the names in a folder, durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock file, and yield whether it is ours: False where another process holds it.

    The lock belongs to this process only: a data loader's workers do not inherit it, and it ends
    with the process even if that is killed. Where the system has no such locks, it is always ours.
    A file that cannot be written, or whose file system has no locks, is an OSError.
    """
    with path.open("w") as file:
        if fcntl is None:
            yield True
            return
        ours = True
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            ours = False
        yield ours


@contextmanager
def claimed(folder: Path, error: type[TutelageError], *, wait: bool = False) -> Iterator[bool]:
    """Make a folder and take it for this process; yield False where another process has it.

    With `wait` it is always ours in the end. The claim ends with the process, even by a kill.
    """
    with ExitStack() as stack:
        with writing(folder, error):
            folder.mkdir(parents=True, exist_ok=True)
            ours = stack.enter_context(locked(folder / ".lock", wait=wait))
        yield ours


@contextmanager
def owned(folder: Path, error: type[TutelageError]) -> Iterator[None]:
    """Make the folder `out`, and keep every other process from writing it meanwhile."""
    with claimed(folder, error) as ours:
        if not ours:
            raise error(
                f"`out` must not be in use, got {folder}, which another process is writing now; "
                "wait for it, or choose another folder"
            )
        yield


@contextmanager
def writing(folder: Path, error: type[TutelageError]) -> Iterator[None]:
    """Turn an OSError in writing `out` into an error that names a way out."""
    try:
        yield
    except OSError as cause:
        raise error(
            f"`out` must be a folder that can be written, got {folder} with {cause}; free space, "
            "fix its permissions, or choose another: what is finished is kept"
        ) from cause


class LogWriter:
    """Appends records to a log of JSON lines.

    What a killed process wrote beyond `length` bytes is cut off, since the run that resumes writes
    it again.
    """

    def __init__(self, path: Path, length: int = 0) -> None:
        self._file = path.open("ab")
        self._file.truncate(min(length, path.stat().st_size))
        self._file.seek(0, os.SEEK_END)  # which truncate leaves where the end was

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; NaN and infinities, which JSON does not have, become null."""
        plain = {
            key: None if isinstance(each, float) and not math.isfinite(each) else each
            for key, each in record.items()
        }
        self._file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")

    def length(self) -> int:
        """Return the bytes written so far, after handing them to the system."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
