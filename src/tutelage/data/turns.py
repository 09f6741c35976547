"""Views take turns: which one an epoch shows, in whatever wrappers they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset

from tutelage.data.views import Views
from tutelage.errors import DataError

_DEPTH = 8


def views_in(dataset: object, depth: int = _DEPTH) -> list[Views]:
    """Return the `Views` that a data set is or is made of, through subsets and other wrappers."""
    if isinstance(dataset, Views):
        return [dataset]
    if depth == 0 or not isinstance(dataset, Dataset):
        return []
    held: list[object] = []
    for value in vars(dataset).values():
        held += _members(value)
    return [found for each in held for found in views_in(each, depth - 1)]


def views_described(dataset: object, views: int | None) -> dict[str, Any]:
    """Return the number of views that take turns, and how they are made; empty without views."""
    found = views_in(dataset)
    turns = found[0].count if found and views is None else views
    return {"views": turns, "view": [each.description for each in found]} if found else {}


def show_epoch(dataset: object, epoch: int, views: int | None = None) -> int:
    """Let a data set show its view of an epoch; return which that is, 0 where it has none.

    Args:
        dataset: Any data set.
        epoch: Counted from 0.
        views: How many views are to take turns; None for as many as the data set has.

    Raises:
        DataError: Its parts have different numbers of views, or fewer than `views`.
    """
    found = views_in(dataset)
    if not found:
        return 0
    counts = {each.count for each in found}
    if len(counts) > 1:
        raise DataError(
            "the parts of a data set must have the same number of views, got Views of count "
            f"{' and '.join(map(str, counts))}; give all the same `count`"
        )
    (count,) = counts
    if views is not None and count is not None and count < views:
        raise DataError(
            f"the data set must have the {views} views that are asked for, got Views of count "
            f"{count}; make Views of a larger count"
        )
    turns = count if views is None else views
    view = epoch if turns is None else epoch % turns
    for each in found:
        each.set_view(view)
    return view


def _members(value: object) -> Sequence[object]:
    """Return the data sets that an attribute of a data set may hold."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return value if value and isinstance(value[0], Dataset) else ()
    return (value,)
