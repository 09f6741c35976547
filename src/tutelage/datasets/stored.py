"""Encoded images in files, archives, cells and arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tutelage._checks import installed
from tutelage.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_TAIL = 4096
"""Bytes at the end of a file, in which the mark of an image's end is looked for."""


def pillow(argument: str) -> Any:
    """Return the module `PIL.Image`.

    Raises:
        DataError: Pillow is not installed.
    """
    return installed(f"`{argument}`, which has images,", "PIL.Image", "vision", DataError)


class Stored:
    """Where images are: files of a folder, members of an archive, cells, or an array.

    Its attributes are the name of each image, for messages, and its bytes, by which most different
    images differ.
    """

    names: Sequence[str]
    lengths: Sequence[int]

    def content(self, row: int) -> bytes:
        """Return the bytes of an image."""
        raise NotImplementedError

    def opened(self, row: int) -> Image:
        """Return an image, of which only the header is read."""
        return pillow("data").open(io.BytesIO(self.content(row)))

    def digest(self, row: int) -> bytes:
        """Return a hash of an image's bytes."""
        return hashlib.blake2b(self.content(row), digest_size=16).digest()

    def tail(self, row: int) -> bytes:
        """Return the last bytes of an image; none where it is not encoded."""
        return self.content(row)[-_TAIL:]


class Files(Stored):
    """Images in a folder.

    Args:
        folder: The folder.
        names: Paths within it.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names
        self.lengths = [(folder / each).stat().st_size for each in names]

    def content(self, row: int) -> bytes:
        """Return the bytes of an image."""
        return (self.folder / self.names[row]).read_bytes()

    def opened(self, row: int) -> Image:
        """Return an image, of which only the header is read."""
        return pillow("data").open(self.folder / self.names[row])

    def tail(self, row: int) -> bytes:
        """Return the last bytes of an image."""
        with (self.folder / self.names[row]).open("rb") as file:
            file.seek(max(0, self.lengths[row] - _TAIL))
            return file.read()


class Members(Stored):
    """Images in archives that are not compressed.

    Args:
        archives: The archives.
        places: The archive of each image, where its bytes begin, and how many they are.
        names: Of the images.
    """

    def __init__(
        self, archives: Sequence[Path], places: NDArray[np.int64], names: Sequence[str]
    ) -> None:
        self.archives, self.places, self.names = archives, places, names
        self.lengths = places[:, 2].tolist()

    def content(self, row: int) -> bytes:
        """Return the bytes of an image."""
        archive, start, length = self.places[row].tolist()
        with self.archives[archive].open("rb") as file:
            file.seek(start)
            return file.read(length)


class Cells(Stored):
    """Images in cells of a table.

    Args:
        contents: The bytes of each image.
        names: What they are called in messages.
    """

    def __init__(self, contents: Sequence[bytes], names: Sequence[str]) -> None:
        self.contents, self.names = contents, names
        self.lengths = list(map(len, contents))

    def content(self, row: int) -> bytes:
        """Return the bytes of an image."""
        return self.contents[row]


class Arrays(Stored):
    """Images in an array of uint8, `[images, height, width]` or with 1, 3 or 4 channels behind.

    Args:
        pixels: The array.
        name: Of its file.
    """

    def __init__(self, pixels: NDArray[np.uint8], name: str) -> None:
        self.pixels = pixels[..., 0] if pixels.ndim == 4 and pixels.shape[3] == 1 else pixels  # noqa: PLR2004
        self.names = [f"image {at:,} of {name}" for at in range(len(pixels))]
        self.lengths = [int(pixels[0].nbytes)] * len(pixels)

    def content(self, row: int) -> bytes:
        """Return the pixels of an image."""
        return np.ascontiguousarray(self.pixels[row]).tobytes()

    def opened(self, row: int) -> Image:
        """Return an image."""
        return pillow("data").fromarray(np.ascontiguousarray(self.pixels[row]))
