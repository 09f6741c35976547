"""Columns that validation, test or unlabelled data fill otherwise than training data do."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.cells import as_text
from tutelage.datasets.columns import Columns
from tutelage.datasets.frame import Frame
from tutelage.errors import some_of

_SOME = 10


def unseen(
    name: str,
    frame: Frame,
    rows: NDArray[np.int64],
    encoded: NDArray[np.float64],
    columns: Columns,
) -> tuple[str, ...]:
    """Return a sentence for each column with categories that the training data does not have.

    They are read as missing, and no model fails by it, whether they are new or written otherwise.
    So are columns without any value, which the training data has.

    Args:
        name: What the part of the data is called.
        frame: The table that it is of.
        rows: Which rows of the table it is.
        encoded: These rows, `[rows, columns]`, as `columns` encodes them.
        columns: As fitted.
    """
    found = []
    for at, column in enumerate(columns.columns):
        lost = np.isnan(encoded[:, at])
        if not lost.any():
            continue
        absent = frame.absent(column.name, columns.missing)[rows]
        if absent.all() and len(rows) >= _SOME:
            found.append(
                f"{name} has no value in the column {column.name!r}, which the training data has; "
                "is it empty in the file, or under another name?"
            )
        cells = frame.columns[column.name]
        counts = Counter(as_text(cells[row]) for row in rows[lost & ~absent])
        if counts:
            values = some_of(f"{each!r} ({number:,})" for each, number in counts.most_common())
            found.append(
                f"{counts.total():,} of the {len(rows):,} examples of {name} have categories in "
                f"the column {column.name!r} that the training data does not have: {values}; they "
                "are read as missing: correct them if they are written otherwise there"
            )
    return tuple(found)
