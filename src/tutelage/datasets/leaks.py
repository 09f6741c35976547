"""Columns that should hardly be inputs: numbers of rows, and what tells the label alone."""

from __future__ import annotations

import re
from math import lgamma, log

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.columns import Columns

_ENOUGH = 30
_CHANCE = log(1e-6)
"""A regularity that is more likely to be chance, with labels in any other order, is none."""
_MOST_LABELS, _MANY = 20, 2**14
_LARGEST = 2.0**53
_IDENTIFIER = re.compile(r"[Ii]ndex|(?:.*[_\-. ])?(?:[Uu][Uu]|[Gg][Uu])?[Ii][Dd]|.*[a-z]I[dD]")

Values = NDArray[np.float64]


def identifiers(rows: Values, columns: Columns) -> tuple[str, ...]:
    """Return a sentence for each column of numbers that seem to name rows rather than measure.

    These are integers that differ in all rows and are close to each other, such as 1, 2, 3 in any
    order, or increase from row to row; or whose column is called as an identifier is.

    Args:
        rows: `[rows, columns]`, in their order, NaN for missing.
        columns: What they are.
    """
    found = []
    for at, column in enumerate(columns.columns):
        why = _why_identifier(column.name, rows[:, at]) if column.kind == "number" else ""
        if why:
            found.append(
                f"the column {column.name!r} is an input, and {why}: if it names rows, from which "
                f"a model learns nothing about others, write omit: [{column.name}]"
            )
    return tuple(found)


def _why_identifier(name: str, values: Values) -> str:
    present = values[~np.isnan(values)]
    whole = len(present) >= _ENOUGH and bool((present == np.floor(present)).all())
    if not whole or np.abs(present).max() > _LARGEST:
        return ""
    distinct = len(np.unique(present))
    if distinct == len(present):
        if bool((np.diff(present) > 0).all()):
            return "its integers increase from row to row"
        if present.max() - present.min() < 2 * len(present):
            return "its integers number the rows"
    named = _IDENTIFIER.fullmatch(name) is not None
    return f"it is called an identifier, with {distinct:,} integers" if named else ""


@np.errstate(over="ignore")  # the difference of two large numbers is infinite, of the right sign
def tellers(
    rows: Values, columns: Columns, labels: Values, names: tuple[str, ...], are_values: bool
) -> tuple[str, ...]:
    """Return a sentence for each column that tells a label without error, as a copy of it does.

    A column tells classes if equal values always have the same class, or if each class is one
    interval of its numbers, or by whether it is missing. It tells values if their order is its
    own, or the reverse.

    Args:
        rows: Of the training data, `[rows, columns]`, NaN for missing.
        columns: What they are.
        labels: `[rows, labels]`: class ids, binary labels or values, NaN for missing.
        names: Of the labels.
        are_values: Whether labels are values.
    """
    found = []
    for label, name in zip(labels.T[:_MOST_LABELS], names, strict=False):
        known = ~np.isnan(label)
        if known.sum() < _ENOUGH:
            continue
        why_of = _why_order if are_values else _why_classes
        # What does not hold for some of many rows does not hold for all.
        some = np.flatnonzero(known)[:: 1 + len(label) // _MANY]
        for at, column in enumerate(columns.columns):
            why = why_of(rows[some, at], label[some]) and why_of(rows[known, at], label[known])
            if why:
                found.append(
                    f"the column {column.name!r} tells the label {name!r} of the training data "
                    f"without error, since {why}: if it is known only with the label, write "
                    f"omit: [{column.name}]"
                )
    return tuple(found)


def _why_classes(values: Values, classes: Values) -> str:
    absent = np.isnan(values)
    if absent.any() and _is_function(*_sorted(absent.astype(np.float64), classes)):
        return "it is missing for one class alone"
    if absent.all():
        return ""
    ordered = _sorted(np.where(absent, np.nextafter(np.nanmin(values), -np.inf), values), classes)
    if _is_function(*ordered):
        return "equal values have equal labels"
    return "each class is an interval of it" if _are_intervals(*ordered) else ""


def _sorted(codes: Values, classes: Values) -> tuple[Values, Values]:
    order = np.argsort(codes, kind="stable")
    return codes[order], classes[order]


def _is_function(codes: Values, classes: Values) -> bool:
    """Tell whether equal codes, which at least half of the rows have, have equal classes.

    In any order of the classes, of frequencies p, this has at most the probability of the product
    of Σ pᵐ over the codes, of which each occurs m times. Codes are sorted.
    """
    starts = np.append(0, np.flatnonzero(np.diff(codes)) + 1)
    counts = np.diff(starts, append=len(codes))
    least, most = (each.reduceat(classes, starts) for each in (np.minimum, np.maximum))
    repeated = counts[counts > 1]
    if bool((least != most).any()) or 2 * repeated.sum() < len(codes):
        return False
    p = np.unique(classes, return_counts=True)[1] / len(classes)
    sizes, number = np.unique(repeated, return_counts=True)
    chances = np.log((p[:, None] ** sizes).sum(axis=0).clip(min=1e-300))
    return float(number @ chances) < _CHANCE


def _are_intervals(codes: Values, classes: Values) -> bool:
    """Tell whether each class is one interval, as in K! Π nₖ! of n! orders. Codes are sorted."""
    changes = np.flatnonzero(np.diff(classes))
    counts = np.unique(classes, return_counts=True)[1].tolist()
    if len(changes) != len(counts) - 1 or not bool(np.diff(codes)[changes].all()):
        return False
    possible = lgamma(len(counts) + 1) + sum(lgamma(each + 1) for each in counts)
    return possible - lgamma(len(classes) + 1) < _CHANCE


def _why_order(values: Values, labels: Values) -> str:
    if np.isnan(values).any() or min(len(np.unique(values)), len(np.unique(labels))) < _ENOUGH:
        return ""
    order = np.lexsort((labels, values))
    steps, moves = np.diff(values[order]), np.diff(labels[order])
    same = bool((moves[steps == 0] == 0).all())
    monotone = bool((moves >= 0).all() or (moves <= 0).all())
    return "the labels are in its order" if same and monotone else ""
