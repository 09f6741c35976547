"""A table in memory, by columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.cells import as_text, days, is_missing, mapped, number, numbers
from tutelage.errors import DataError, did_you_mean, some_of

Kind = Literal["number", "date"]
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
    """

    name: str
    columns: dict[str, Cells]
    nameless: frozenset[str] = frozenset()
    folder: Path | None = None
    _read: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def cells(self, option: str, name: str) -> Cells:
        """Return a column.

        Raises:
            DataError: There is none of this name; the nearest one is named.
        """
        if not self.columns:
            raise DataError(
                f"`{option}` must name a column, got {name!r} of {self.name}, which has no columns;"
                " leave it out, or give a table: .csv, .tsv or .jsonl"
            )
        if name not in self.columns:
            raise DataError(
                f"`{option}` must name a column of {self.name}, got {name!r}; "
                f"{nearest(name, self.columns)}"
            )
        return self.columns[name]

    def full(self, option: str, name: str) -> list[str]:
        """Return a column that is never empty, as texts.

        Raises:
            DataError: There is none of this name, or it has empty cells.
        """
        cells, absent = self.cells(option, name), self.absent(name, ("",))
        if absent.any():
            raise DataError(
                f"`{option}` must name a column that is never empty, got {name!r}, which is in "
                f"{self.row(int(absent.argmax()))}; fill it, or leave such rows out"
            )
        return list(map(as_text, cells))

    def absent(self, name: str, missing: Collection[str]) -> NDArray[np.bool_]:
        """Tell which cells of a column hold nothing."""
        cells = self.columns[name]
        marks = [value for each in missing if (value := number(each)) is not None]
        if _is_numeric(cells):
            return np.isnan(cells.astype(np.float64)) | np.isin(cells, marks)

        def gone(cell: Any) -> bool:
            return is_missing(cell, missing) or (bool(marks) and number(cell) in marks)

        return np.array(mapped(gone, cells), dtype=np.bool_)

    def read(
        self, name: str, kind: Kind, missing: Collection[str]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a column as numbers, dates as days, NaN where absent; and which are neither."""
        if (name, kind, *missing) not in self._read:
            cells, absent = self.columns[name], self.absent(name, missing)
            if _is_numeric(cells):
                found = cells.astype(np.float64), np.full(len(cells), kind == "date")
            else:
                values = numbers(cells) if kind == "number" else mapped(days, cells)
                unread = np.fromiter((each is None for each in values), np.bool_, len(values))
                found = np.array(values, dtype=np.float64), unread  # None becomes NaN
            values, unread = found
            self._read[name, kind, *missing] = np.where(absent, np.nan, values), unread & ~absent
        return self._read[name, kind, *missing]

    def row(self, at: int) -> str:
        """Return how a row is called in messages."""
        return f"row {at + 1:,} of {self.name}"


def nearest(name: str, names: Iterable[str]) -> str:
    """Return advice for a name that does not exist: the nearest ones, or all."""
    known = list(names)
    return did_you_mean(name, known) or f"it has {some_of(map(repr, known), 20) or 'none'}"


def _is_numeric(cells: Cells) -> bool:
    return isinstance(cells, np.ndarray) and cells.dtype.kind in "fiu"
