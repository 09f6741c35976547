"""Folders of images, whose sub-folders are classes or domains."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tutelage.datasets.content import Content
from tutelage.datasets.frame import Frame
from tutelage.datasets.lists import in_order
from tutelage.datasets.options import DataOptions
from tutelage.datasets.partition import PART_OF
from tutelage.datasets.pictures import Pictures, checked
from tutelage.datasets.stored import Files, pillow
from tutelage.errors import DataError, some_of

FOLDER = "folder"
"""As `label` or `domain`: the name of a sub-folder."""
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"))
_HIDDEN = (".", "__MACOSX")
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


def with_parts(argument: str, options: DataOptions) -> DataOptions:
    """Return options that name the parts of a folder with `train`, `val` and `test` inside.

    A folder with other sub-folders beside these is one of classes, and a part that the options name
    stays as it is.

    Raises:
        DataError: A part has two folders, such as `val` and `dev`.
    """
    folder = Path(options.train).expanduser()
    if not folder.is_dir():
        return options
    inside = sorted(each.name for each in folder.iterdir() if each.is_dir())
    inside = [each for each in inside if not each.startswith(_HIDDEN)]
    part_of = {name: PART_OF.get(name.lower(), "") for name in inside}
    if "train" not in part_of.values() or "" in part_of.values():
        return options
    found: dict[str, str] = {}
    for name, part in part_of.items():
        first = found.setdefault(part, name)
        if first != name:
            raise DataError(
                f"`{argument}.train` must have one folder for each part of the data, got {first} "
                f"and {name} in {folder}; put their images together, or remove one"
            )
    given = {part for part in ("val", "test") if getattr(options, part) is not None}
    parts = {part: str(folder / name) for part, name in found.items() if part not in given}
    return options.model_copy(update=parts)


def read_image_folder(
    argument: str, folder: Path, options: DataOptions, labelled: bool = True
) -> Content:
    """Return the images of a folder: `class/1.jpg`, `domain/class/1.jpg`, or no sub-folders.

    Args:
        argument: For messages.
        folder: The folder.
        options: `domain: folder` says that sub-folders of the first level are domains.
        labelled: Whether sub-folders are classes; otherwise all images are taken.

    Raises:
        DataError: There are no images, one cannot be read, or sub-folders are of another form.
    """
    pillow(argument)
    files, folders = _inside(folder)
    names = [each for each in files if PurePosixPath(each).suffix.lower() in SUFFIXES]
    others = sorted(set(files).difference(names))
    if not names:
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
    by_domain = options.domain == FOLDER
    depths = {len(PurePosixPath(each).parts) - 1 for each in names}
    columns: dict[str, list[str]] = {}
    if by_domain or depths != {0}:
        expected = 1 + by_domain if labelled else None
        _check_depths(argument, names, expected, by_domain)
        parents = [PurePosixPath(each).parts for each in names]
        if by_domain:
            columns["domain"] = [each[0] for each in parents]
        if labelled:
            columns["class"] = [each[int(by_domain)] for each in parents]
    pictures = checked(Pictures(Files(folder, names)), argument, options.size)
    frame = Frame(folder.name, dict(columns))
    labels = ("class",) if "class" in columns else ()
    level = [each for each in folders if labels and each.count("/") == int(by_domain)]
    warnings = list(_left_out(folder, names, others, level))
    if labels and argument.endswith(".train") and options.classes is None:
        warnings += _other_order(set(columns["class"]))
    return Content(
        frame, pictures, labels, "domain" if by_domain else None, warnings=tuple(warnings)
    )


def _left_out(
    folder: Path, names: list[str], others: list[str], folders: list[str]
) -> Iterator[str]:
    """Yield a sentence on files that are no images, and one on folders of classes without any."""
    if others:
        yield (
            f"files of {folder} that are left out, since they are not called as images are: "
            f"{some_of(others)}"
        )
    used = {str(each) for name in names for each in PurePosixPath(name).parents}
    if empty := sorted(set(folders) - used):
        yield (
            f"folders of {folder} that are no classes, since they have no images: {some_of(empty)}"
        )


def _other_order(classes: set[str]) -> list[str]:
    """Return a sentence if classes are numbers whose order is not that of their names."""
    ours, theirs = in_order(classes), tuple(sorted(classes))
    if ours == theirs:
        return []
    return [
        f"the classes are in the order of their numbers, {some_of(ours, 3)}; for a teacher that "
        "was trained with torchvision's ImageFolder, which sorts them as texts, "
        f"{some_of(theirs, 3)}, list them in `classes` in that order"
    ]


def _inside(folder: Path) -> tuple[list[str], list[str]]:
    """Return the paths of all files and folders within a folder, also behind links to folders."""
    seen: set[str] = set()
    found: list[str] = []
    folders: list[str] = []
    for root, inside, files in os.walk(folder, followlinks=True):
        # A link to a folder above would never end.
        seen.add(os.path.realpath(root))
        inside[:] = [
            each
            for each in inside
            if not each.startswith(_HIDDEN) and os.path.realpath(Path(root, each)) not in seen
        ]
        under = Path(root).relative_to(folder)
        folders += [(under / each).as_posix() for each in inside]
        kept = [each for each in files if not each.startswith(_HIDDEN)]
        found += [(under / each).as_posix() for each in kept if each.lower() not in _OF_SYSTEMS]
    return sorted(found), folders


def _check_depths(argument: str, names: list[str], expected: int | None, by_domain: bool) -> None:
    """Refuse images that lie less deep or deeper than their form says."""
    form = "domain/class/image" if by_domain else "class/image"
    for name in names:
        depth = len(PurePosixPath(name).parts) - 1
        if expected is None:
            if by_domain and not depth:
                raise DataError(
                    f"`{argument}` must be a folder of domains, got the image {name} in no "
                    "sub-folder; move it"
                )
        elif depth != expected:
            hint = "" if by_domain else "; where the first level is domains, write domain: folder"
            raise DataError(
                f"the images of `{argument}` must lie in folders as {form}, got {name}{hint}; move "
                "it, or remove it"
            )
