"""Data sets by name: those of Hugging Face and torchvision."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tutelage._checks import installed
from tutelage.datasets.content import Content
from tutelage.datasets.frame import Frame, nearest
from tutelage.datasets.options import DataOptions
from tutelage.datasets.pictures import Pictures, checked
from tutelage.datasets.stored import Stored
from tutelage.datasets.table_files import of_arrow
from tutelage.errors import ArgumentError, DataError, in_short

if TYPE_CHECKING:
    from PIL.Image import Image

HF, TORCHVISION = "hf:", "torchvision:"
_HF_SPLITS = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unsupervised"}
_VISION_SPLITS = {"train": "train", "val": "val", "test": "test", "unlabelled": "unlabeled"}
_PAIR = 2


def read_hugging_face(argument: str, reference: str) -> Content:
    """Return a data set of Hugging Face: `hf:NAME`, `hf:NAME@split`, or a folder saved by it.

    Without a split it is `train` for training data, `validation` and `test` for others. No code of
    the data set is run.

    Raises:
        DataError: The package is missing, or the data set cannot be loaded.
    """
    datasets = installed(f"`{argument}`", "datasets", "data", DataError)
    name, _, split = reference.removeprefix(HF).partition("@")
    part = argument.rpartition(".")[2]
    folder = Path(name).expanduser()
    try:
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            found: Any = datasets.load_from_disk(str(folder))
        else:
            found = datasets.load_dataset(str(folder) if folder.is_dir() else name)
    except Exception as error:  # the library raises what it likes
        raise DataError(
            f"`{argument}` must be a data set that Hugging Face's datasets can load, got "
            f"{reference} with {in_short(error)}; correct the name, or give a file"
        ) from error
    if isinstance(found, dict):
        split = split or _HF_SPLITS[part]
        if split not in found:
            hint = nearest(split, found)
            raise DataError(
                f"`{argument}` must name a split of the data set, got {split!r}; {hint} Write "
                f"{HF}{name}@SPLIT"
            )
        found = found[split]
    elif split:
        raise DataError(
            f"`{argument}` must name a split of a data set that has some, got {reference}, which "
            f"has none; leave @{split} out"
        )
    return _of_hugging_face(reference, found)


def _of_hugging_face(name: str, found: Any) -> Content:
    """Return a table whose class ids are names, and whose images are bytes."""
    import datasets  # noqa: PLC0415 - an optional package

    for column, feature in found.features.items():
        if isinstance(feature, datasets.Image):
            found = found.cast_column(column, datasets.Image(decode=False))
    frame = of_arrow(name, found.with_format("arrow")[:])
    classes = {}
    for column, feature in found.features.items():
        if isinstance(feature, datasets.ClassLabel):
            names = feature.names
            cells = frame.columns[column]
            # -1 is how the library marks a missing label.
            frame.columns[column] = [
                None if each is None or each < 0 else names[each] for each in cells
            ]
            classes[column] = tuple(names)
    return Content(frame, classes=classes)


class _Objects(Stored):
    """Images of a data set of torchvision, which loads them itself."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset = dataset
        self.names = [f"image {at:,} of {name}" for at in range(len(dataset))]
        self.lengths = [0] * len(dataset)

    def opened(self, row: int) -> Image:
        """Return an image."""
        return self.dataset[row][0]

    def content(self, row: int) -> bytes:
        """Return an image's pixels."""
        return np.asarray(self.opened(row)).tobytes()

    def tail(self, row: int) -> bytes:
        """Return nothing: the data set has decoded the image."""
        return b""


def read_torchvision(argument: str, reference: str, options: DataOptions) -> Content:
    """Return a classification data set of torchvision: `torchvision:NAME` or `NAME@folder`.

    The folder is `data` by default; the data set must be in it, since nothing is downloaded.

    Raises:
        DataError: torchvision is missing, has no such data set, or cannot load it.
        ArgumentError: Its examples are no images with class ids.
    """
    datasets = installed(f"`{argument}`", "torchvision.datasets", "vision", DataError)
    name, _, folder = reference.removeprefix(TORCHVISION).partition("@")
    if name not in datasets.__all__:
        raise DataError(
            f"`{argument}` must name a data set of torchvision, got {name!r}; "
            f"{nearest(name, datasets.__all__)}"
        )
    dataset = _made(argument, getattr(datasets, name), folder or "data")
    first = dataset[0]
    pair = isinstance(first, tuple) and len(first) == _PAIR
    is_id = pair and (isinstance(first[1], int) or getattr(first[1], "ndim", None) == 0)
    if not (is_id and hasattr(first[0], "convert")):
        raise ArgumentError(
            f"`{argument}` must have images with one label each, got {name}, whose examples have "
            "another form; give a reference to a function of yours that returns a data set"
        )
    labels = _labels(dataset)
    names = tuple(map(str, getattr(dataset, "classes", ()) or ()))
    cells = [names[each] for each in labels] if names else labels
    pictures = checked(Pictures(_Objects(dataset, name)), argument, options.size)
    classes = {"label": names} if names else {}
    return Content(Frame(name, {"label": cells}), pictures, ("label",), classes=classes)


def _made(argument: str, kind: Any, folder: str) -> Any:
    """Return the part of a data set that an argument names."""
    part = argument.rpartition(".")[2]
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {"root": str(Path(folder).expanduser())} if "root" in parameters else {}
    if "split" in parameters:
        given["split"] = _VISION_SPLITS[part]
    elif "train" in parameters:
        given["train"] = part in ("train", "unlabelled")
    elif part != "train" and "root" in given:
        raise ArgumentError(
            f"`{argument}` must be of a data set with parts, got {kind.__name__}, which has none; "
            "write a share, such as 0.1"
        )
    try:
        return kind(**given)
    except Exception as error:  # data sets raise what they like
        raise DataError(
            f"`{argument}` must be a data set in the folder {folder!r}, got {kind.__name__} with "
            f"{in_short(error)}; download it there: "
            f"torchvision.datasets.{kind.__name__}({folder!r}, download=True)"
        ) from error


def _labels(dataset: Any) -> list[int]:
    """Return the class ids of all examples, without loading images where they are known."""
    for name in ("targets", "labels", "_labels"):
        found = getattr(dataset, name, None)
        if found is not None and len(found) == len(dataset) and found[0] == dataset[0][1]:
            return [int(each) for each in found]
    return [int(dataset[at][1]) for at in range(len(dataset))]
