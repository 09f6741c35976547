"""Checks of zip archives before anything in them is read."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from tutelage.errors import ModelError

_EXPANSION = 20
_SMALL = 100_000_000  # bytes


def check_archive(path: Path, compressed: bool) -> None:
    """Refuse an archive that is damaged, would expand without measure, or names paths outside.

    Args:
        path: A zip archive.
        compressed: Whether its kind may be compressed; PyTorch writes its own uncompressed.

    Raises:
        ModelError: It is such.
    """
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(f"{path} must be a whole file, got {error}; copy it again") from error
    expanded = sum(each.file_size for each in entries)
    most = max(_SMALL, _EXPANSION * size) if compressed else size
    if expanded > most:
        raise ModelError(
            f"{path} has {size:,} bytes and would expand to {expanded:,}, more than "
            f"{most:,}; it is damaged or meant to fill the memory, so do not use it"
        )
    for name in (each.filename for each in entries):
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in name.split("/")[0]:
            raise ModelError(
                f"{path} must contain files under its own folder, got {name!r}; do not use it"
            )
