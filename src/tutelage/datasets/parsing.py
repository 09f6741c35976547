"""Numbers and dates in columns of text, as people and programs write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_MARKS = {"", ".", "..", "?", "-", "--", "*", "na", "n/a", "n.a.", "nan", "nil", "null", "none"}
_MARKS |= {"missing", "unknown", "#n/a", "#na", "#div/0!", "#ref!", "#value!", "#num!"}
"""What stands for a missing number beside numbers, without its case and spaces around it."""
_AROUND = re.compile(r"[\s$€£¥₹₩₽%'’]|(?:USD|EUR|GBP|CHF|JPY)\b")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.I)
_CODE = re.compile(r"[+-]?0\d")
"""Digits after a leading zero are a code, such as 01234."""
_GROUPED = {
    mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(?:\{mark}\d{{3}})+(?!\d)(?!\{mark})") for mark in ".,"
}
_DAYS = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y"]
_DAYS += [
    "%m-%d-%Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d%b%Y",
    "%d%b%y",
]
_DAYS += [
    "%d %b %Y",
    "%d %B %Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%a, %d %b %Y",
    "%Y-%m",
    "%b-%Y",
    "%b-%y",
]
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ":%H:%M:%S")
_ZONED = (" %H:%M:%S%z", " %H:%M:%S %z", " %H:%M:%S %Z")
_DATES = [f"{day}{time}" for day in _DAYS for time in _TIMES + _ZONED]
_DATES += ["%H:%M", "%H:%M:%S", "%I:%M %p", "%a %b %d %H:%M:%S %Y"]
_SOME = 100
_ISO = re.compile(r"\d{4}-\d\d(-\d\d.*)?|\d{4}-?W.*")


def is_mark(text: object) -> bool:
    """Tell whether a text stands for a missing number where the others are numbers."""
    return isinstance(text, str) and text.strip().lower() in _MARKS


def decimal_mark(texts: Iterable[str]) -> str:
    """Return the mark before decimals in numbers as texts: the last of two marks, or a comma.

    A comma is between thousands if all have three digits behind it, as in 1,234 and 12,345,678.
    """
    commas = False
    for text in texts:
        plain = _AROUND.sub("", text).strip("()")
        comma, dot = plain.rfind(","), plain.rfind(".")
        if comma >= 0 and dot >= 0:
            return "," if comma > dot else "."
        if plain.count(".") > 1:
            return ","
        commas |= comma >= 0 and not _GROUPED[","].fullmatch(plain)
    return "," if commas else "."


def numbers_of(texts: Sequence[Any], decimal: str | None = None) -> NDArray[np.float64]:
    """Return the numbers in texts, NaN for what is none.

    Signs of currencies and per cent, spaces and marks between thousands are left out; numbers in
    brackets are negative. Codes such as 01234 are no numbers.

    Args:
        texts: Any values; others than texts are read as numbers if they are.
        decimal: The mark before decimals; None to find it.
    """
    decimal = decimal or decimal_mark(each for each in texts if isinstance(each, str))
    other = "," if decimal == "." else "."
    return np.array([_number(each, decimal, _GROUPED[other], other) for each in texts], dtype=float)


def _number(cell: Any, decimal: str, grouped: re.Pattern[str], other: str) -> float:
    if not isinstance(cell, str):
        try:
            return float(cell)
        except (TypeError, ValueError):
            return np.nan
    text = _AROUND.sub("", cell).replace("−", "-")
    if len(text) > 2 and text[0] == "(" and text[-1] == ")":  # noqa: PLR2004 - the brackets
        text = f"-{text[1:-1]}"
    if other in text:
        if grouped.match(text) is None:
            return np.nan
        text = text.replace(other, "")
    text = text.replace(decimal, ".")
    if text.lower() in ("inf", "-inf", "+inf", "infinity", "-infinity"):
        return float(text)
    is_code = _CODE.match(text) is not None
    return float(text) if not is_code and _NUMBER.fullmatch(text) else np.nan


def date_format(texts: Sequence[str]) -> tuple[str, str | None] | None:
    """Return a format of `datetime.strptime` in which all texts are dates, and another, if any.

    `ISO8601` stands for dates such as 2024-12-31 and 2024-12-31T10:30Z, which may be mixed. Where
    days and months cannot be told apart, 31.12. and 31-12- are tried before 12/31, as written.

    Args:
        texts: Different ones, at least one.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    stripped = [each.strip() for each in texts]
    if all(map(_ISO.fullmatch, stripped)):
        found = pd.to_datetime(stripped, format="ISO8601", utc=True, errors="coerce")
        return None if found.isna().any() else ("ISO8601", None)
    if not any(each.isdigit() for each in stripped[0]):
        return None
    fitting = _DATES
    for text in stripped[:_SOME]:
        fitting = [each for each in fitting if _reads(text, each)]
    if len(stripped) > _SOME:
        fitting = [
            form
            for form in fitting
            if not pd.to_datetime(stripped, format=form, errors="coerce", utc=True).isna().any()
        ]
    if not fitting:
        return None
    first, *others = fitting
    return first, next((each for each in others if _swapped(each) == first), None)


def _reads(text: str, form: str) -> bool:
    try:
        datetime.strptime(text, form)
    except ValueError:
        return False
    return True


def _swapped(form: str) -> str:
    return form.translate({ord("d"): "m", ord("m"): "d"})


def dates_of(cells: pd.Series, form: str | None) -> pd.Series:
    """Return dates in UTC, without a zone; NaT for what is none.

    Args:
        cells: Texts, or dates as pandas has them.
        form: The format of texts; None for dates.
    """
    import pandas as pd  # noqa: PLC0415 - heavy

    if form is None or isinstance(cells.dtype, pd.DatetimeTZDtype) or cells.dtype.kind == "M":
        found = pd.to_datetime(cells, errors="coerce", utc=True)
    else:
        texts = cells.where(cells.isna(), cells.astype(str).str.strip())
        found = pd.to_datetime(texts, format=form, errors="coerce", utc=True)
    return found.dt.tz_localize(None)
