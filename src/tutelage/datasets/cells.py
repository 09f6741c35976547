"""Single cells of tables as texts and numbers, however programs write them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?|nan", re.I)
_CODE = re.compile(r"[+-]?0\d")
"""Digits after a leading zero are a code, such as 01234, and not a number."""
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")


def number(cell: object) -> float | None:
    """Return a cell as a number; None if it is none."""
    if isinstance(cell, str):
        text = cell.strip()
        return float(text) if _NUMBER.fullmatch(text) and not _CODE.match(text) else None
    if isinstance(cell, bool) or not isinstance(cell, (int, float, np.integer, np.floating)):
        return None
    return float(cell)


def as_text(cell: object) -> str:
    """Return a category or a class as text: 3 and 3.0 are the same, true is true."""
    if isinstance(cell, (bool, np.bool_)):
        return str(cell).lower()
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
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
