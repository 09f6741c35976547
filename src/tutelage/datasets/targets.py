"""From the cells of label columns to labels: class ids, binary labels or values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text, in_other_form, mapped, number, places, plain, twins
from tutelage.datasets.frame import Frame
from tutelage.datasets.lists import (
    holds_lists,
    in_order,
    label_names,
    multi_hot,
    no_labels,
    tag_ids,
    tag_names,
    unknown_label,
)
from tutelage.datasets.options import DataOptions, Kind
from tutelage.errors import ArgumentError, DataError, some_of
from tutelage.signals import UNLABELLED

_YES_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "no": 0, "yes": 1}
_MINUS_ONE = frozenset(("-1", "-1.0"))
_MOST_CLASSES = 5_000
_MIN_TWO = 2
_MISSING = ("", "nan", "NaN", "NAN")  # others, such as None, may be the name of a class


@dataclass(frozen=True)
class Targets:
    """What the labels of the training data are.

    Args:
        names: The columns of the labels.
        kind: Of labels.
        classes: The names of the classes, or of the binary labels.
        missing: Cells that are read as missing.
        listed: Whether a cell is a list of the binary labels that are true.
    """

    names: tuple[str, ...]
    kind: Kind
    classes: tuple[str, ...]
    missing: tuple[str, ...]
    listed: bool = False

    @classmethod
    def fit(cls, frame: Frame, options: DataOptions) -> Targets:
        """Return what labels are, told by the options or by the form of the training data.

        Raises:
            DataError: There is no such column, it can be read in several ways, or has one class.
            ArgumentError: `classes` are given where labels are columns of binary labels or values.
        """
        names, missing = options.labels, (*_MISSING, *options.missing)
        kind, classes, name = options.kind, options.classes, options.labels[0]
        if kind == "tags" and len(names) == 1:
            return cls(names, kind, classes or tag_names(frame, name, missing), missing)
        if len(names) == 1 and kind in (None, "binary") and holds_lists(frame, name):
            classes = classes or label_names(frame, name, missing)
            return cls(names, "binary", classes, missing, listed=True)
        present = {each: _present(frame, each, missing) for each in names}
        if len(names) > 1:
            kind = kind or _kind_of_several(present)
            if kind in ("classes", "tags"):
                raise DataError(
                    f"`label` must be one column where labels are {kind}, got {len(names)}; give "
                    "one, or leave `kind` out"
                )
        elif kind is None:
            kind = "classes" if classes is not None else _kind_of_one(name, present[name])
        if kind == "classes":
            classes = classes or _class_names(name, present[name], frame.name)
        elif classes is not None:
            raise ArgumentError(
                f"`classes` must be left out where labels are {kind} in columns, got "
                f"{some_of(classes)}; or give one column of these names"
            )
        elif kind == "binary":
            classes = names
        return cls(names, kind, classes or (), missing)

    def encode(self, frame: Frame, inputs: Any = None) -> Tensor:
        """Return labels: class ids or binary labels (−100 where missing), or values (NaN).

        Args:
            frame: With the columns of the labels.
            inputs: The texts, for tags of their words.

        Raises:
            DataError: A column is missing, or a label is none of the kind.
        """
        if self.kind == "tags":
            return tag_ids(frame, self.names[0], self.classes, self.missing, _of_words(inputs))
        if self.listed:
            return multi_hot(frame, self.names[0], self.classes, self.missing)
        columns = [self._column(frame, each) for each in self.names]
        found = np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
        if self.kind == "values":
            return torch.from_numpy(found).to(torch.get_default_dtype())
        return torch.from_numpy(np.where(np.isnan(found), UNLABELLED, found).astype(np.int64))

    def _column(self, frame: Frame, name: str) -> NDArray[np.float64]:
        cells, absent = frame.cells("label", name), frame.absent(name, self.missing)
        class_of = places(self.classes)

        def read(cell: Any) -> float | None:
            if self.kind == "values":
                return number(cell)
            if _is_mark(cell):
                return np.nan
            return _YES_NO.get(as_text(cell).lower()) if self.kind == "binary" else class_of(cell)

        values = [
            np.nan if gone else each for each, gone in zip(mapped(read, cells), absent, strict=True)
        ]
        found = np.array(values, dtype=np.float64)
        for row in np.flatnonzero(~np.isfinite(found) & ~absent):
            if values[row] is None:
                self._refuse(frame, name, int(row), cells[row])
            elif np.isinf(found[row]):
                raise DataError(
                    f"labels in {name!r} must be finite, got {cells[row]!r} in "
                    f"{frame.row(int(row))}; correct it"
                )
        return found

    def _refuse(self, frame: Frame, name: str, row: int, cell: object) -> None:
        if self.kind == "classes":
            raise unknown_label(frame, name, row, as_text(cell), self.classes)
        form = "numbers" if self.kind == "values" else "0 or 1 (or false or true, no or yes)"
        raise DataError(
            f"labels in {name!r} must be {form}, got {cell!r} in {frame.row(row)}; correct it, or "
            "name it in `missing` if it stands for nothing"
        )

    def unknown(self, count: int) -> Tensor:
        """Return the labels of examples without any."""
        if self.kind == "tags":
            raise DataError(
                "`unlabelled` must be left out where kind is tags, got a file; every text needs "
                "its tags"
            )
        several = self.classes if self.listed else self.names
        shape = (count, len(several)) if self.listed or len(several) > 1 else (count,)
        if self.kind == "values":
            return torch.full(shape, torch.nan, dtype=torch.get_default_dtype())
        return torch.full(shape, UNLABELLED)

    def described(self) -> str:
        """Return what the labels are, in a few words."""
        forms = {
            "classes": "{} classes ({})",
            "tags": "for each word one of {} labels ({})",
            "binary": "lists of {} labels ({})" if self.listed else "binary labels",
            "values": "values",
        }
        what = forms[self.kind].format(len(self.classes), some_of(self.classes))
        return f"labels {some_of(map(repr, self.names))}: {what}"


def _of_words(inputs: Any) -> list[str]:
    if not isinstance(inputs, list):
        raise DataError(
            "`kind: tags` needs texts as inputs, whose words have a tag each, got others; name "
            "their column: text"
        )
    return inputs


def _present(frame: Frame, name: str, missing: Sequence[str]) -> list[Any]:
    """Return the cells of a column that hold a label.

    Raises:
        DataError: There are none.
    """
    cells = frame.cells("label", name)
    if any(isinstance(each, (list, dict)) for each in cells):
        raise DataError(
            f"the label column {name!r} must hold one label a row, got lists or objects in "
            f"{frame.name}; leave `kind` out for lists of binary labels, or, for a tag for each "
            "word, write kind: tags"
        )
    rows = np.flatnonzero(~frame.absent(name, missing))
    found = [cells[row] for row in rows if not _is_mark(cells[row])]
    if not found:
        raise no_labels(frame, name)
    return found


def _is_mark(cell: object) -> bool:
    return number(cell) == UNLABELLED


def _kind_of_several(present: dict[str, list[Any]]) -> Kind:
    found = {as_text(cell).lower() for cells in present.values() for cell in cells}
    if found <= _YES_NO.keys():
        return "binary"
    if found <= _YES_NO.keys() | _MINUS_ONE:
        raise DataError(
            f"labels in {some_of(map(repr, present))} can be read as binary labels or as values, "
            "got -1 beside 0 and 1; write kind: values, or, if -1 stands for nothing, kind: binary "
            "and missing: [-1]"
        )
    return "values"


def _kind_of_one(name: str, cells: list[Any]) -> Kind:
    values = [number(each) for each in cells]
    readable = sum(each is not None for each in values)
    other = in_other_form(set(map(as_text, cells))) if readable < len(values) else None
    if other is not None:
        raise DataError(
            f"labels in {name!r} must be numbers as 1234.5 or names of classes, got {other!r}; "
            "write a dot before decimals, nothing between thousands, and no sign but minus, or "
            "kind: classes"
        )
    if readable == 0:
        return "classes"
    if readable < len(values):
        if 2 * readable > len(values):
            other = next(cell for cell, value in zip(cells, values, strict=True) if value is None)
            raise DataError(
                f"labels in {name!r} must be numbers or names of classes, got {other!r} beside "
                f"{readable:,} numbers; write kind: classes, name it in `missing`, or correct it"
            )
        return "classes"
    numbers = [each for each in values if each is not None]
    if not all(each.is_integer() for each in numbers):
        return "values"
    if _are_class_ids(cells, numbers):
        return "classes"
    raise DataError(
        f"labels in {name!r} can be read as classes or as values, got integers such as "
        f"{', '.join(map(str, cells[:3]))}; write kind: classes or kind: values"
    )


def _are_class_ids(cells: list[Any], numbers: list[float]) -> bool:
    """Tell whether numbers are surely classes: written as integers, without gaps, and often."""
    ids = sorted(set(numbers))
    whole = not any("." in str(each) or "e" in str(each).lower() for each in cells)
    return whole and ids[-1] - ids[0] == len(ids) - 1 and _MIN_TWO * len(ids) <= len(numbers)


def _class_names(name: str, cells: list[Any], table: str) -> tuple[str, ...]:
    found = in_order(set(map(as_text, cells)))
    if len(found) < _MIN_TWO:
        raise DataError(
            f"labels in {name!r} must be of two classes or more, got {table} with {found[0]!r} "
            "only; correct `label`"
        )
    if len(found) > _MOST_CLASSES or (2 * len(found) > len(cells) and len(found) > 50):  # noqa: PLR2004
        raise DataError(
            f"labels in {name!r} must be classes with several examples each, got {len(found):,} "
            f"different ones in {len(cells):,} rows of {table}; correct `label`, or list them in "
            "`classes`"
        )
    if all(each.startswith("[") and each.endswith("]") for each in found):
        raise DataError(
            f"labels in {name!r} must be names of classes, or lists in a .jsonl or .parquet file, "
            f"got lists as texts in {table}, such as {found[0]!r}; write it as one of these, or "
            "list them in `classes`"
        )
    if alike := twins(found):
        raise DataError(
            f"labels in {name!r} must be written in one way, got {some_of(map(repr, alike[0]))} in "
            f"{table}; write them alike, or list them in `classes` if they are different classes"
        )
    # The classes 1.0 and 2.0 of a CSV file are those that are called 1 and 2 elsewhere.
    whole = tuple(map(plain, found))
    return whole if all(each.lstrip("-").isdecimal() for each in whole) else found
