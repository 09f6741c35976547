"""Which part of a content is the input, and its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs
from tutelage.datasets.frame import Frame
from tutelage.datasets.options import DataOptions
from tutelage.datasets.pictures import Pictures, checked
from tutelage.datasets.stored import Cells, Files, pillow
from tutelage.errors import DataError


def column_names(frame: Frame, options: DataOptions) -> list[str]:
    """Return the columns that are inputs: those that are named, or all that are nothing else.

    Raises:
        DataError: There are none, or no column of a name; or one is the label's.
    """
    for option, names in (("categories", options.categories), ("omit", options.omit)):
        for name in names:
            frame.cells(option, name)
    if options.columns is not None:
        for name in options.columns:
            frame.cells("columns", name)
        inside = [each for each in options.labels if each in options.columns]
        if inside:
            raise DataError(
                f"`columns` must not contain the label, got {inside[0]!r}; leave it out"
            )
        found = [each for each in options.columns if each not in options.omit]
    else:
        others = {*options.labels, *options.omit, *frame.nameless}
        others |= {options.domain, options.split.group, options.split.column}
        found = [each for each in frame.columns if each not in others]
    if not found:
        raise DataError(
            f"`columns` must name the inputs, got {frame.name} with no other column than "
            "those of labels; name them, or correct `label`"
        )
    return found


def with_inputs(argument: str, content: Content, options: DataOptions) -> Content:
    """Return a content with its texts or images, if its table has a column of these."""
    if content.inputs is not None:
        return content
    if options.text is not None:
        words = options.kind == "tags"
        return replace(content, inputs=_texts(content.frame, options.text, words))
    if options.image is not None:
        found = _images(argument, content.frame, options.image)
        return replace(content, inputs=checked(found, argument, options.size))
    return content


def inputs_of(content: Content, columns: Columns | None, train: Inputs | None) -> Inputs:
    """Return the inputs of a content.

    Args:
        content: Of any part of the data.
        columns: What the columns of the training data are, if these are its inputs.
        train: The inputs of the training data otherwise.

    Raises:
        DataError: It lacks a column, or is of another form than the training data.
    """
    name, inputs = content.frame.name, content.inputs
    if inputs is None and columns is not None:
        return torch.from_numpy(columns.encode(content.frame))
    if inputs is None or train is None or type(inputs) is not type(train):
        raise DataError(
            f"all data must be of the form of the training data, got {name} of another; give a "
            "file like that of `train`"
        )
    theirs, ours = _shape(train), _shape(inputs)
    if theirs != ours:
        raise DataError(
            f"all inputs must be of the training data's shape, {theirs}, got {ours} in {name}; "
            + ("write image_size: 224" if isinstance(train, Pictures) else "correct the file")
        )
    return inputs


def form_of(inputs: Inputs, columns: Columns | None) -> str:
    """Return what inputs are, in a word."""
    if columns is not None:
        return "columns"
    if isinstance(inputs, list):
        return "text"
    return "arrays" if isinstance(inputs, Tensor) else "image"


def _shape(inputs: Inputs) -> Any:
    if isinstance(inputs, Tensor):
        return list(inputs.shape[1:])
    return inputs.size if isinstance(inputs, Pictures) else None


def _texts(frame: Frame, name: str, words: bool) -> list[str]:
    """Return texts; where words have a tag each, a cell may be the list of its words."""
    cells: Any = frame.cells("text", name)
    if words:
        cells = [" ".join(each) if _are_words(each) else each for each in cells]
    wrong = [row for row, cell in enumerate(cells) if not (isinstance(cell, str) and cell.strip())]
    if wrong:
        cell = cells[wrong[0]]
        kind = "nothing" if cell is None or isinstance(cell, str) else repr(cell)
        others = f" (and so in {len(wrong) - 1:,} more)" if len(wrong) > 1 else ""
        raise DataError(
            f"`text` must name a column of texts, got {name!r} with {kind} in "
            f"{frame.row(wrong[0])}{others}; fill it, or leave the row out"
        )
    return list(cells)


def _are_words(cell: object) -> bool:
    return isinstance(cell, list) and all(
        isinstance(each, str) and len(each.split()) == 1 for each in cell
    )


def _images(argument: str, frame: Frame, name: str) -> Pictures:
    """Return the images of a column, which are paths, or bytes as Hugging Face stores them."""
    pillow(argument)
    cells = frame.cells("image", name)
    encoded = [each.get("bytes") if isinstance(each, Mapping) else each for each in cells]
    if isinstance(encoded[0], bytes):
        contents: list[Any] = encoded
        for row, cell in enumerate(contents):
            if not isinstance(cell, bytes):
                raise DataError(
                    f"`image` must name a column of images, got none in {frame.row(row)}"
                )
        names = [f"the image in {frame.row(row)}" for row in range(len(cells))]
        return Pictures(Cells(contents, names))
    folder = (frame.folder or Path()).resolve()
    return Pictures(
        Files(folder, [_inside(frame, folder, row, cell) for row, cell in enumerate(cells)])
    )


def _inside(frame: Frame, folder: Path, row: int, cell: object) -> str:
    """Return a path within the table's folder."""
    path = (folder / cell).resolve() if isinstance(cell, str) and cell.strip() else folder
    if not path.is_relative_to(folder) or not path.is_file():
        raise DataError(
            "`image` must name a column of paths of images within the folder of the table, "
            f"got {cell!r} in {frame.row(row)}; correct it, or move the image there"
        )
    return path.relative_to(folder).as_posix()
