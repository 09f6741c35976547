"""CSV files in another form than they are read in, which would be read without an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tutelage.errors import DataError

_SEPARATORS = ("|", ",", ";", "\t")
_QUOTED = re.compile(r'\s+".*"\s*', re.DOTALL)
_SOME = 100


def check_dialect(argument: str, path: Path, lines: Sequence[Sequence[str]]) -> None:
    """Refuse another separator, of which all lines have equally many, and spaces before quotes.

    Args:
        argument: Its name, for messages.
        path: Of the file.
        lines: The cells of each line, at least one, as they were read.

    Raises:
        DataError: It has either.
    """
    first = lines[0]
    for separator in _SEPARATORS if len(first) == 1 else ():
        count = first[0].count(separator)
        if count and all(each[0].count(separator) == count for each in lines):
            raise DataError(
                f"`{argument}` must have commas, semicolons or (.tsv) tabs between its cells, got "
                f"{path} with one column {first[0]!r}, in which each line has {separator!r} as "
                "often; write it with those"
            )
    spaced = (cell for line in lines[:_SOME] for cell in line if _QUOTED.fullmatch(cell))
    if (cell := next(spaced, None)) is not None:
        raise DataError(
            f"`{argument}` must have quotes next to separators, got {path} with {cell[:40]!r}; "
            "remove the spaces before the quotes, which would be part of the cell"
        )
