"""What may be meant otherwise than it is read: "?" as a category, 1.234 as a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text, folded, mapped, thousands, twins
from tutelage.datasets.columns import Column, Columns
from tutelage.datasets.frame import Frame
from tutelage.errors import some_of

_MARKS = frozenset(("?", "-", "--", "na", "n/a", "#n/a", "nan", "null", "nil"))
_LOOKS = _MARKS | {"none", "missing", "unknown"}
_ENOUGH, _SEVERAL = 30, 3


def suspects(frame: Frame, columns: Columns) -> tuple[str, ...]:
    """Return a sentence for all in the columns of training data that may be meant otherwise.

    These are categories that look like a missing cell or like each other, and numbers that look
    like dates or have dots between thousands. Only the user knows: for a teacher that was fitted
    with "?" as a category it must be one, and for a teacher to which it was missing it must be
    missing. Neither would fail.

    Args:
        frame: Of the training data.
        columns: As fitted.
    """
    found = []
    for column in columns.columns:
        if column.kind == "category":
            found += _categories(frame, column)
        elif column.kind == "number":
            found += _numbers(frame, column, columns.missing)
    return tuple(found)


def suspect_classes(classes: Sequence[str]) -> list[str]:
    """Return a sentence for names of classes that look like a missing label or like each other."""
    marks = [each for each in classes if each.lower() in _MARKS]
    found = [
        f"the labels have {each!r} as a class; if it stands for nothing, write missing: [{each!r}]"
        for each in marks
    ]
    joined = [(each, some) for each in classes for some in ";|," if _joins(each, some, classes)]
    if joined:
        name, separator = joined[0]
        found.append(
            f"the labels have {name!r} as a class, and its parts as others; if {separator!r} is "
            "between several labels of an example, write lists in a .jsonl or .parquet file"
        )
    return [*found, *_alike("the labels have", "classes", classes)]


def _joins(name: str, separator: str, classes: Sequence[str]) -> bool:
    return separator in name and all(each.strip() in classes for each in name.split(separator))


def suspect_binary(labels: Tensor) -> list[str]:
    """Return a sentence if of several binary labels exactly one is true of each example.

    Args:
        labels: `[examples, labels]`: 0, 1, or −100 for a missing one.
    """
    some = labels.reshape(len(labels), -1)
    exclusive = bool(((some == 1).sum(dim=1) == 1).all() & ((some == 0) | (some == 1)).all())
    if some.shape[1] < _SEVERAL or len(some) < _ENOUGH or not exclusive:
        return []
    return [
        f"exactly one of the {some.shape[1]} binary labels is true of each training example; if "
        "they exclude each other, write one column with the name or number of the true one"
    ]


def suspect_values(frame: Frame, name: str) -> list[str]:
    """Return a sentence if the values of a column may have dots between thousands."""
    dotted = thousands(frame.columns[name])
    if dotted is None:
        return []
    return [
        f"the column {name!r} has numbers without a dot, and others with three digits behind it, "
        f"such as {dotted!r}; if the dots are between thousands, remove them"
    ]


def _categories(frame: Frame, column: Column) -> list[str]:
    looks = [each for each in column.categories if each.lower() in _LOOKS]
    counts = Counter(mapped(as_text, frame.cells("columns", column.name))) if looks else {}
    found = [
        f"the column {column.name!r} has {each!r} in {counts[each]:,} of {len(frame):,} rows, "
        f"read as a category; if it stands for nothing, write missing: [{each!r}]"
        for each in looks
    ]
    return [*found, *_alike(f"the column {column.name!r} has", "categories", column.categories)]


def _alike(subject: str, kind: str, names: Sequence[str]) -> list[str]:
    pairs = [" and ".join(map(repr, each)) for each in twins(names, folded)]
    different = f"as different {kind}; write them alike if they are the same"
    return [f"{subject} {some_of(pairs)} {different}"] if pairs else []


def _numbers(frame: Frame, column: Column, missing: Sequence[str]) -> list[str]:
    values = frame.read(column.name, "number", missing)[0]
    values = values[~np.isnan(values)]
    if len(values) >= _ENOUGH and _look_like_dates(values):
        return [
            f"the column {column.name!r} has numbers that look like dates, such as "
            f"{values[0]:.0f}, in which a month is far longer than its days; write 2024-12-31 if "
            "they are dates"
        ]
    return suspect_values(frame, column.name)


def _look_like_dates(values: NDArray[np.float64]) -> bool:
    """Tell whether all numbers are dates of the years 1900 to 2100, written as 20241231."""
    year, month, day = values // 10_000, values // 100 % 100, values % 100
    within = ((year, 1900, 2100), (month, 1, 12), (day, 1, 31))
    return bool((values == np.floor(values)).all()) and all(
        bool(((low <= each) & (each <= high)).all()) for each, low, high in within
    )
