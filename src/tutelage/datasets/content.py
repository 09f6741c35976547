"""What a file or a folder holds, before and after it is known which of it are inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text
from tutelage.datasets.images import Pictures
from tutelage.errors import DataError, nearest

if TYPE_CHECKING:
    import pandas as pd

_FEW, _FRACTION = 5, 0.05

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
        targets: The labels as a tensor, once it is known what they are.
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
    targets: Tensor | None = None

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
        number = self.frame.index[at] if len(self.frame.columns) else at
        return f"row {number + 1:,} of {self.name}"

    def kept(self, rows: NDArray[Any], *notes: str) -> Content:
        """Return some of the rows, with what is to be told of it."""
        inputs, targets = self.inputs, self.targets
        if isinstance(inputs, Tensor):
            inputs = inputs[rows]
        elif inputs is not None:
            inputs = (
                [inputs[row] for row in rows] if isinstance(inputs, list) else inputs.taken(rows)
            )
        return replace(
            self,
            frame=self.frame.iloc[rows] if len(self.frame.columns) else self.frame,
            inputs=inputs,
            notes=(*self.notes, *notes),
            targets=None if targets is None else targets[torch.from_numpy(rows)],
        )


def few(count: int, total: int) -> bool:
    """Tell whether so few of all examples cannot be used that they are left out, which is told."""
    return count <= max(_FEW, _FRACTION * total)
