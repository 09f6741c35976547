"""What a file or a folder holds, before it is known which of it are inputs and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text
from tutelage.datasets.images import Pictures
from tutelage.errors import DataError, did_you_mean, some_of

if TYPE_CHECKING:
    import pandas as pd

Inputs = Tensor | list[str] | Pictures
"""Inputs of examples: rows of numbers, texts, or images."""


@dataclass(frozen=True)
class Content:
    """What a file or a folder holds.

    Args:
        name: What it is called in messages.
        frame: The columns of a table; for other files those of labels and domains.
        inputs: None where they are columns of the table.
        labels: The columns of the labels, unless the options name others.
        domain: Likewise, of the domains.
        classes: The names of the classes of a column, in the order of their ids, where they are
            known.
        folder: Where relative paths in cells begin.
        notes: What was left out, and what may be meant otherwise than it was read.
        read_as: How it was read, such as the separator of a CSV file.
        header: Which line has the names of columns, as pandas' option, unless it is the first.
    """

    name: str
    frame: pd.DataFrame
    inputs: Inputs | None = None
    labels: tuple[str, ...] = ()
    domain: str | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    read_as: tuple[str, ...] = ()
    header: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame) if self.inputs is None else len(self.inputs)

    @property
    def names(self) -> list[str]:
        """The names of the columns, without spaces around them."""
        return [str(each).strip() for each in self.frame.columns]

    def column(self, option: str, name: str) -> pd.Series:
        """Return a column.

        Raises:
            DataError: There is none of this name; the nearest one is named.
        """
        names = self.names
        if name not in names:
            raise DataError(
                f"`{option}` must name a column of {self.name}, got {name!r}; "
                f"{nearest(name, names)}"
            )
        return self.frame.iloc[:, names.index(name)]

    def texts(self, option: str, name: str) -> list[str]:
        """Return a column that is never empty, as texts.

        Raises:
            DataError: There is none of this name, or it has empty cells.
        """
        cells = self.column(option, name)
        absent = cells.isna().to_numpy()
        if absent.any():
            raise DataError(
                f"`{option}` must name a column that is never empty, got {name!r}, which is in "
                f"{self.row(int(absent.argmax()))}; fill it, or leave such rows out"
            )
        return [as_text(each) for each in cells.tolist()]

    def row(self, at: int) -> str:
        """Return how a row is called in messages."""
        return f"row {at + 1:,} of {self.name}"

    def kept(self, rows: NDArray[Any], *notes: str) -> Content:
        """Return some of the rows, with what is to be told of it."""
        inputs = None if self.inputs is None else taken(self.inputs, rows)
        frame = self.frame.iloc[rows] if len(self.frame.columns) else self.frame
        return replace(self, frame=frame, inputs=inputs, notes=(*self.notes, *notes))


def nearest(name: str, names: Iterable[str]) -> str:
    """Return advice for a name that does not exist: the nearest ones, or all."""
    known = list(names)
    return did_you_mean(name, known) or f"it has {some_of(map(repr, known), 20) or 'none'}"


def taken(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
    """Return some of the inputs."""
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return [inputs[row] for row in rows] if isinstance(inputs, list) else inputs.taken(rows)
