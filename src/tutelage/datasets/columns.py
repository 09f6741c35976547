"""What the columns of a table are, and its rows as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import are_other_dates, as_text, in_other_form, mapped, places
from tutelage.datasets.frame import Cells, Frame
from tutelage.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_FEW = 50
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Args:
        name: Of the column.
        kind: Numbers; categories, whose code is their place in `categories`; or dates, in days
            since 1970-01-01.
        categories: The categories of the training data, sorted.
        used: Whether it is an input of a network by `TableInputs`; teachers get all columns.
    """

    name: str
    kind: Literal["number", "category", "date"]
    categories: tuple[str, ...] = ()
    used: bool = True


@dataclass(frozen=True)
class Columns:
    """The columns of a table's rows, as they are in the training data.

    A row is float64 `[columns]`: numbers as they are, categories as codes, dates as days since
    1970-01-01, NaN for a missing cell and for a category that the training data does not have.

    Args:
        columns: In the order of a row.
        missing: Cells that are read as missing.
    """

    columns: tuple[Column, ...]
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(each.name for each in self.columns)

    @property
    def used(self) -> list[int]:
        """The positions of the columns that are inputs of a network."""
        return [at for at, each in enumerate(self.columns) if each.used]

    @classmethod
    def fit(
        cls,
        frame: Frame,
        names: Sequence[str],
        categories: Sequence[str] = (),
        missing: Sequence[str] = (),
        rows: NDArray[np.int64] | None = None,
    ) -> Columns:
        """Return what columns of the training data are; these are some of the rows, or all.

        Raises:
            DataError: There is no such column, or it is neither numbers, dates nor categories.
        """
        rows = np.arange(len(frame)) if rows is None else rows
        found = [_fitted(frame, name, rows, name in categories, missing) for name in names]
        return cls(tuple(found), tuple(missing))

    def encode(self, frame: Frame) -> NDArray[np.float64]:
        """Return the rows of a table, `[rows, columns]`.

        Raises:
            DataError: A column is missing, or has a cell that is no number or date.
        """
        rows = np.empty((len(frame), len(self.columns)))
        for at, column in enumerate(self.columns):
            rows[:, at] = _encoded(frame, column, self.missing)
        return rows

    def named(self, rows: Tensor | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return rows `[rows, columns]` as columns: numbers, categories as text, and dates.

        A missing cell is NaN, None or NaT. `pandas.DataFrame(columns.named(rows))` is the table
        that other libraries take.
        """
        array = np.asarray(rows, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.columns):  # noqa: PLR2004 - a table
            raise DataError(
                f"rows must have the {len(self.columns)} columns {', '.join(self.names)}, got "
                f"shape {list(array.shape)}; give rows of the same data"
            )
        return {each.name: _decoded(each, array[:, at]) for at, each in enumerate(self.columns)}

    def frame(self, rows: Tensor | NDArray[Any]) -> pd.DataFrame:
        """Return rows `[rows, columns]` as the table that pandas read them from.

        The columns have the names, order, values and dtypes that pandas gave to the training
        file, so that a model that was fitted on it gets what it was fitted on. Those that a network
        does not use, such as identifiers, are among them; labels are not.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        return pd.DataFrame(self.named(rows))

    def recoded(self, rows: NDArray[np.float64], of: Columns) -> NDArray[np.float64]:
        """Return rows of other columns as rows of these: in this order, by these codes.

        A category that these columns do not have is NaN.

        Args:
            rows: `[rows, columns]`.
            of: Whose rows they are.

        Raises:
            DataError: One of these columns is missing, or of another kind.
        """
        others = {each.name: (at, each) for at, each in enumerate(of.columns)}
        found = np.empty((len(rows), len(self.columns)))
        for at, column in enumerate(self.columns):
            place, other = others.get(column.name, (0, None))
            if other is None or other.kind != column.kind:
                came = "none of that name" if other is None else f"one of kind {other.kind!r}"
                raise DataError(
                    f"the data must have the column {column.name!r} of kind {column.kind!r}, got "
                    f"{came}; give data of the same columns (`categories` names those whose "
                    "numbers are categories)"
                )
            found[:, at] = values = rows[:, place]
            if column.kind == "category":
                place_of = places(column.categories)
                codes = [*map(place_of, other.categories), None]
                missing = np.where(np.isnan(values), len(codes) - 1, values).astype(np.int64)
                found[:, at] = np.array(codes, dtype=np.float64)[missing]
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the columns as plain lists and dicts."""
        columns = [
            {"name": each.name, "kind": each.kind, "categories": list(each.categories)}
            for each in self.columns
        ]
        return {"columns": columns, "missing": list(self.missing)}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Columns:
        """Return columns from `as_json`."""
        columns = (
            Column(each["name"], each["kind"], tuple(each["categories"]))
            for each in content["columns"]
        )
        return cls(tuple(columns), tuple(content["missing"]))

    def described(self) -> str:
        """Return how many columns are of which kind."""
        counts = Counter(each.kind for each in self.columns)
        many = {"number": "numbers", "category": "categories", "date": "dates"}
        parts = [f"{counts[kind]} of {many[kind]}" for kind in many if counts[kind]]
        return f"{len(self.columns)} columns ({', '.join(parts)})"


def _fitted(
    frame: Frame, name: str, rows: NDArray[np.int64], as_category: bool, missing: Sequence[str]
) -> Column:
    cells = frame.cells("columns", name)
    present = rows[~frame.absent(name, missing)[rows]]
    if not len(present):
        raise DataError(
            f"the column {name!r} must have a value in the training data, got {frame.name} with "
            f"none; write omit: [{name}]"
        )
    _check_plain(frame, name, cells, present)
    if as_category:
        return Column(name, "category", _categories(cells, present))
    kinds: tuple[Literal["number", "date"], ...] = ("number", "date")
    for kind in kinds:
        unread = frame.read(name, kind, missing)[1][present]
        if not unread.any():
            return Column(name, kind)
        readable = len(unread) - int(unread.sum())
        if 2 * readable > len(present):
            other = int(present[unread.argmax()])
            raise DataError(
                f"the column {name!r} must hold {kind}s only, or categories, got "
                f"{cells[other]!r} in {frame.row(other)} beside {readable:,} {kind}s; name it in "
                f"`missing` if it stands for nothing, or the column in `categories`, or write "
                f"omit: [{name}]"
            )
    categories = _categories(cells, present)
    if (other := in_other_form(categories)) is not None:
        raise DataError(
            f"the column {name!r} must hold numbers as 1234.5, or categories, got {other!r} in "
            f"{frame.name}; write a dot before decimals, nothing between thousands, and no sign but"
            " minus, or name the column in `categories`"
        )
    if are_other_dates(categories):
        raise DataError(
            f"the column {name!r} must hold dates as 2024-12-31, or categories, got "
            f"{categories[0]!r} in {frame.name}; write them so, or name the column in `categories`"
        )
    if len(categories) > _FEW and 2 * len(categories) > len(present):
        raise DataError(
            f"the column {name!r} must hold numbers, dates as 2024-12-31, or a few categories, got "
            f"{len(categories):,} different texts in {len(present):,} rows, such as "
            f"{categories[0]!r}; write omit: [{name}], or, if the texts are the input, text: {name}"
        )
    return Column(name, "category", categories)


def _check_plain(frame: Frame, name: str, cells: Cells, present: NDArray[np.int64]) -> None:
    for row in present:
        if isinstance(cells[row], (list, dict, tuple, bytes)):
            raise DataError(
                f"the column {name!r} must hold single values, got {type(cells[row]).__name__} in "
                f"{frame.row(int(row))}; write omit: [{name}], or make columns of its parts"
            )


def _categories(cells: Cells, present: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(sorted(set(mapped(as_text, [cells[row] for row in present]))))


def _encoded(frame: Frame, column: Column, missing: Sequence[str]) -> NDArray[np.float64]:
    cells = frame.cells("columns", column.name)
    if column.kind == "category":
        found = np.array(mapped(places(column.categories), cells), dtype=np.float64)  # None is NaN
        return np.where(frame.absent(column.name, missing), np.nan, found)
    found, unread = frame.read(column.name, column.kind, missing)
    if unread.any():
        row = int(unread.argmax())
        raise DataError(
            f"the column {column.name!r} must hold {column.kind}s, as in the training data, got "
            f"{cells[row]!r} in {frame.row(row)}; correct it, or name it in `missing`"
        )
    infinite = np.isinf(found)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(
            f"the column {column.name!r} must hold finite numbers, got {found[row]} in "
            f"{frame.row(row)}; correct it, or write omit: [{column.name}]"
        )
    return found


def _decoded(column: Column, values: NDArray[np.float64]) -> NDArray[Any]:
    if column.kind == "number":
        return values
    if column.kind == "date":
        stamps = np.where(np.isnan(values), 0.0, np.round(values * _DAY)).astype("datetime64[us]")
        stamps[np.isnan(values)] = np.datetime64("NaT")
        return stamps
    names = np.array([*column.categories, None], dtype=object)
    codes = np.where(np.isnan(values), len(column.categories), values).astype(np.int64)
    return names[codes]
