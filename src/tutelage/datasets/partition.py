"""Dividing examples into training, validation and test data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import DataError

Rows = NDArray[np.int64]


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


def _numbered(values: Sequence[Any]) -> Rows:
    """Return each value as a number, in the order of their first appearance."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in values], dtype=np.int64)
