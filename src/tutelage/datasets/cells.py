"""Cells of tables: which are missing, numbers or dates."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any
from unicodedata import category, normalize

import numpy as np

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?|nan", re.I)
_CODE = re.compile(r"[+-]?0\d")
"""Digits after a leading zero are a code, such as 01234, and not a number."""
_GROUPED = r"[1-9]\d{0,2}(?:[.,'’\s]\d{3})+(?:[.,]\d+)?"
_OTHER_FORM = re.compile(
    rf"[-+−]?[$€£¥]?\s?[-+−]?(?:\d[\d.]*,[\d,.]*\d|{_GROUPED}|(?:0|[1-9]\d*)(?:\.\d+)?)\s?[$€£¥%]?"
)
"""Numbers as people write them: 1,234 or 1 234, 3,5, $5, 5 %, or with the sign for minus."""
_THOUSANDS = re.compile(r"[+-]?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d{1,3})")
_OTHER_DATE = re.compile(
    r"(?:\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d)|\d{4}([./])\d{1,2}\2\d{1,2})"
    r"(?:[T ]\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp][Mm])?)?"
)
_PLAIN, _CODES = frozenset("0123456789+-.eE\n"), re.compile(r"^[+-]?0\d", re.M)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d:?\d\d)?")
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400.0
_SOME, _FIRST = 3, 100


def is_missing(cell: object, missing: Collection[str]) -> bool:
    """Tell whether a cell holds nothing."""
    if isinstance(cell, str):
        return cell in missing or cell.strip() in missing
    if cell is None:
        return True
    if isinstance(cell, (int, float)):
        return cell != cell or as_text(cell) in missing  # noqa: PLR0124 - NaN
    return bool(cell != cell)  # noqa: PLR0124 - NaT


def mapped(read: Callable[[Any], Any], cells: Any) -> list[Any]:
    """Return what a function makes of each cell; of equal texts once, which is much faster."""
    if {str, type(None)}.issuperset(map(type, cells)):
        found = {each: read(each) for each in set(cells)}
        return [found[each] for each in cells]
    return list(map(read, cells))


def numbers(cells: Any) -> list[float | None]:
    """Return `number` of each cell."""
    if {str, type(None)}.issuperset(map(type, cells)):
        written = "\n".join(each or "" for each in cells)
        # Then `float` accepts nothing that `number` does not, and is much faster.
        if _PLAIN.issuperset(written) and not _CODES.search(written):
            return [_float(each) for each in cells]
    return mapped(number, cells)


def _float(cell: str | None) -> float | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return None


def number(cell: object) -> float | None:
    """Return a cell as a number; None if it is none."""
    if isinstance(cell, str):
        text = cell.strip()
        return float(text) if _NUMBER.fullmatch(text) and not _CODE.match(text) else None
    if isinstance(cell, bool) or not isinstance(cell, (int, float, np.integer, np.floating)):
        return None
    return float(cell)


def in_other_form(texts: Collection[str]) -> str | None:
    """Return a number in another form, if all texts are numbers in any form; None if not."""
    found = [each for each in texts if number(each) is None]
    return min(found) if found and all(map(_OTHER_FORM.fullmatch, found)) else None


def are_other_dates(texts: Collection[str]) -> bool:
    """Tell whether all texts are dates in another form than 2024-12-31."""
    return bool(texts) and all(map(_OTHER_DATE.fullmatch, texts))


def thousands(cells: Any) -> str | None:
    """Return a number such as 1.234, if the dots of a column's texts may be between thousands.

    They may if some numbers have three digits behind every dot, and the others neither a dot nor
    more than three digits.
    """
    if isinstance(cells, np.ndarray):
        return None
    for some in (cells[:_FIRST], cells):  # most columns differ at once
        texts = {each.strip() if isinstance(each, str) else "?" for each in set(some) if each}
        if not all(map(_THOUSANDS.fullmatch, filter(None, texts))):
            return None
    dotted = [each for each in texts if "." in each]
    likely = len(dotted) >= _SOME and len(texts) - len(dotted) >= _SOME
    return min(dotted) if likely else None


def days(cell: object) -> float | None:
    """Return a date as days since 1970-01-01 UTC; None if the cell is none."""
    if isinstance(cell, str):
        text = cell.strip()
        if not _DATE.fullmatch(text):
            return None
        try:
            cell = datetime.fromisoformat(text)
        except ValueError:  # such as February 30
            return None
    if isinstance(cell, np.datetime64):
        cell = cell.astype("datetime64[us]").item()
    if isinstance(cell, datetime):
        zoned = cell if cell.tzinfo else cell.replace(tzinfo=UTC)
        return (zoned - _EPOCH).total_seconds() / _DAY
    return float(cell.toordinal() - _EPOCH.toordinal()) if isinstance(cell, date) else None


def as_text(cell: object) -> str:
    """Return a category or a class as text: 3 and 3.0 are the same, true is true."""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return cell.strip() if isinstance(cell, str) else str(cell)


def places(names: Sequence[str]) -> Callable[[object], int | None]:
    """Return a function from a cell to the place of its name; None for a cell that has none.

    Programs write one category as 10 in a column of integers and as 10.0 where a cell is missing,
    and true as True or TRUE. A name that is written as the cell is has precedence; of several that
    differ in this alone none is meant by another form.
    """
    exact = {each: at for at, each in enumerate(names)}
    forms = Counter(map(plain, names))
    loose = {plain(each): at for at, each in enumerate(names) if forms[plain(each)] == 1}

    def place(cell: object) -> int | None:
        text = as_text(cell)
        return exact[text] if text in exact else loose.get(plain(text))

    return place


def plain(text: str) -> str:
    """Return the form that 10 and 10.0 have in common, and true and TRUE; others as they are."""
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    return text.lower() if text.lower() in ("true", "false") else text


def twins(names: Sequence[str], form: Callable[[str], str] = plain) -> list[list[str]]:
    """Return the names that have their form in common with others, together with these."""
    found: dict[str, list[str]] = {}
    for each in names:
        found.setdefault(form(each), []).append(each)
    return [each for each in found.values() if len(each) > 1]


def folded(text: str) -> str:
    """Return the form that texts have in common which look alike, or differ in case or spaces."""
    shown = "".join(each for each in normalize("NFKC", text) if category(each) != "Cf")
    return plain(" ".join(shown.casefold().split()))
