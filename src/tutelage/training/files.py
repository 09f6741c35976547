"""Files that are either there whole or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place, make it durable, and move it there in one step.

    Whoever reads `path`, even after a kill or a power cut, finds the old content or the new.

    Args:
        path: Where the file is to be.
        write: Writes the content to the path that it is given.
    """
    draft = path.with_name(f".{path.name}.draft")
    write(draft)
    draft.chmod(0o666 & ~_umask())
    _flush(draft)
    draft.replace(path)
    _flush(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole."""
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    write_whole(path, lambda draft: _write_text(draft, text + "\n"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """Return the process's umask, which can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask
