"""Dividing examples into training, validation and test data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.frame import Frame
from tutelage.datasets.options import DataOptions
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
_PARTS = ("train", "val", "test")


def partition(
    units: Sequence[Hashable],
    strata: Sequence[Hashable] | None,
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, Rows]:
    """Return the rows of each part, in their order, and the others under `train`.

    Rows of one unit are never divided. Each stratum has its share in each part, up to rounding and
    to the size of units, and always keeps a unit in `train`; a unit is of the stratum of its first
    row.

    Raises:
        DataError: A part would have no rows.
    """
    numbers = _numbered(units)
    members = np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1])
    of = _numbered(strata) if strata is not None else np.zeros(len(numbers), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(members))
    by_stratum: dict[int, list[Rows]] = {}
    for unit in order:
        by_stratum.setdefault(int(of[members[unit][0]]), []).append(members[unit])
    parts: dict[str, list[Rows]] = {each: [] for each in (*shares, "train")}
    due = dict.fromkeys(shares, 0.0)
    for stratum in sorted(by_stratum):
        _divide(by_stratum[stratum], shares, parts, due)
    found = {name: np.sort(np.concatenate(each)) for name, each in parts.items() if each}
    for name in parts:
        if name not in found:
            raise DataError(
                f"`{name}` must have at least one example, got a share of {len(numbers):,} "
                f"examples in {len(members):,} groups that leaves it none; give it a "
                "larger share, or a file"
            )
    return found


def by_column(frame: Frame, name: str) -> dict[str, Rows]:
    """Return the rows of each part, as a column of the table says.

    Raises:
        DataError: A cell is none of the names of parts, or no row is of the training data.
    """
    cells = list(map(_as_part, frame.cells("split.column", name)))
    other = next((row for row, cell in enumerate(cells) if cell not in PART_OF), None)
    if other is not None:
        raise DataError(
            f"the column {name!r} must say train, val or test in each row, got "
            f"{frame.columns[name][other]!r} in {frame.row(other)}; rename it"
        )
    of = np.array([PART_OF[each] for each in cells])
    if not (of == "train").any():
        raise DataError(f"the column {name!r} must have rows of train, got none; correct it")
    return {part: np.flatnonzero(of == part) for part in _PARTS if part in of}


def refuse_unread_parts(frame: Frame, options: DataOptions) -> None:
    """Refuse a column that says which rows are of the test data, if the options do not name it.

    Raises:
        DataError: There is one, and so all of its rows would be training data.
    """
    used = {*options.labels, *(options.columns or ()), options.domain, options.text, options.image}
    for name, cells in frame.columns.items():
        few = set(map(_as_part, cells[:1000]))
        if name in used or name == options.split.column or not few <= PART_OF.keys():
            continue
        found = set(map(_as_part, cells))
        if len(found) > 1 and "train" in found and found <= PART_OF.keys():
            raise DataError(
                f"the rows of {frame.name} that the column {name!r} says are not of train must not "
                f"be trained on, got no option that names it; write split: {{column: {name}}}, or "
                "remove the column"
            )


def _divide(
    units: list[Rows],
    shares: Mapping[str, float],
    parts: dict[str, list[Rows]],
    due: dict[str, float],
) -> None:
    """Give each part its share of a stratum; `due` carries what rounding left over."""
    total, place = sum(map(len, units)), 0
    for name, share in shares.items():
        due[name] += share * total
        # The last unit of a stratum stays in `train`, which must know every class.
        while place < len(units) - 1 and due[name] >= len(units[place]) / 2:
            parts[name].append(units[place])
            due[name] -= len(units[place])
            place += 1
    parts["train"] += units[place:]


def _as_part(cell: object) -> str:
    return str(cell).strip().lower()


def _numbered(values: Sequence[Any]) -> Rows:
    """Return each value as a number, in the order of their first appearance."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in values], dtype=np.int64)
