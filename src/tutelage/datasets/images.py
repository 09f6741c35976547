"""Images that are decoded, resized and cropped when they are needed, and folders of them."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tutelage._checks import installed
from tutelage.errors import DataError, in_short, some_of

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"))
_CACHED_BYTES, _TAIL = 2**29, 4096
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
"""What is near the end of a whole file, by its format."""
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
_ORIENTED = frozenset(("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"))
"""Where an image may say how the camera was held."""
_HIDDEN, _OF_SYSTEMS = (".", "__MACOSX"), ("thumbs.db", "desktop.ini")


class Member(NamedTuple):
    """A file in an archive that is not compressed: where its bytes begin, and how many they are."""

    archive: Path
    start: int
    length: int


class Item(NamedTuple):
    """An image of a data set of torchvision, which loads it itself."""

    dataset: Any
    place: int


Source = Path | bytes | Member | Item | np.ndarray
"""Where an image is; an array is uint8, `[height, width]` or with channels behind."""


def content_of(source: Source, tail: bool = False) -> bytes:
    """Return the bytes of an image, of its file or its pixels; with `tail` the last few alone."""
    if isinstance(source, bytes):
        return source[-_TAIL:] if tail else source
    if not isinstance(source, (Path, Member)):
        return np.asarray(opened(source)).tobytes()
    path, start, length = (source, 0, _length(source)) if isinstance(source, Path) else source
    skipped = max(0, length - _TAIL) if tail else 0
    with path.open("rb") as file:
        file.seek(start + skipped)
        return file.read(length - skipped)


def opened(source: Source) -> Image:
    """Return an image, of which only the header is read if it is encoded."""
    from PIL import Image  # noqa: PLC0415 - an optional package

    if isinstance(source, Item):
        return source.dataset[source.place][0]
    if isinstance(source, np.ndarray):
        return Image.fromarray(np.ascontiguousarray(source))
    return Image.open(source if isinstance(source, Path) else io.BytesIO(content_of(source)))


class _Cache:
    """Decoded images, up to a number of bytes; not data, and so no part of a fingerprint."""

    def __init__(self) -> None:
        self.images: dict[int, NDArray[np.uint8]] = {}
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
        sources: Where they are.
        names: What they are called in messages.
        size: Height and width, to which images are resized, by the side that needs less, and
            cropped at the centre; None where all have one size.
        rows: Which of the images; None for all.

    Raises:
        DataError: Pillow is not installed.
    """

    def __init__(
        self,
        sources: Sequence[Source] | NDArray[np.uint8],
        names: Sequence[str],
        size: tuple[int, int] | None = None,
        rows: NDArray[np.int64] | None = None,
        cache: _Cache | None = None,
    ) -> None:
        installed("data with images", "PIL.Image", "vision", DataError)
        self.sources, self.names, self.size = sources, names, size
        self.rows: Any = np.arange(len(sources)) if rows is None else rows
        self._cache = cache or _Cache()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """Return an image."""
        row = int(self.rows[index])
        found = self._cache.images.get(row)
        if found is None:
            with _read(self.sources[row], self.names[row]) as image:
                found = _pixels(image, self.size)
            self._cache.add(row, found)
        return torch.from_numpy(found.astype(np.float32) / 255).permute(2, 0, 1)

    def taken(self, rows: NDArray[np.int64]) -> Pictures:
        """Return some of the images."""
        return Pictures(self.sources, self.names, self.size, self.rows[rows], self._cache)

    def keys(self) -> list[Any]:
        """Return what is equal for images of equal bytes only."""
        lengths = [_length(self.sources[row]) for row in self.rows]
        counts = Counter(lengths)
        return [
            hashlib.blake2b(content_of(self.sources[row]), digest_size=16).digest()
            if counts[length] > 1
            else int(row)
            for row, length in zip(self.rows, lengths, strict=True)
        ]

    def readable(
        self, argument: str, size: tuple[int, int] | None
    ) -> tuple[Pictures, NDArray[np.int64], dict[str, str]]:
        """Return the images that can be read, by their headers; their rows; and why not others.

        Raises:
            DataError: They are of several sizes and `size` is None.
        """
        shapes: dict[int, tuple[int, int]] = {}
        broken: dict[str, str] = {}
        for row in map(int, self.rows):
            try:
                shapes[row] = _shape(self.sources[row], self.names[row])
            except DataError as error:
                broken[self.names[row]] = str(error)
        first = next(iter(shapes), 0)
        other = next((row for row, shape in shapes.items() if shape != shapes[first]), None)
        if size is None and other is not None:
            raise DataError(
                f"the images of `{argument}` must be of one size, got {shapes[first]} pixels in "
                f"{self.names[first]} and {shapes[other]} in {self.names[other]}; write "
                "image_size: 224, to which they are resized and cropped"
            )
        rows = np.array([*shapes], dtype=np.int64)
        size = size or shapes.get(first)
        return Pictures(self.sources, self.names, size, rows), rows, broken


def _shape(source: Source, name: str) -> tuple[int, int]:
    """Return the height and width of an image, as a camera was held, from its header.

    Only an image without the mark of its end is decoded, which fails if the file was cut off.
    """
    with _read(source, name) as image:
        width, height = image.size
        # Of a PNG without, `getexif` would decode all of it; Pillow opens a TIFF as it was held.
        told = image.format != "TIFF" and not _ORIENTED.isdisjoint(image.info)
        exif = image.getexif() if told else {}
        end = _ENDS.get(image.format or "")
        if end is None or end not in content_of(source, tail=True):
            image.load()
    return (width, height) if exif.get(_ORIENTATION) in _TURNED else (height, width)


def _length(source: Source) -> int:
    if isinstance(source, Path):
        return source.stat().st_size
    return source.length if isinstance(source, Member) else len(content_of(source))


@contextmanager
def _read(source: Source, name: str) -> Iterator[Image]:
    """Yield an image; what Pillow raises becomes an error that names the image."""
    from PIL import Image  # noqa: PLC0415 - an optional package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with opened(source) as image:
                if image.mode not in _EIGHT_BITS:
                    raise DataError(
                        f"images must have 8 bits per channel, got {name} in mode {image.mode}; "
                        "convert it, or store arrays of floats in an .npz file"
                    )
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(
            f"images must have at most {Image.MAX_IMAGE_PIXELS:,} pixels, got more in {name}; make "
            "it smaller, or remove it"
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(
            f"images must be readable, got {name} with {in_short(error)}; replace it, or remove it"
        ) from error


def _pixels(image: Image, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return an image as RGB, `[height, width, 3]`, resized and cropped."""
    from PIL import Image as Pillow  # noqa: PLC0415 - an optional package
    from PIL import ImageOps  # noqa: PLC0415

    image = ImageOps.exif_transpose(image).convert("RGB")  # as a camera was held
    if size is not None and (image.height, image.width) != size:
        height, width = size
        scale = max(height / image.height, width / image.width)
        resized = max(width, round(image.width * scale)), max(height, round(image.height * scale))
        image = image.resize(resized, Pillow.Resampling.BILINEAR)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.array(image, dtype=np.uint8)


def folder_of_images(
    argument: str, folder: Path, by_domain: bool, labelled: bool
) -> tuple[Pictures, dict[str, list[str]], list[str]]:
    """Return the images of a folder, their classes and domains by name, and what was left out.

    Images lie in `class/1.jpg`, `domain/class/1.jpg`, or no sub-folders at all.

    Args:
        argument: For messages.
        folder: The folder.
        by_domain: Whether sub-folders of the first level are domains.
        labelled: Whether sub-folders are classes; otherwise all images are taken.

    Raises:
        DataError: There are no images, or sub-folders are of another form.
    """
    files: list[str] = []
    seen: set[str] = set()
    for root, inside, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(root))  # a link to a folder above would never end
        inside[:] = [each for each in inside if not each.startswith(_HIDDEN)]
        inside[:] = [each for each in inside if os.path.realpath(Path(root, each)) not in seen]
        kept = [each for each in names if not each.startswith(_HIDDEN)]
        kept = [each for each in kept if each.lower() not in _OF_SYSTEMS]
        files += [Path(root, each).relative_to(folder).as_posix() for each in kept]
    images = sorted(each for each in files if PurePosixPath(each).suffix.lower() in SUFFIXES)
    others = sorted(set(files).difference(images))
    if not images:
        texts = any(each.endswith(".txt") for each in others)
        advice = (
            "of texts, make a table with the columns text and label (.csv or .jsonl)"
            if texts
            else "give the folder that holds the folders of classes"
        )
        raise DataError(
            f"`{argument}` must be a folder with images ({', '.join(sorted(SUFFIXES))}), got "
            f"{folder} without; {advice}"
        )
    parents = [PurePosixPath(each).parts[:-1] for each in images]
    columns: dict[str, list[str]] = {}
    if by_domain or any(parents):
        level = int(by_domain) + int(labelled)
        wrong = [
            name
            for name, inside in zip(images, parents, strict=True)
            if len(inside) < level or (labelled and len(inside) > level)
        ]
        if wrong:
            form = "/".join(["domain"] * by_domain + ["class"] * labelled + ["image"])
            hint = "" if by_domain else "; where the first level is domains, write domain: folder"
            raise DataError(
                f"the images of `{argument}` must lie in folders as {form}, got "
                f"{some_of(wrong, 3)}{hint}; move them, or remove them"
            )
        if by_domain:
            columns["domain"] = [each[0] for each in parents]
        if labelled:
            columns["class"] = [each[int(by_domain)] for each in parents]
    left = f"files of {folder} that are not images are left out: {some_of(others)}"
    return Pictures([folder / each for each in images], images), columns, [left] if others else []
