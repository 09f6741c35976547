"""Dividing examples into training, validation and test data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.columns import as_series, factorized
from tutelage.datasets.content import Content
from tutelage.errors import DataError

Rows = NDArray[np.int64]

PART_OF = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What the parts of data are called in folders and columns."""


def columns_of_parts(content: Content) -> list[str]:
    """Return the columns that seem to say which rows are of train and which are of test."""
    found = []
    for at, name in enumerate(content.names):
        cells = content.frame.iloc[:, at]
        if cells.dtype.kind not in "biufcmM":
            values = {str(each).strip().lower() for each in cells[:1000]}
            if "train" in values and len(values) > 1 and values <= PART_OF.keys():
                found.append(name)
    return found


def partition(
    units: Sequence[Hashable],
    strata: Sequence[Hashable] | None,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, Rows]:
    """Return the rows of each part, in their order, and the others under `train`.

    Rows of one unit are never divided. Each stratum has its fraction in each part, up to rounding
    and to the size of units, and always keeps a unit in `train`; a unit is of the stratum of its
    first row.

    Args:
        units: What each row belongs to.
        strata: What each row is of; None for one.
        shares: The fractions of the parts.
        seed: Of the random choice.

    Raises:
        DataError: A part would have no rows.
    """
    numbers = factorized(as_series(units))[0]
    sizes, first = np.bincount(numbers), np.unique(numbers, return_index=True)[1]
    of = np.zeros(len(sizes), dtype=np.int64)
    if strata is not None:
        of = factorized(as_series(strata))[0][first]
    order = np.random.default_rng(seed).permutation(len(sizes))
    names, part_of = [*shares, "train"], np.full(len(sizes), len(shares))
    due = dict.fromkeys(shares, 0.0)  # what rounding left over
    for stratum in range(int(of.max()) + 1):
        own = order[of[order] == stratum]
        total, at = sizes[own].sum(), 0
        for place, (name, share) in enumerate(shares.items()):
            due[name] += share * total
            # The last unit of a stratum stays in `train`, which must know every class.
            left = own[at:-1]
            middles = sizes[left].cumsum() - sizes[left] / 2
            chosen = left[: np.searchsorted(middles, due[name], side="right")]
            part_of[chosen] = place
            due[name] -= sizes[chosen].sum()
            at += len(chosen)
    found = {name: np.flatnonzero(part_of[numbers] == at) for at, name in enumerate(names)}
    empty = next((name for name in names if not len(found[name])), None)
    if empty is not None:
        raise DataError(
            f"`{empty}` must have at least one example, got a fraction of {len(numbers):,} "
            f"examples in {len(sizes):,} groups that leaves it none; give it a larger one"
        )
    return found


def by_column(content: Content, name: str) -> dict[str, Rows]:
    """Return the rows of each part, as a column of the table says.

    Raises:
        DataError: A cell is none of the names of parts, or no row is of the training data.
    """
    cells = [str(each).strip().lower() for each in content.column("split.column", name)]
    other = next((row for row, cell in enumerate(cells) if cell not in PART_OF), None)
    if other is not None:
        raise DataError(
            f"the column {name!r} must say train, val or test in each row, got {cells[other]!r} in "
            f"{content.row(other)}; rename it"
        )
    of = np.array([PART_OF[each] for each in cells])
    if not (of == "train").any():
        raise DataError(f"the column {name!r} must have rows of train, got none; correct it")
    return {part: np.flatnonzero(of == part) for part in ("train", "val", "test") if part in of}
