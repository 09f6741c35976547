"""Dividing examples into training, validation and test data."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import plain
from tutelage.datasets.columns import as_series, factorized
from tutelage.datasets.content import Content
from tutelage.datasets.images import Pictures
from tutelage.datasets.options import DataOptions
from tutelage.datasets.targets import Targets
from tutelage.errors import ArgumentError, DataError

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
_ORDER = ("train", "unlabelled", "val", "test")


def divided(
    contents: dict[str, Content], options: DataOptions, targets: Targets | None
) -> dict[str, Content]:
    """Return the parts of the data: files, and rows of the training file.

    Raises:
        ArgumentError: A part is given twice, or labels to be stratified are not classes.
        DataError: A part would have no examples.
    """
    parts = dict(contents)
    if options.split.column is not None:
        found = by_column(parts["train"], options.split.column)
        twice = [name for name in ("val", "test") if name in found and getattr(options, name)]
        if twice:
            raise ArgumentError(
                f"`{twice[0]}` must be given once, got {getattr(options, twice[0])} "
                f"and rows of the column {options.split.column!r}; leave one of them out"
            )
        parts |= {name: contents["train"].kept(each) for name, each in found.items()}
    if not options.shares:
        return parts
    train, group, stratified = parts["train"], options.split.group, options.split.stratified
    units: Any = range(len(train))  # what must not be divided: groups, or equal texts or images
    if group is not None:
        units = [*map(plain, train.texts("split.group", group))]
    elif not isinstance(train.inputs, Tensor):
        units = train.inputs.keys() if isinstance(train.inputs, Pictures) else train.inputs
    are_classes = targets is not None and targets.kind == "classes"
    if stratified and targets is not None and not are_classes:
        raise ArgumentError(
            f"`split.stratified` needs labels that are classes, got {targets.kind}; leave it out"
        )
    strata: list[Any] | None = None
    if (
        are_classes
        and train.targets is not None
        and (stratified or (group, stratified) == (None, None))
    ):
        strata = train.targets.tolist()
        if options.domain is not None:
            strata = [*zip(strata, train.texts("domain", options.domain), strict=True)]
    found = partition(units, strata, options.shares, options.split.seed)
    return parts | {name: train.kept(each) for name, each in found.items()}


def groups_of_parts(
    parts: dict[str, Content], options: DataOptions, notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """Return the group of each example, of the parts that have groups.

    Raises:
        DataError: A group is in two parts of which one is to judge the other's model.
    """
    name = options.split.group
    if name is None:
        return {}
    found = {
        key: tuple(map(plain, part.texts("split.group", name)))
        for key, part in parts.items()
        if name in part.names
    }
    notes += [
        f"{each} has no column {name!r}, so that its examples are taken as independent of each "
        "other and of those of train; add the column to its file"
        for each in ("val", "test")
        if each in parts and each not in found
    ]
    for first, second in combinations(sorted(found, key=_ORDER.index), 2):
        both = set(found[first]) & set(found[second])
        if second == "unlabelled" or not both:  # a copy of a labelled example does no harm
            continue
        examples = [group for group in found[second] if group in both]
        which = (
            f"{len(both):,} of the {len(set(found[second])):,} groups of {second} by {name!r} in "
            f"{first} too, such as {examples[0]!r}, with {len(examples):,} of the "
            f"{len(found[second]):,} examples of {second}"
        )
        if not options.split.allow_overlap:
            raise DataError(
                f"each group of `split.group` must be in one part of the data only, got {which}; "
                "leave them out of either, since scores on groups seen in training are "
                "optimistic, or write allow_overlap: true in `split`"
            )
        notes.append(f"{which}: scores on groups seen in training are optimistic")
    return found


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
