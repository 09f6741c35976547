"""Images that are decoded, resized and cropped when they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.datasets.stored import Stored
from tutelage.errors import DataError, in_short, some_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

_CACHED_BYTES = 2**29
_READ_BYTES = 2**28
"""Bytes of files that are read for a fingerprint, which takes about a second."""
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What is near the end of a whole file, by its format."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_ORIENTED = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))
"""Where an image may say how the camera was held."""


class _Cache:
    """Decoded images, up to a number of bytes; not data, and so no part of a fingerprint."""

    def __init__(self) -> None:
        self.images: dict[int, NDArray[np.uint8]] = {}
        self.digests: dict[int, bytes] = {}
        self.bytes = 0

    def add(self, row: int, image: NDArray[np.uint8]) -> None:
        if self.bytes + image.nbytes <= _CACHED_BYTES:
            self.images[row] = image
            self.bytes += image.nbytes

    def __reduce__(self) -> tuple[type[_Cache], tuple[()]]:
        return _Cache, ()  # a loader's workers fill their own


class Pictures(Dataset[Any]):
    """Images `[3, height, width]` in [0, 1] of one size.

    Args:
        stored: Where they are.
        size: Height and width, to which images are resized, by the side that needs less, and
            cropped at the centre; None where all have one size.
        rows: Which of the images; None for all.
    """

    def __init__(
        self,
        stored: Stored,
        size: tuple[int, int] | None = None,
        rows: NDArray[np.int64] | None = None,
        cache: _Cache | None = None,
    ) -> None:
        self.stored, self.size = stored, size
        self.rows: Any = np.arange(len(stored.names)) if rows is None else rows
        # Part of a run's identity, which cannot decode all images.
        self.names = [stored.names[row] for row in self.rows]
        self.lengths = np.array([stored.lengths[row] for row in self.rows])
        self._cache = cache or _Cache()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """Return an image."""
        row = int(self.rows[index])
        found = self._cache.images.get(row)
        if found is None:
            with _refusing(self.stored.names[row]), self.stored.opened(row) as image:
                found = _pixels(image, self.size, self.stored.names[row])
            self._cache.add(row, found)
        return torch.from_numpy(found.astype(np.float32) / 255).permute(2, 0, 1)

    def taken(self, rows: NDArray[np.int64]) -> Pictures:
        """Return some of the images."""
        return Pictures(self.stored, self.size, self.rows[rows], self._cache)

    def keys(self, others: Sequence[Any] = ()) -> list[Any]:
        """Return a hash of each image's file; or another key where no other has as many bytes."""
        lengths = np.concatenate([self.lengths, *(each.lengths for each in others)])
        values, counts = np.unique(lengths, return_counts=True)
        shared = set(values[counts > 1].tolist())
        return [
            self.stored.digest(int(row)) if int(length) in shared else (id(self.stored), int(row))
            for row, length in zip(self.rows, self.lengths, strict=True)
        ]

    def whole_content(self) -> list[Any] | None:
        """Return a hash of each image's file; None where these are too large, or are not known."""
        if not all(self.lengths) or self.lengths.sum() > _READ_BYTES:
            return None
        digests = self._cache.digests
        for row in map(int, self.rows):
            if row not in digests:
                digests[row] = self.stored.digest(row)
        return [*(digests[int(row)] for row in self.rows), *(self.size or ())]

    def shape(self, at: int) -> tuple[int, int]:
        """Return the height and width of an image, as a camera was held, from its header.

        Only an image without the mark of its end is decoded, which fails if the file was cut off.

        Raises:
            DataError: It cannot be read, is too large, or has more than 8 bits per channel.
        """
        row = int(self.rows[at])
        name = self.stored.names[row]
        with _refusing(name), self.stored.opened(row) as image:
            _check_mode(image, name)
            width, height = image.size
            # Of a PNG without, `getexif` would decode all of it.
            # Pillow opens a TIFF as it was held.
            told = image.format != "TIFF" and not _ORIENTED.isdisjoint(image.info)
            exif = image.getexif() if told else {}
            tail, end = self.stored.tail(row), _ENDS.get(image.format or "", b"")
            if tail and end not in tail:
                image.load()
        return (width, height) if exif.get(_ORIENTATION) in _TURNED else (height, width)


def checked(pictures: Pictures, argument: str, size: tuple[int, int] | None) -> Pictures:
    """Return images after all headers have been read.

    Raises:
        DataError: Some images cannot be read, which are named together, or they are of several
            sizes and `size` is None.
    """
    shapes, refused = [], {}
    for at, name in enumerate(pictures.names):
        try:
            shapes.append(pictures.shape(at))
        except DataError as error:
            refused[name] = error
    if refused:
        first, *others = refused
        more = f"; {len(others):,} more cannot be used: {some_of(others, 10)}" if others else ""
        raise DataError(f"{refused[first]}{more}") from refused[first]
    other = next((at for at, shape in enumerate(shapes) if shape != shapes[0]), None)
    if size is None and other is not None:
        raise DataError(
            f"the images of `{argument}` must be of one size, got {shapes[0]} pixels in "
            f"{pictures.names[0]} and {shapes[other]} in {pictures.names[other]}; write "
            "image_size: 224, to which they are resized and cropped"
        )
    return Pictures(pictures.stored, size or shapes[0], pictures.rows)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn what Pillow raises into an error that names the image."""
    from PIL import Image  # noqa: PLC0415 - an optional package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"images must have at most {Image.MAX_IMAGE_PIXELS:,} pixels, got more in {name}; make "
            "it smaller, or remove it"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"images must be readable, got {name} with {in_short(error)}; replace it, or remove it"
        ) from error


def _check_mode(image: Image, name: str) -> None:
    if image.mode not in _EIGHT_BITS:
        raise DataError(
            f"images must have 8 bits per channel, got {name} in mode {image.mode}; convert it, or "
            "store arrays of floats in an .npz file"
        )


def _pixels(image: Image, size: tuple[int, int] | None, name: str) -> NDArray[np.uint8]:
    """Return an image as RGB, `[height, width, 3]`, resized and cropped."""
    from PIL import Image as Pillow  # noqa: PLC0415 - an optional package
    from PIL import ImageOps  # noqa: PLC0415

    _check_mode(image, name)
    image = ImageOps.exif_transpose(image)  # as a camera was held
    image = image.convert("RGB")
    if size is not None and (image.height, image.width) != size:
        height, width = size
        scale = max(height / image.height, width / image.width)
        resized = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        image = image.resize(resized, Pillow.Resampling.BILINEAR)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.array(image, dtype=np.uint8)
