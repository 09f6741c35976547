"""CSV files in another form than they are read in, which would be read without an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tutelage.datasets.cells import number
from tutelage.errors import DataError

_SEPARATORS = ("|", ",", ";", "\t")
_QUOTED = re.compile(r'\s+".*"\s*', re.DOTALL)
_SOME = 100


def check_dialect(argument: str, path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Refuse another separator, a line that names one for Excel, and spaces before quotes.

    Args:
        argument: Its name, for messages.
        path: Of the file.
        lines: The cells of each line, at least one, as they were read.

    Raises:
        DataError: It has one of these.
    """
    if lines[0][:1] == ["sep="]:
        raise DataError(
            f"`{argument}` must have the names of its columns in the first line, got {path}, whose "
            "first line names the separator for Excel; remove that line"
        )
    separator = _other_separator([each[0] for each in lines]) if len(lines[0]) == 1 else None
    if separator is not None:
        raise DataError(
            f"`{argument}` must have commas, semicolons or (.tsv) tabs between its cells, got "
            f"{path} with one column {lines[0][0]!r}, and {separator!r} equally often in every "
            "line; write it with those"
        )
    spaced = (cell for line in lines[:_SOME] for cell in line if _QUOTED.fullmatch(cell))
    if (cell := next(spaced, None)) is not None:
        raise DataError(
            f"`{argument}` must have quotes next to separators, got {path} with {cell[:40]!r}; "
            "remove the spaces before the quotes, which would be part of the cell"
        )


def _other_separator(lines: Sequence[str]) -> str | None:
    """Return what all lines have equally often: a separator, or spaces between numbers."""
    for separator in _SEPARATORS:
        count = lines[0].count(separator)
        if count and all(each.count(separator) == count for each in lines):
            return separator
    parts = [each.split() for each in lines]
    numeric = all(number(each) is not None for line in parts[1:] for each in line)
    return " " if len(parts[0]) > 1 and numeric and len(set(map(len, parts))) == 1 else None
