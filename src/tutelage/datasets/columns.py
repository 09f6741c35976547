"""What the columns of a table are, and its rows as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text, plain
from tutelage.datasets.parsing import date_format, dates_of, decimal_mark, is_mark, numbers_of
from tutelage.errors import DataError, some_of

if TYPE_CHECKING:
    import pandas as pd

_DAY = 86_400_000_000
_FEW, _ENOUGH = 50, 20
_MOSTLY, _EXACT = 0.9, 2.0**53
_NAMED_ID = ("id", "index", "uuid", "guid", "key", "row", "rownum", "row_number")


@dataclass(frozen=True)
class Column:
    """What a column holds.

    Args:
        name: Of the column.
        kind: Numbers; categories, whose code is their place in `categories`; or dates, in days
            since 1970-01-01 UTC.
        categories: The categories of the training file as pandas has them: texts, integers,
            floats, true and false.
        used: Whether it is an input of a network by `TableInputs`; a teacher gets all columns.
        label: How pandas calls it; None for `name`.
        dtype: That pandas gave it in the training file; None where that is not known.
        form: Of numbers in texts the mark before decimals, of dates in texts their format; None
            where they are numbers and dates for pandas.
        missing: How a missing cell is written in the training file.
    """

    name: str
    kind: Literal["number", "category", "date"]
    categories: tuple[Any, ...] = ()
    used: bool = True
    label: Hashable = field(default=None, compare=False)
    dtype: Any = field(default=None, compare=False, repr=False)
    form: str | None = None
    missing: Any = field(default=np.nan, compare=False, repr=False)
    _seen: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """Categories that are not those of training, with their codes; texts by their number or day."""

    def encode(self, cells: pd.Series) -> NDArray[np.float64]:
        """Return cells as numbers, codes or days; NaN for missing ones and what is no number.

        A category that the training file does not have gets a code behind its categories.
        """
        if self.kind == "number" and self.form is None and cells.dtype.kind in "biuf":
            found = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            if cells.dtype.kind in "iu" and np.nanmax(np.abs(found), initial=0) >= _EXACT:
                self._seen.update(zip(found.tolist(), cells.tolist(), strict=True))
        elif self.kind == "number" and cells.dtype.kind == "m":
            found = _days(cells.to_numpy("timedelta64[us]"))
        elif self.kind == "date" and cells.dtype.kind == "M":
            found = _days(dates_of(cells, None).to_numpy("datetime64[us]"))
        else:
            places, values = factorized(cells)  # of equal cells one is read
            if self.kind == "category":
                numbers = np.array([*map(self._code, values)], dtype=np.float64)
            elif self.kind == "number":
                numbers = numbers_of(values, self.form or ".")
            else:
                numbers = _days(dates_of(as_series(values), self.form).to_numpy("datetime64[us]"))
            if self.form is not None:
                for number, text in zip(numbers.tolist(), values, strict=True):
                    if isinstance(text, str):
                        self._seen.setdefault(number, text)
            found = np.append(numbers, np.nan)[places]
        return np.where(np.isinf(found), np.nan, found)

    def decode(self, values: NDArray[np.float64]) -> pd.Series:  # noqa: PLR0911 - by dtype
        """Return what `encode` had, with the dtype that pandas gave the training file."""
        import pandas as pd  # noqa: PLC0415 - heavy

        absent = np.isnan(values)
        dtype, kind = self.dtype, getattr(self.dtype, "kind", "O")
        if self.kind == "category":
            known = [*self.categories, *self._seen, self.missing]
            codes = np.where(absent, len(known) - 1, np.round(values)).astype(np.int64)
            found = as_array(known)[codes.clip(0, len(known) - 1)]
            return (
                as_series(found).infer_objects()
                if kind in "biuf"
                else pd.Series(found, dtype=dtype)
            )
        if self.form is not None:
            pairs = zip(values.tolist(), absent.tolist(), strict=True)
            texts = [self.missing if gone else self._text(value) for value, gone in pairs]
            return pd.Series(as_array(texts), dtype=dtype)
        if self.kind == "date" or kind == "m":
            spans = np.where(absent, 0.0, np.round(values * _DAY)).astype("timedelta64[us]")
            spans[absent] = np.timedelta64("NaT")
            found = pd.Series(spans if kind == "m" else spans + np.datetime64(0, "us"))
            zone = getattr(dtype, "tz", None)
            found = found if zone is None else found.dt.tz_localize("UTC").dt.tz_convert(zone)
            return found if kind == "O" else found.astype(dtype)
        if kind == "O" or (kind in "iu" and (values != np.round(values))[~absent].any()):
            return pd.Series(values)  # integers that were mixed or have noise
        if self._seen and not absent.any():  # integers that are no floats
            exact = [self._seen.get(each, each) for each in values.tolist()]
            return pd.Series(as_array(exact)).astype(dtype)
        if pd.api.types.is_extension_array_dtype(dtype):
            cells = pd.array(values, dtype=dtype)
            cells[absent] = pd.NA
            return pd.Series(cells)
        return pd.Series(values if absent.any() and kind != "f" else values.astype(dtype))

    @cached_property
    def _codes(self) -> tuple[dict[Any, int], dict[str, int]]:
        exact = {each: at for at, each in enumerate(self.categories)}
        forms = Counter(plain(as_text(each)) for each in self.categories)
        loose = {plain(as_text(each)): at for each, at in exact.items()}
        return exact, {each: at for each, at in loose.items() if forms[each] == 1}

    def _code(self, value: Any) -> int:
        """Return the code of a category; 10, 10.0 and "10" are one, unless training has several."""
        exact, loose = self._codes
        found = exact.get(value)
        found = loose.get(plain(as_text(value))) if found is None else found
        if found is None:
            found = self._seen.setdefault(value, len(exact) + len(self._seen))
        return found

    def _text(self, value: float) -> str:
        found = self._seen.get(value)
        if found is not None:
            return found
        if self.kind == "number":
            return f"{value:g}".replace(".", self.form or ".")
        day = (np.datetime64(0, "us") + np.timedelta64(round(value * _DAY), "us")).item()
        return day.isoformat(" ") if self.form == "ISO8601" else day.strftime(self.form or "")


@dataclass(frozen=True)
class Columns:
    """The columns of a table's rows, as they are in the training file.

    A row is float64 `[columns]`: numbers as they are, categories as codes, dates as days since
    1970-01-01, NaN for a missing cell. First come the columns that are inputs of a network, in
    their order in the file; then those that only a teacher may need, such as identifiers.

    Args:
        columns: In the order of a row.
        missing: Cells that are read as missing beside those that pandas takes for missing.
        order: The position of each column in the file; None for the order of a row.
        notes: Sentences on how columns were read that may be meant otherwise.
    """

    columns: tuple[Column, ...]
    missing: tuple[str, ...] = ()
    order: tuple[int, ...] | None = field(default=None, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(each.name for each in self.columns)

    @property
    def used(self) -> list[int]:
        """The positions of the columns that are inputs of a network, which are the first ones."""
        return [at for at, each in enumerate(self.columns) if each.used]

    @cached_property
    def inputs(self) -> Columns:
        """The columns that are inputs of a network."""
        kept = tuple(each for each in self.columns if each.used)
        return self if len(kept) == len(self) else Columns(kept, self.missing)

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        inputs: Collection[str] | None = None,
        unused: Collection[str] = (),
        categories: Collection[str] = (),
        missing: Sequence[str] = (),
    ) -> Columns:
        """Return what the columns of a table are; splitting it later does not change it.

        Args:
            frame: The whole training file, without its labels.
            inputs: The names of the columns that are inputs; None for all but `unused` and those
                from which nothing can be learnt: identifiers, free texts, columns without values.
            unused: The names of columns that only a teacher may need.
            categories: The names of columns of numbers that are categories.
            missing: Cells that were read as missing, to be written with the columns.
        """
        found: list[Column] = []
        dropped, texts, doubts = {}, [], []
        for at, label in enumerate(frame.columns):
            name = str(label).strip()
            column, why, note = fitted(frame.iloc[:, at], label, name in categories)
            used = name not in unused and (inputs is None or name in inputs)
            if used and why and inputs is None:
                dropped[at], used = f"{name!r} ({why})", False
            elif used and note:
                (doubts if column.kind == "date" else texts).append(note)
            found.append(replace(column, used=used))
        if dropped and not any(each.used for each in found):  # better than nothing
            doubts.append(f"there are no inputs but {some_of(dropped.values(), 20)}")
            found = [replace(each, used=at in dropped) for at, each in enumerate(found)]
        elif dropped:
            shown = some_of(dropped.values(), 20)
            doubts.append(f"not inputs: {shown}; list inputs in `columns` to use them")
        if texts:
            doubts.append(
                f"read as numbers: {some_of(texts, 20)}; name those in `categories` that are texts"
            )
        order = sorted(range(len(found)), key=lambda at: not found[at].used)
        return cls(tuple(found[at] for at in order), tuple(missing), tuple(order), tuple(doubts))

    def encode(
        self, frame: pd.DataFrame, name: str = "the data", notes: list[str] | None = None
    ) -> NDArray[np.float64]:
        """Return the rows of a table, `[rows, columns]`.

        Args:
            frame: As pandas reads it.
            name: What it is called in messages.
            notes: Receives sentences on cells that are no numbers or dates and so missing.

        Raises:
            DataError: Columns that are inputs are missing; all of them are named.
        """
        at = {str(label).strip(): place for place, label in enumerate(frame.columns)}
        lacking = [each.name for each in self.columns if each.used and each.name not in at]
        if lacking:
            raise DataError(
                f"{name} must have the columns of the training data, got none called "
                f"{some_of(map(repr, lacking), 20)}; it has {some_of(map(repr, at), 20)}"
            )
        rows = np.full((len(frame), len(self)), np.nan, order="F")
        for place, column in enumerate(self.columns):
            if column.name not in at:
                continue
            cells = frame.iloc[:, at[column.name]]
            rows[:, place] = column.encode(cells)
            if notes is not None and column.used and column.kind != "category":
                lost = np.isnan(rows[:, place]) & ~cells.isna().to_numpy()
                lost &= ~cells.map(is_mark).to_numpy() if lost.any() else lost
                if lost.any():
                    some = some_of(map(repr, cells[lost].unique().tolist()), 3)
                    notes.append(
                        f"{int(lost.sum()):,} cells of {column.name!r} in {name} are no finite "
                        f"{column.kind}s, such as {some}, and are read as missing"
                    )
        return np.ascontiguousarray(rows)

    def frame(self, rows: Tensor | NDArray[Any]) -> pd.DataFrame:
        """Return rows `[rows, columns]` as the table that pandas read them from.

        The columns have the names, order, values and dtypes that pandas gave to the training
        file, so that a model that was fitted on it gets what it was fitted on. Those that a network
        does not use, such as identifiers, are among them, unless rows hold inputs only; labels are
        not. Integers of which some are missing are floats, as pandas has them.
        """
        import pandas as pd  # noqa: PLC0415 - heavy

        array = np.asarray(rows, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] not in (len(self), len(self.used)):  # noqa: PLR2004
            raise DataError(
                f"rows must have the {len(self)} columns {', '.join(self.names)}, got shape "
                f"{list(array.shape)}; give rows of the same data"
            )
        places = range(array.shape[1])
        if self.order is not None:
            places = sorted(places, key=self.order.__getitem__)
        chosen = [self.columns[at] for at in places]
        cells = [each.decode(array[:, at]) for at, each in zip(places, chosen, strict=True)]
        found = pd.concat(cells, axis=1) if cells else pd.DataFrame()
        found.columns = pd.Index(
            [each.name if each.label is None else each.label for each in chosen]
        )
        return found

    def recoded(self, rows: NDArray[np.float64], of: Columns) -> NDArray[np.float64]:
        """Return rows of other columns as rows of these: in this order, by these codes.

        A category that these columns do not have gets a code behind theirs.

        Args:
            rows: `[rows, columns]`.
            of: Whose rows they are.

        Raises:
            DataError: One of these columns is missing, or of another kind.
        """
        others = {each.name: (at, each) for at, each in enumerate(of.columns)}
        found = np.empty((len(rows), len(self)))
        for at, column in enumerate(self.columns):
            place, other = others.get(column.name, (0, None))
            if other is None or other.kind != column.kind:
                came = "none of that name" if other is None else f"one of kind {other.kind!r}"
                raise DataError(
                    f"the data must have the column {column.name!r} of kind {column.kind!r}, got "
                    f"{came}; give data of the same columns (`categories` names those whose "
                    "numbers are categories)"
                )
            values = rows[:, place]
            found[:, at] = column.encode(other.decode(values)) if column.categories else values
        return found

    def as_json(self) -> dict[str, Any]:
        """Return the columns that are inputs as plain lists and dicts."""
        columns = [
            {"name": each.name, "kind": each.kind, "form": each.form}
            | {"categories": [_plain(value) for value in each.categories]}
            for each in self.inputs.columns
        ]
        return {"columns": columns, "missing": ["", *self.missing]}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Columns:
        """Return columns from `as_json`."""
        columns = (
            Column(each["name"], each["kind"], tuple(each["categories"]), form=each.get("form"))
            for each in content["columns"]
        )
        return cls(tuple(columns), tuple(filter(None, content["missing"])))

    def described(self) -> str:
        """Return how many columns are of which kind."""
        counts = Counter(each.kind for each in self.inputs.columns)
        many = {"number": "numbers", "category": "categories", "date": "dates"}
        parts = [f"{counts[kind]} of {many[kind]}" for kind in many if counts[kind]]
        return f"{len(self.inputs)} columns ({', '.join(parts)})"


def fitted(  # noqa: C901, PLR0911 - one kind after the other
    cells: pd.Series, label: Hashable, as_category: bool
) -> tuple[Column, str, str]:
    """Return what a column is; why nothing can be learnt from it, or ""; and how it is read.

    Args:
        cells: Of the whole training file.
        label: How pandas calls it.
        as_category: Whether its numbers are categories.
    """
    name = str(label).strip()
    dtype: Any = cells.dtype
    absent = cells.isna()
    missing = cells.iloc[int(absent.argmax())] if dtype.kind == "O" and absent.any() else np.nan
    column = Column(name, "number", label=label, dtype=dtype, missing=missing)
    present = cells.dropna()
    if not len(present):
        return column, "no values", ""
    if hasattr(dtype, "categories"):
        return replace(column, kind="category", categories=tuple(dtype.categories)), "", ""
    if dtype.kind in "iufm" and not as_category:
        return column, _why_number(name, present), ""
    if dtype.kind == "M" and not as_category:
        return replace(column, kind="date"), "", ""
    places, values = factorized(present)
    whole = replace(column, kind="category", categories=in_order(values))
    if as_category or dtype.kind == "b" or all(isinstance(each, bool) for each in values):
        return whole, "", ""
    if not any(isinstance(each, str) for each in values):
        if not np.isnan(numbers_of(values, ".")).any():  # such as Decimal
            return column, "", ""
        if all(hasattr(each, "isoformat") for each in values):
            return replace(column, kind="date"), "", ""
    elif (found := _as_numbers(column, places, values)) is not None:
        return *found[:1], "", found[1]
    elif (form := _as_dates(values)) is not None:
        first, other = form
        note = f"{name!r} was read as dates {first}, and can be read as {other}: write read: "
        note += f"{{parse_dates: [{name}], dayfirst: true}} to say so"
        return replace(column, kind="date", form=first), "", note if other else ""
    return whole, _why_texts(name, values, len(present)), ""


def _why_number(name: str, present: pd.Series) -> str:
    """Return why a column of numbers names rows: it counts them, or is called so and differs."""
    if present.dtype.kind not in "iu" or not present.is_unique:
        return ""
    first, number = int(present.iloc[0]), len(present)
    counts = first in (0, 1) and bool(
        (present.to_numpy() == np.arange(first, first + number)).all()
    )
    named = name.lower() in _NAMED_ID or name.endswith(("_id", "_ID", " id", " ID", "Id", ".id"))
    is_index = name.startswith("Unnamed: ")
    return "identifier" if is_index or (number >= _ENOUGH and (counts or named)) else ""


def _why_texts(name: str, values: Sequence[Any], number: int) -> str:
    if any(isinstance(each, str) and each.startswith(("[", "{")) for each in values[:1]):
        return "lists or objects"
    if len(values) == number and (number >= _ENOUGH or name.startswith("Unnamed: ")):
        return "a different text in each row"
    return "free text" if len(values) > _FEW and 2 * len(values) > number else ""


def _as_numbers(
    column: Column, places: NDArray[np.int64], values: Sequence[Any]
) -> tuple[Column, str] | None:
    """Return a column of numbers in texts, and how it was read; None if it is none.

    Others than numbers must be marks such as "?", or few, where there are many numbers.
    """
    form = decimal_mark(each for each in values if isinstance(each, str))
    numbers, counts = numbers_of(values, form), np.bincount(places)
    marks = [each for each in values if is_mark(each)]
    other = [
        each
        for each, value in zip(values, numbers, strict=True)
        if np.isnan(value) and not is_mark(each)
    ]
    share = counts[~np.isnan(numbers)].sum() / len(places)
    if 2 * share < 1 or (other and (share < _MOSTLY or len(values) <= _ENOUGH)):
        return None
    shown = next((each for each in values if isinstance(each, str) and each not in marks), "")
    note = f"{column.name!r} (such as {shown!r}"
    if marks or other:
        note += f"; missing where {some_of(map(repr, [*marks, *other]), 3)}"
    missing = marks[0] if marks else column.missing
    return replace(column, form=form, missing=missing), f"{note})"


def _as_dates(values: Sequence[Any]) -> tuple[str, str | None] | None:
    texts = [each for each in values if not is_mark(each)]
    return date_format(texts) if texts and all(isinstance(each, str) for each in texts) else None


def factorized(cells: pd.Series) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the place of each cell among the different values, −1 for missing, and these."""
    import pandas as pd  # noqa: PLC0415 - heavy

    try:
        places, values = pd.factorize(cells)
    except TypeError:  # lists and objects
        places, values = pd.factorize(cells.map(repr, na_action="ignore"))
    return places, as_series(values).tolist() if values.dtype.kind == "O" else values.tolist()


def in_order(values: Sequence[Any]) -> tuple[Any, ...]:
    """Return values sorted, numbers before texts."""
    return tuple(sorted(values, key=lambda each: (isinstance(each, str), each)))


def as_array(values: Sequence[Any]) -> NDArray[Any]:
    """Return an array of objects."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def as_series(values: Any) -> pd.Series:
    """Return a column of objects."""
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.Series(values if isinstance(values, np.ndarray) else as_array(values), dtype=object)


def _days(moments: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / _DAY)


def _plain(value: Any) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (str, int, float, bool)) else str(value)
