"""Single cells of tables as names, numbers and dates, however programs write them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_MARKS = {"", ".", "..", "?", "-", "--", "*", "na", "n/a", "n.a.", "nan", "nil", "null", "none"}
_MARKS |= {"missing", "unknown", "#n/a", "#na", "#div/0!", "#ref!", "#value!", "#num!"}
"""What stands for a missing number beside numbers, without its case and spaces around it."""
_AROUND = re.compile(r"[\s$€£¥₹₩₽%'’]|(?:USD|EUR|GBP|CHF|JPY)\b")
_NUMBER = re.compile(r"[+-]?(?!0\d)(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.I)
"""Digits after a leading zero are a code, such as 01234."""
_GROUPED = {
    mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:\{mark}\d{{3}})+(?!\d)(?!\{mark})") for mark in ".,"
}
_DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d%b%Y", "%d%b%y")
_DAYS += ("%d-%b-%Y", "%d-%b-%y", "%b-%Y", "%b-%y")
_TIMES = ("", " %H:%M", " %I:%M %p", " %I:%M:%S %p", ":%H:%M:%S")
_FORMS = (*(f"{day}{time}" for day in _DAYS for time in _TIMES), "%H:%M", "%H:%M:%S", "%I:%M %p")
"""Formats of dates that pandas does not guess."""
_DAY_SECOND = re.compile(r"%Y\W*%d")
"""What pandas guesses where days come first, but nobody writes behind a year."""


def as_text(cell: object) -> str:
    """Return a category or a class as text: 3 and 3.0 are the same, true is true."""
    if isinstance(cell, (bool, np.bool_)):
        return str(cell).lower()
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return cell.strip() if isinstance(cell, str) else str(cell)


def plain(text: str) -> str:
    """Return the form that 10 and 10.0 have in common, and true and TRUE; others as they are."""
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    return text.lower() if text.lower() in ("true", "false") else text


def places(names: Iterable[Any]) -> Callable[[Any], int | None]:
    """Return a function from a cell to the place of its name; None for a cell that has none.

    Programs write one category as 10 in a column of integers and as 10.0 where a cell is missing,
    and true as True or TRUE. A name that is written as the cell is has precedence; of several that
    differ in this alone none is meant by another form.
    """
    exact = {each: at for at, each in enumerate(names)}
    forms = Counter(plain(as_text(each)) for each in exact)
    loose = {plain(as_text(each)): at for each, at in exact.items()}
    return partial(_place, exact, {each: at for each, at in loose.items() if forms[each] == 1})


def _place(exact: Mapping[Any, int], loose: Mapping[str, int], cell: Any) -> int | None:
    found = exact.get(cell)
    found = exact.get(as_text(cell)) if found is None else found
    return loose.get(plain(as_text(cell))) if found is None else found


def is_mark(text: object) -> bool:
    """Tell whether a text stands for a missing number where the others are numbers."""
    return isinstance(text, str) and text.strip().lower() in _MARKS


def decimal_mark(texts: Iterable[Any]) -> str:
    """Return the mark before decimals in numbers as texts: the last of two marks, or a comma.

    A comma is between thousands if all have three digits behind it, as in 1,234 and 12,345,678.
    """
    commas = False
    for text in texts:
        if not isinstance(text, str):
            continue
        bare = _AROUND.sub("", text).strip("()")
        comma, dot = bare.rfind(","), bare.rfind(".")
        if comma >= 0 and dot >= 0:
            return "," if comma > dot else "."
        if bare.count(".") > 1:
            return ","
        commas |= comma >= 0 and not _GROUPED[","].fullmatch(bare)
    return "," if commas else "."


def numbers_of(cells: Sequence[Any], decimal: str | None = None) -> NDArray[np.float64]:
    """Return the numbers in cells, NaN for what is none.

    Signs of currencies and per cent, spaces and marks between thousands are left out; numbers in
    brackets are negative. Codes such as 01234 are texts.

    Args:
        cells: Any values; others than texts are read as numbers if they are.
        decimal: The mark before decimals; None to find it.
    """
    decimal = decimal or decimal_mark(cells)
    other = "," if decimal == "." else "."

    def number(cell: Any) -> float:
        if not isinstance(cell, str):
            try:
                return float(cell)
            except (TypeError, ValueError):
                return np.nan
        text = re.sub(r"^\((.+)\)$", r"-\1", _AROUND.sub("", cell).replace("−", "-"))
        if other in text:
            if _GROUPED[other].match(text) is None:
                return np.nan
            text = text.replace(other, "")
        text = text.replace(decimal, ".")
        return float(text) if _NUMBER.fullmatch(text) else np.nan

    return np.array([number(each) for each in cells], dtype=np.float64)


def date_formats(texts: Sequence[str]) -> list[str]:
    """Return the formats in which all texts are dates and which give different ones, best first.

    `ISO8601` stands for dates such as 2024-12-31 and 2024-12-31T10:30Z, which may be mixed. Where
    days and months cannot be told apart, 31.12. and 31-12- are tried before 12/31, as written.

    Args:
        texts: Different ones, at least one.
    """
    import pandas as pd  # noqa: PLC0415 - heavy
    from pandas.tseries.api import guess_datetime_format  # noqa: PLC0415

    first, series = texts[0].strip(), pd.Series(list(texts), dtype=object)
    if not any(each.isdigit() for each in first):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of days and months that cannot be told apart
        orders = (False, True) if "/" in first else (True, False)
        guesses = [guess_datetime_format(first, dayfirst=each) for each in orders]
    guesses = [each for each in guesses if each and not _DAY_SECOND.match(each)]
    if re.match(r"\d{4}-\d\d", first):
        guesses = ["ISO8601"]
    found: dict[str, pd.Series] = {}
    for form in dict.fromkeys([*guesses, *_FORMS]):
        if dates_of(series.iloc[:1], form).isna().any():
            continue
        dates = dates_of(series, form)
        if not dates.isna().any() and not any(dates.equals(each) for each in found.values()):
            found[form] = dates
    return list(found)


def dates_of(cells: pd.Series, form: str | None) -> pd.Series:
    """Return dates in UTC, without a zone; NaT for what is none.

    Args:
        cells: Texts, or dates as pandas has them.
        form: The format of texts; None for dates.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    if cells.dtype.kind == "M":
        form = None
    if form is not None:
        cells = cells.where(cells.isna(), cells.astype(str).str.strip())
    found = pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    return found.dt.tz_localize(None)
