"""What the columns of a table are, and its rows as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Number
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import (
    date_formats,
    dates_of,
    decimal_mark,
    is_mark,
    numbers_of,
    places,
)
from tutelage.errors import DataError, some_of

if TYPE_CHECKING:
    import pandas as pd

_FEW, _ENOUGH, _MOSTLY, _EXACT = 50, 20, 0.9, 2.0**53
_DAY = 86_400e6  # microseconds
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
    """What `encode` has met and `decode` must give back, the one part that changes.

    New categories, by code; texts, and integers that floats cannot hold, by their number or day.
    """

    def encode(self, cells: pd.Series) -> NDArray[np.float64]:
        """Return cells as numbers, codes or days; NaN for missing ones and what is no number.

        A category that the training file does not have gets a code behind its categories.
        """
        kind = cells.dtype.kind
        if self.kind == "number" and self.form is None and kind in "biuf":
            found = cells.to_numpy(dtype=np.float64, na_value=np.nan)
            if kind in "iu" and np.nanmax(np.abs(found), initial=0) >= _EXACT:
                self._seen.update(zip(found.tolist(), cells.tolist(), strict=True))
        elif (self.kind, kind) in (("number", "m"), ("date", "M")):
            found = _days(cells if kind == "m" else dates_of(cells, None))
        else:
            at, values = factorized(cells)  # of equal cells one is read
            if self.kind == "category":
                codes = map(self._code, values)
                encoded = np.array([*codes], dtype=np.float64)
            elif self.kind == "number":
                encoded = numbers_of(values, self.form or ".")
            else:
                encoded = _days(dates_of(as_series(values), self.form))
            if self.form is not None:
                for number, text in zip(encoded.tolist(), values, strict=True):
                    self._seen.setdefault(number, text)
            found = np.append(encoded, np.nan)[at]
        return np.where(np.isinf(found), np.nan, found)

    def decode(self, values: NDArray[np.float64]) -> pd.Series:  # noqa: PLR0911 - by dtype
        """Return what `encode` had, with the dtype that pandas gave the training file."""
        import pandas as pd  # noqa: PLC0415 - heavy

        absent, dtype, kind = np.isnan(values), self.dtype, getattr(self.dtype, "kind", "O")
        if self.kind == "category":
            known = as_series([*self.categories, *self._seen, self.missing])
            codes = np.where(absent, len(known) - 1, np.round(values)).astype(np.int64)
            found = known.iloc[codes.clip(0, len(known) - 1)].reset_index(drop=True)
            return found.infer_objects() if kind in "biuf" else found.astype(dtype or object)
        if self.form is not None:
            pairs = zip(values.tolist(), absent.tolist(), strict=True)
            texts = [self.missing if gone else self._text(value) for value, gone in pairs]
            return as_series(texts).astype(dtype or object)
        if self.kind == "date" or kind == "m":
            spans = np.where(absent, 0.0, np.round(values * _DAY)).astype("timedelta64[us]")
            found = pd.Series(spans if kind == "m" else spans + np.datetime64(0, "us")).mask(absent)
            zone = getattr(dtype, "tz", None)
            found = found if zone is None else found.dt.tz_localize("UTC").dt.tz_convert(zone)
            return found if kind == "O" else found.astype(dtype)
        if kind == "O" or (kind in "iu" and (values != np.round(values))[~absent].any()):
            return pd.Series(values)  # integers that were mixed or have noise
        if self._seen and not absent.any():  # integers that are no floats
            return as_series([self._seen.get(each, each) for each in values.tolist()]).astype(dtype)
        if pd.api.types.is_extension_array_dtype(dtype):
            return pd.Series(values).mask(absent).astype(dtype)
        return pd.Series(values if absent.any() and kind != "f" else values.astype(dtype))

    @cached_property
    def _place(self) -> Callable[[Any], int | None]:
        return places(self.categories)

    def _code(self, value: Any) -> int:
        """Return the code of a category; 10, 10.0 and "10" are one, unless training has several."""
        found = self._place(value)
        if found is None:
            found = self._seen.setdefault(value, len(self.categories) + len(self._seen))
        return found

    def _text(self, value: float) -> str:
        import pandas as pd  # noqa: PLC0415 - heavy

        if value in self._seen:
            return self._seen[value]
        if self.kind == "number":
            return f"{value:g}".replace(".", self.form or ".")
        day = pd.Timestamp(np.datetime64(round(value * _DAY), "us"))
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
        dropped, texts, notes = {}, [], []
        for at, label in enumerate(frame.columns):
            name = str(label).strip()
            column, useless, note = _fitted(frame.iloc[:, at], label, name in categories)
            used = name not in unused and (inputs is None or name in inputs)
            if used and useless and inputs is None:
                dropped[at], used = f"{name!r} ({useless})", False
            elif used and note:
                (notes if column.kind == "date" else texts).append(note)
            found.append(replace(column, used=used))
        shown = some_of(dropped.values(), 20)
        if dropped and not any(each.used for each in found):  # better than nothing
            notes.append(f"there are no inputs but {shown}")
            found = [replace(each, used=at in dropped) for at, each in enumerate(found)]
        elif dropped:
            notes.append(f"not inputs: {shown}; list inputs in `columns` to use them")
        if texts:
            notes.append(
                f"read as numbers: {some_of(texts, 20)}; name those in `categories` that are texts"
            )
        order = sorted(range(len(found)), key=lambda at: not found[at].used)
        return cls(tuple(found[at] for at in order), tuple(missing), tuple(order), tuple(notes))

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
            if notes is None or not column.used or column.kind == "category":
                continue
            lost = cells[np.isnan(rows[:, place]) & ~cells.isna().to_numpy()]
            lost = [each for each in lost if not is_mark(each)]
            if lost:
                notes.append(
                    f"{len(lost):,} cells of {column.name!r} in {name} are no finite "
                    f"{column.kind}s, such as {some_of(map(repr, dict.fromkeys(lost)), 3)}, and "
                    "are read as missing"
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
        labels = [each.name if each.label is None else each.label for each in chosen]
        return found.set_axis(pd.Index(labels), axis=1)

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

        def simple(value: Any) -> Any:
            value = value.item() if isinstance(value, np.generic) else value
            return value if isinstance(value, (str, int, float, bool)) else str(value)

        columns = [
            {"name": each.name, "kind": each.kind, "form": each.form}
            | {"categories": [*map(simple, each.categories)]}
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


def _fitted(  # noqa: C901, PLR0911 - one kind after the other
    cells: pd.Series, label: Hashable, as_category: bool
) -> tuple[Column, str, str]:
    """Return what a column is; why nothing can be learnt from it, or ""; and how it is read.

    Args:
        cells: Of the whole training file.
        label: How pandas calls it.
        as_category: Whether its numbers are categories.
    """
    name, absent, present = str(label).strip(), cells.isna(), cells.dropna()
    dtype: Any = cells.dtype
    missing = cells.iloc[int(absent.argmax())] if dtype.kind == "O" and absent.any() else np.nan
    column = Column(name, "number", label=label, dtype=dtype, missing=missing)
    if not len(present):
        return column, "no values", ""
    if hasattr(dtype, "categories"):
        return replace(column, kind="category", categories=tuple(dtype.categories)), "", ""
    if dtype.kind in "iufm" and not as_category:
        return column, _why_number(name, present), ""
    if dtype.kind == "M" and not as_category:
        return replace(column, kind="date"), "", ""
    at, values = factorized(present)
    in_order = sorted(
        values, key=lambda each: (0, each, "") if isinstance(each, Number) else (1, 0, str(each))
    )
    whole = replace(column, kind="category", categories=tuple(in_order))
    if as_category or all(isinstance(each, bool) for each in values):
        return whole, "", ""
    texts = [each for each in values if isinstance(each, str)]
    if not texts and not np.isnan(numbers_of(values, ".")).any():  # such as Decimal
        return column, "", ""
    if not texts and all(hasattr(each, "isoformat") for each in values):
        of_day = not any(hasattr(each, "year") for each in values)
        return replace(column, kind="date", form="%H:%M:%S" if of_day else None), "", ""

    # Texts are numbers if all of them are, or marks such as "?", or, of many numbers, nearly all.
    marks, form = [each for each in texts if is_mark(each)], decimal_mark(texts)
    numbers = numbers_of(values, form)
    other = [each for each in np.array(values, object)[np.isnan(numbers)] if not is_mark(each)]
    share = np.bincount(at)[~np.isnan(numbers)].sum() / len(at)
    many = share >= _MOSTLY and len(values) > _ENOUGH
    if texts and 2 * share >= 1 and (many or not other):
        shown = next((each for each in texts if each not in marks), "")
        note = f"{name!r} (such as {shown!r}"
        if marks or other:
            note += f"; missing where {some_of(map(repr, [*marks, *other]), 3)}"
        missing = marks[0] if marks else missing
        return replace(column, form=form, missing=missing), "", f"{note})"
    dates = [each for each in values if each not in marks]
    if dates and len(texts) == len(values) and (forms := date_formats(dates)):
        note = f"{name!r} was read as dates {forms[0]}, and can be read as {forms[-1]}: write read:"
        note += f" {{parse_dates: [{name}], dayfirst: true}} to say so"
        return replace(column, kind="date", form=forms[0]), "", note if len(forms) > 1 else ""
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
    if str(values[0]).startswith(("[", "{")):
        return "lists or objects"
    if len(values) == number and (number >= _ENOUGH or name.startswith("Unnamed: ")):
        return "a different text in each row"
    return "free text" if len(values) > _FEW and 2 * len(values) > number else ""


def factorized(cells: pd.Series) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the place of each cell among the different values, −1 for missing, and these."""
    import pandas as pd  # noqa: PLC0415 - heavy

    try:
        at, values = pd.factorize(cells)
    except TypeError:  # lists and objects
        at, values = pd.factorize(cells.map(repr, na_action="ignore"))
    return at, values.tolist()


def as_series(values: Any) -> pd.Series:
    """Return a column of objects."""
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.Series(values, dtype=object)


def _days(times: pd.Series) -> NDArray[np.float64]:
    """Return dates, or spans of time, in days; NaN for missing ones.

    In nanoseconds, as pandas counts otherwise, there is no 9999-12-31.
    """
    zero = np.timedelta64(0, "us") if times.dtype.kind == "m" else np.datetime64(0, "us")
    spans = times.to_numpy(zero.dtype) - zero
    return np.where(np.isnat(spans), np.nan, spans.astype(np.float64) / _DAY)
