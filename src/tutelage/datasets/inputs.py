"""Which part of a content is the input, and its inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tutelage.datasets.columns import Columns
from tutelage.datasets.content import Content, Inputs
from tutelage.datasets.frame import Frame
from tutelage.datasets.options import DataOptions
from tutelage.errors import DataError


def column_names(frame: Frame, options: DataOptions) -> list[str]:
    """Return the columns that are inputs: those that are named, or all that are nothing else."""
    if options.columns is not None:
        for name in options.columns:
            frame.cells("columns", name)
        inside = [each for each in options.labels if each in options.columns]
        if inside:
            raise DataError(
                f"`columns` must not contain the label, got {inside[0]!r}; leave it out"
            )
        return list(options.columns)
    for name in options.categories:
        frame.cells("categories", name)
    others = {*options.labels, options.domain, options.split.group, *frame.nameless}
    return [each for each in frame.columns if each not in others]


def inputs_of(content: Content, columns: Columns | None, options: DataOptions) -> Inputs:
    """Return the inputs of a content.

    Raises:
        DataError: It lacks a column, or is of another form than the training data.
    """
    if content.inputs is not None:
        if columns is not None:
            raise DataError(
                "all data must have the columns of the training data, got "
                f"{content.frame.name} without columns; give a table"
            )
        return content.inputs
    frame = content.frame
    if options.text is not None:
        return _texts(frame, options.text)
    if columns is not None:
        return torch.from_numpy(columns.encode(frame))
    raise DataError(
        f"all data must be of the form of the training data, got the table {frame.name}; name the "
        "column of its inputs by `text`, or give a file like that of `train`"
    )


def form_of(inputs: Inputs, columns: Columns | None) -> str:
    """Return what inputs are, in a word."""
    if columns is not None:
        return "columns"
    if isinstance(inputs, list):
        return "text"
    return "arrays" if isinstance(inputs, Tensor) else "image"


def _texts(frame: Frame, name: str) -> list[str]:
    cells: Any = frame.cells("text", name)
    for row, cell in enumerate(cells):
        if not isinstance(cell, str) or not cell.strip():
            kind = "nothing" if cell is None or isinstance(cell, str) else repr(cell)
            raise DataError(
                f"`text` must name a column of texts, got {name!r} with {kind} in "
                f"{frame.row(row)}; fill it, or leave the row out"
            )
    return list(cells)
