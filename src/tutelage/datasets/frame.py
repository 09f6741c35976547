"""A table in memory, by columns."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.cells import is_missing
from tutelage.errors import DataError

Cells = Any
"""A column's cells: a sequence, or an array of numbers."""


@dataclass(frozen=True)
class Frame:
    """The columns of a table, each a list of cells or an array of numbers.

    Args:
        name: What the table is called in messages, such as its file.
        columns: Cells by column, all of equal length.
        nameless: Columns without a name in the file, which are no input unless they are named.
        folder: Where relative paths in cells begin.
        numbers: Which rows of the file these are; None for all.
    """

    name: str
    columns: dict[str, Cells]
    nameless: frozenset[str] = frozenset()
    folder: Path | None = None
    numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def cells(self, option: str, name: str) -> Cells:
        """Return a column.

        Raises:
            DataError: There is none of this name; the nearest one is named.
        """
        if name not in self.columns:
            raise DataError(
                f"`{option}` must name a column of {self.name}, got {name!r}; "
                f"{nearest(name, self.columns)}"
            )
        return self.columns[name]

    def absent(self, name: str, missing: Collection[str]) -> NDArray[np.bool_]:
        """Tell which cells of a column hold nothing."""
        cells = self.columns[name]
        if isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu":
            marks = [float(each) for each in missing if _is_float(each)]
            return np.isnan(cells.astype(np.float64)) | np.isin(cells, marks)
        return np.fromiter((is_missing(each, missing) for each in cells), np.bool_, len(cells))

    def row(self, at: int) -> str:
        """Return how a row is called in messages."""
        number = at if self.numbers is None else int(self.numbers[at])
        return f"row {number + 1:,} of {self.name}"

    def taken(self, rows: NDArray[np.int64]) -> Frame:
        """Return the table of some of the rows."""
        columns = {
            name: cells[rows] if isinstance(cells, np.ndarray) else [cells[row] for row in rows]
            for name, cells in self.columns.items()
        }
        numbers = rows if self.numbers is None else self.numbers[rows]
        return replace(self, columns=columns, numbers=numbers)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return advice for a name that does not exist: the nearest ones, or all."""
    known = list(names)
    close = difflib.get_close_matches(name, known, cutoff=0.5) or [
        each for each in known if each.lower() == name.lower()
    ]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(map(repr, known[:20])) + (", …" if len(known) > 20 else "")  # noqa: PLR2004
    return f"it has {shown}" if known else "it has no columns"


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
