"""Categories that may not be meant as such: "?" for a missing cell, or 10 and 10.0 for one."""

from __future__ import annotations

from collections import Counter

from tutelage.datasets.cells import as_text, mapped, twins
from tutelage.datasets.columns import Columns
from tutelage.datasets.frame import Frame
from tutelage.errors import some_of

_LOOKS = frozenset(
    ("?", "-", "--", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "missing", "unknown")
)


def suspects(frame: Frame, columns: Columns) -> tuple[str, ...]:
    """Return a sentence for each category of the training data that looks like a missing cell.

    Only the user knows: for a teacher that was fitted with "?" as a category it must be one, and
    for a teacher to which it was missing it must be missing. Neither would fail. The same is true
    of categories that differ in their form only, such as 10 and 10.0.

    Args:
        frame: Of the training data.
        columns: As fitted.
    """
    found = []
    for column in columns.columns:
        looks = [each for each in column.categories if each.lower() in _LOOKS]
        counts = Counter(mapped(as_text, frame.cells("columns", column.name))) if looks else {}
        found += [
            f"the column {column.name!r} has {each!r} in {counts[each]:,} of {len(frame):,} rows, "
            f"read as a category; if it stands for nothing, write missing: [{each!r}]"
            for each in looks
        ]
        found += [
            f"the column {column.name!r} has {some_of(map(repr, each))} as different categories; "
            "write them alike if they are the same"
            for each in twins(column.categories)
        ]
    return tuple(found)
