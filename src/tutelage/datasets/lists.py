"""Label cells that hold several labels: names of those that are true, or a tag for each word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.datasets.cells import as_text, number
from tutelage.datasets.frame import Frame, nearest
from tutelage.errors import DataError
from tutelage.signals import UNLABELLED

Missing = Sequence[str]


def holds_lists(frame: Frame, name: str) -> bool:
    """Tell whether the cells of a column are lists."""
    cells = frame.cells("label", name)
    return not isinstance(cells, np.ndarray) and any(isinstance(each, list) for each in cells)


def label_names(frame: Frame, name: str, missing: Missing) -> tuple[str, ...]:
    """Return the names of the labels in lists, sorted.

    Raises:
        DataError: A cell is no list, or names a label twice, as lists of tags do.
    """
    found = set()
    for row, cell in _present(frame, name, missing):
        names = _texts(frame, name, row, cell)
        if len(set(names)) < len(names):
            raise DataError(
                f"the label column {name!r} must name each label once in a row, got {cell!r} in "
                f"{frame.row(row)}; correct it, or, if it has a tag for each word of the text, "
                "write kind: tags"
            )
        found |= set(names)
    return _sorted(frame, name, found)


def multi_hot(frame: Frame, name: str, classes: tuple[str, ...], missing: Missing) -> Tensor:
    """Return 1 for the labels that a row names and 0 for the others, `[rows, labels]`.

    A missing cell is −100 for all labels; an empty list is a row for which none is true.
    """
    labels = torch.full((len(frame), len(classes)), UNLABELLED)
    for row, cell in _present(frame, name, missing):
        labels[row] = 0
        for each in _texts(frame, name, row, cell):
            labels[row, _place(frame, name, row, each, classes)] = 1
    return labels


def tag_names(frame: Frame, name: str, missing: Missing) -> tuple[str, ...]:
    """Return the tags of all words, sorted; a cell is a list, or a text with spaces between tags.

    Raises:
        DataError: A cell is neither.
    """
    found: set[str] = set()
    for row, cell in _present(frame, name, missing):
        found |= set(_tags(frame, name, row, cell))
    return _sorted(frame, name, found)


def tag_ids(
    frame: Frame, name: str, classes: tuple[str, ...], missing: Missing, texts: Sequence[str]
) -> Tensor:
    """Return the tag of each word, `[rows, words of the longest text]`, −100 behind the last.

    Raises:
        DataError: A row has no tags, other ones than the training data, or more or fewer than its
            text has words.
    """
    rows = [torch.zeros(0, dtype=torch.int64)] * len(frame)
    for row, cell in _present(frame, name, missing):
        tags = _tags(frame, name, row, cell)
        if len(tags) != len(texts[row].split()):
            raise DataError(
                f"`label` must have a tag for each word of the text, got {len(tags)} tags and "
                f"{len(texts[row].split())} words in {frame.row(row)}; correct it (words have "
                "spaces between them)"
            )
        rows[row] = torch.tensor([_place(frame, name, row, each, classes) for each in tags])
    for row, each in enumerate(rows):
        if not len(each):
            raise DataError(
                f"`label` must have tags in every row where kind is tags, got none in "
                f"{frame.row(row)}; leave the row out"
            )
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=UNLABELLED)


def _present(frame: Frame, name: str, missing: Missing) -> list[tuple[int, Any]]:
    cells = frame.cells("label", name)
    return [(int(row), cells[row]) for row in np.flatnonzero(~frame.absent(name, missing))]


def _texts(frame: Frame, name: str, row: int, cell: Any) -> list[str]:
    if not isinstance(cell, list) or any(isinstance(each, (list, dict)) for each in cell):
        raise DataError(
            f"the label column {name!r} must hold lists of names, as in other rows, got {cell!r} "
            f"in {frame.row(row)}; write a list, [] for none"
        )
    return list(map(as_text, cell))


def _tags(frame: Frame, name: str, row: int, cell: Any) -> list[str]:
    return cell.split() if isinstance(cell, str) else _texts(frame, name, row, cell)


def _place(frame: Frame, name: str, row: int, label: str, classes: tuple[str, ...]) -> int:
    if label not in classes:
        raise unknown_label(frame, name, row, label, classes)
    return classes.index(label)


def unknown_label(
    frame: Frame, name: str, row: int, label: str, classes: tuple[str, ...]
) -> DataError:
    """Return the error that a label is none of the training data."""
    hint = nearest(label, classes)
    return DataError(
        f"labels in {name!r} must be classes of the training data, got {label!r} in "
        f"{frame.row(row)}; {hint}{'' if hint.endswith('?') else '.'} Correct it, leave the row "
        "out, or list all in `classes`"
    )


def no_labels(frame: Frame, name: str) -> DataError:
    """Return the error that a column has no label at all."""
    return DataError(
        f"the label column {name!r} must hold labels, got {frame.name} with none; correct `label`, "
        "or leave it out to train on a teacher's outputs only"
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes sorted; by number if all are numbers, as class ids are."""
    values = {each: number(each) for each in names}
    if None in values.values():
        return tuple(sorted(values))
    return tuple(sorted(values, key=lambda each: (values[each], each)))


def _sorted(frame: Frame, name: str, found: set[str]) -> tuple[str, ...]:
    if not found:
        raise no_labels(frame, name)
    return in_order(found)
