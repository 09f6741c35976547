"""Tables without a line of names: their first row would be lost to the names of the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.datasets.cells import days, number, numbers
from tutelage.errors import DataError, some_of

_MANGLED = re.compile(r"(.+)\.\d+")


def check_header(
    argument: str, path: Path, names: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Refuse a first line that is clearly a row, or that comes again.

    It is a row if each name is like the cells of its column: a number above numbers, a date above
    dates, or a text that is a cell of the column too. Numbers that count the columns, or that
    increase beyond what the columns hold, such as wavelengths, are names.

    Args:
        argument: Its name, for messages.
        path: Of the file.
        names: The cells of the first line, without spaces around them.
        rows: The other lines.

    Raises:
        DataError: It is one of these.
    """
    named = [at for at, name in enumerate(names) if name]
    if not rows or not named:
        return
    again = (at for at, row in enumerate(rows, 1) if _is_line(row, names))
    are_texts = len(names) > 1 and not any(map(_is_measured, names))
    if are_texts and (row := next(again, None)) is not None:
        raise DataError(
            f"`{argument}` must have the names of its columns once, got the first line of {path} "
            f"in row {row:,} too; remove that, where files were joined, or, if the first line is a "
            "row, write a line of names above it"
        )
    if all(_is_like(names, at, rows) for at in named) and not _are_places(names, named, rows):
        raise DataError(
            f"`{argument}` must have the names of its columns in the first line, got {path}, whose "
            f"first line is like its rows: {some_of(map(repr, names))}; write a line of names above"
            f" it, or, if these are the names, rename them: x{names[named[0]]}"
        )


def _is_line(row: Sequence[str], names: Sequence[str]) -> bool:
    return row[0].strip() == names[0] and [each.strip() for each in row] == list(names)


def _is_measured(name: str) -> bool:
    return number(name) is not None or days(name) is not None


def _is_like(names: Sequence[str], at: int, rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a name is like the cells of its column."""
    name, cells = names[at], (row[at].strip() for row in rows)
    mangled = _MANGLED.fullmatch(name)
    if mangled and mangled[1] in names:  # pandas calls the second 0 of a line 0.1
        name = mangled[1]
    if not _is_measured(name):
        return any(each == name for each in cells)
    read = number if number(name) is not None else days
    found = [read(each) is not None for each in cells if each]
    return bool(found) and 2 * sum(found) >= len(found)


def _are_places(names: Sequence[str], named: list[int], rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether names are numbers that count the columns, or a scale beyond what they hold."""
    if len(named) == 1 and number(names[named[0]]) is None:  # a text that comes again may be any
        return True
    found = numbers([names[at] for at in named])
    if any(each is None for each in found):
        return False
    values = np.array(found, dtype=np.float64)
    steps = np.diff(values)
    first = (0,) if len(values) == 1 else (0, 1)
    if bool((steps == 1).all()) and (len(steps) > 1 or values[0] in first):
        return True
    if len(steps) < 2 or not bool((steps > 0).all()):  # noqa: PLR2004 - two numbers may be any
        return False
    cells = (np.array(numbers([row[at] for row in rows]), dtype=np.float64) for at in named)
    within = [
        np.nanmin(own) <= name <= np.nanmax(own) for name, own in zip(values, cells, strict=True)
    ]
    return 2 * sum(within) < len(named)
