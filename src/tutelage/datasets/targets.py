"""From the cells of label columns to labels: class ids, binary labels, values or tags of words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text, decimal_mark, is_mark, numbers_of, places, plain
from tutelage.datasets.columns import factorized
from tutelage.datasets.content import Content, few
from tutelage.datasets.options import DataOptions, Kind
from tutelage.errors import ArgumentError, DataError, nearest, some_of
from tutelage.labels import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

_YES_NO = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "f": 0, "t": 1, "n": 0, "y": 1}
_MOST_INTEGERS, _NEARLY_ALL = 20, 0.95


@dataclass(frozen=True)
class Targets:
    """What the labels of the training data are.

    Args:
        names: The columns of the labels.
        kind: Of labels.
        classes: The names of the classes, or of the binary labels.
        listed: Whether a cell is a list of the binary labels that are true.
        decimals: Of values, the decimal mark of each column; None where cells are not texts.
        note: How the kind was inferred, where it may be meant otherwise.
    """

    names: tuple[str, ...]
    kind: Kind
    classes: tuple[str, ...] = ()
    listed: bool = False
    decimals: tuple[str | None, ...] = ()
    note: str = ""

    @classmethod
    def fit(cls, content: Content, options: DataOptions) -> Targets:
        """Return what labels are, told by the options or by the form of the training data.

        Raises:
            DataError: There is no such column, it has no labels, or one class.
            ArgumentError: `classes` are given where labels are columns of binary labels or values.
        """
        names, kind, classes, note = options.labels, options.kind, options.classes, ""
        present = [_present(content, each) for each in names]
        lists = any(cells.dtype.kind == "O" and any(map(is_list, cells[:100])) for cells in present)
        if len(names) == 1 and (kind == "tags" or (lists and kind in (None, "binary"))):
            found = {as_text(each) for cell in present[0] for each in _listed(cell)}
            kind, lists = kind or "binary", kind != "tags"
            return cls(names, kind, classes or in_order(found), listed=lists)
        if lists or (len(names) > 1 and kind in ("classes", "tags")):
            raise DataError(
                f"`label` must be one column of one label each where labels are {kind or 'lists'}, "
                f"got {some_of(map(repr, names))} of {content.name}; leave `kind` out for lists of "
                "binary labels, or, for a tag for each word, write kind: tags"
            )
        if kind is None and classes is not None and len(names) == 1:
            kind = "classes"
        elif kind is None:
            kind, note = _kind(present, content.inputs is None)
        if kind == "classes":
            values = [each for each in factorized(present[0])[1] if not _is(UNLABELLED, each)]
            classes = classes or in_order(map(as_text, values))
            if len(classes) == 1:
                raise DataError(
                    f"labels in {', '.join(names)!r} must be of two classes or more, got "
                    f"{content.name} with {classes[0]!r} only; correct `label`"
                )
        elif classes is not None:
            raise ArgumentError(
                f"`classes` must be left out where labels are {kind} in columns, got "
                f"{some_of(classes)}; or give one column of these names"
            )
        elif kind == "binary":
            classes = names
        marks = (None if each.dtype.kind in "iuf" else decimal_mark(each) for each in present)
        decimals = tuple(marks) if kind == "values" else ()
        return cls(names, kind, classes or (), decimals=decimals, note=note)

    def encode(self, content: Content, notes: list[str]) -> Tensor:
        """Return labels: class ids or binary labels (−100 where missing), or values (NaN).

        Args:
            content: With the columns of the labels, and texts for tags of their words.
            notes: Receives a sentence on values that cannot be read and so are missing.

        Raises:
            DataError: A column is missing, or a label is none of the kind.
        """
        if self.kind == "tags":
            return self._tags(content)
        if self.listed:
            return self._multi_hot(content)
        columns = [self._column(content, each, notes) for each in self.names]
        found = np.stack(columns, axis=1) if len(columns) > 1 else columns[0]
        if self.kind == "values":
            return torch.from_numpy(found).to(torch.get_default_dtype())
        return torch.from_numpy(np.where(np.isnan(found), UNLABELLED, found).astype(np.int64))

    def _column(self, content: Content, name: str, notes: list[str]) -> NDArray[np.float64]:
        rows, values = factorized(content.column("label", name))
        absent = np.array([*map(is_mark, values)], dtype=bool)
        if self.kind == "values":
            numbers = numbers_of(values, self.decimals[self.names.index(name)])
            found = np.where(np.isfinite(numbers), numbers, np.nan)
        elif self.kind == "binary":
            found = np.array([_yes_no(each) for each in values], dtype=float)
            absent |= [_is(UNLABELLED, each) or _is(-1, each) for each in values]
        else:
            found = np.array([*map(places(self.classes), values)], dtype=float)
            absent = np.array([_is(UNLABELLED, each) for each in values], dtype=bool)
            found[absent] = np.nan
        wrong = np.flatnonzero(np.isnan(found) & ~absent)
        if len(wrong):
            of_wrong = np.flatnonzero(np.isin(rows, wrong))
            first, row = values[wrong[0]], int(of_wrong[rows[of_wrong] == wrong[0]][0])
            if self.kind == "classes":
                raise self._unknown(name, as_text(first), content, row)
            count = len(of_wrong)
            if not few(count, len(rows)):
                form = "numbers" if self.kind == "values" else "0 or 1 (false or true, no or yes)"
                raise DataError(
                    f"labels in {name!r} must be {form}, got {count:,} others, such as {first!r} "
                    f"in {content.row(row)}; write kind: classes, or correct them"
                )
            notes.append(
                f"{count:,} labels in {name!r} of {content.name} are no numbers, such as {first!r} "
                f"in {content.row(row)}, and are read as missing"
            )
        return np.append(found, np.nan)[rows]

    def _unknown(self, name: str, label: str, content: Content, row: int) -> DataError:
        hint = nearest(label, self.classes)
        return DataError(
            f"labels in {name!r} must be classes of the training data, got {label!r} in "
            f"{content.row(row)}; {hint}{'' if hint.endswith('?') else '.'} Correct it, leave the "
            "row out, or list all in `classes`"
        )

    def _ids(self, content: Content, row: int, cell: Any, ids: Mapping[str, int]) -> list[int]:
        """Return the ids of the names that a cell lists, by those of all names."""
        names = [*map(as_text, _listed(cell))]
        wrong = next((each for each in names if each not in ids), None)
        if wrong is not None:
            raise self._unknown(self.names[0], wrong, content, row)
        return [ids[each] for each in names]

    def _multi_hot(self, content: Content) -> Tensor:
        """Return 1 for the labels that a row names and 0 for the others, `[rows, labels]`.

        A missing cell is −100 for all labels; an empty list is a row for which none is true.
        """
        labels = torch.full((len(content), len(self.classes)), UNLABELLED)
        ids = {each: at for at, each in enumerate(self.classes)}
        for row, cell in enumerate(content.column("label", self.names[0])):
            if not _is_missing(cell):
                labels[row] = 0
                labels[row, self._ids(content, row, cell, ids)] = 1
        return labels

    def _tags(self, content: Content) -> Tensor:
        """Return the tag of each word, `[rows, words of the longest text]`, −100 behind the last.

        Raises:
            DataError: Rows have other tags than the training data, or more or fewer than words.
        """
        if not isinstance(content.inputs, list):
            raise DataError(
                "`kind: tags` needs texts as inputs, whose words have a tag each, got others; name "
                "their column: text"
            )
        rows, ids = [], {each: at for at, each in enumerate(self.classes)}
        for row, cell in enumerate(content.column("label", self.names[0])):
            tags = [] if _is_missing(cell) else self._ids(content, row, cell, ids)
            words = content.inputs[row].split()
            if len(tags) != len(words):
                raise DataError(
                    f"`label` must have a tag for each word of the text, got {len(tags)} tags and "
                    f"{len(words)} words in {content.row(row)}; correct it (words have spaces "
                    "between them), or leave the row out"
                )
            rows.append(torch.tensor(tags))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=UNLABELLED)

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
        return f"labels {some_of(map(repr, self.names))}: {what}{self.note}"


def is_list(cell: object) -> bool:
    """Tell whether a cell is a list, which of Parquet is an array."""
    return isinstance(cell, (list, tuple, np.ndarray))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes sorted; by number if all are numbers, as class ids are."""
    texts = sorted(set(names))
    numbers = numbers_of(texts, ".")
    order = range(len(texts)) if np.isnan(numbers).any() else numbers.argsort(kind="stable")
    return tuple(texts[at] for at in order)


def _is_missing(cell: object) -> bool:
    """Tell whether a single cell, which may be a list, is missing."""
    import pandas as pd  # noqa: PLC0415 - heavy

    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def _listed(cell: Any) -> list[Any]:
    """Return what a cell lists; a text lists what has spaces between."""
    if isinstance(cell, str):
        return cell.split()
    if is_list(cell):
        return list(cell)
    raise DataError(
        f"labels must be lists in all rows, or in none, got {cell!r}; write [] for none"
    )


def _is(number: int, cell: Any) -> bool:
    """Tell whether a cell is a number, or its digits alone; -100% may be a class."""
    return plain(as_text(cell)) == str(number)


def _yes_no(cell: Any) -> int | None:
    return _YES_NO.get(plain(as_text(cell)).lower())


def _present(content: Content, name: str) -> pd.Series:
    """Return the cells that hold a label: not missing, and not −100.

    Raises:
        DataError: There are none.
    """
    cells = content.column("label", name)
    absent = cells.map(_is_missing).astype(bool) if cells.dtype.kind == "O" else cells.isna()
    found = cells.loc[~absent.to_numpy()]
    if found.dtype.kind in "iuf":
        found = found.loc[(found != UNLABELLED).to_numpy(dtype=bool)]
    if not len(found):
        raise DataError(
            f"the label column {name!r} must hold labels, got {content.name} with none; correct "
            "`label`, or leave it out to train on a teacher's outputs only"
        )
    return found


def _kind(  # noqa: PLR0911 - one kind after the other
    present: Sequence[pd.Series], is_table: bool
) -> tuple[Kind, str]:
    """Return the kind of labels by their form, and how it was inferred."""
    if len(present) > 1:
        found = {plain(as_text(each)).lower() for cells in present for each in factorized(cells)[1]}
        if found <= {*_YES_NO, "-1"}:
            one = ", of which -1 is missing (kind: values otherwise)"
            return "binary", one if "-1" in found else ""
        return "values", ""
    cells, values = present[0], factorized(present[0])[1]
    if cells.dtype.kind not in "iuf":
        mostly = np.isfinite(numbers_of(values)).mean() > _NEARLY_ALL
        if mostly and len(values) > _MOST_INTEGERS:
            return "values", ", read from texts"
        return "classes", ""
    numbers, count = np.array(values, dtype=float), len(values)
    if not (numbers == np.round(numbers)).all():
        return "values", ""
    gapless = np.ptp(numbers) == count - 1 and not is_table
    if 2 * count <= len(cells) and (count <= _MOST_INTEGERS or gapless):
        return "classes", ""
    return "values", f" ({count:,} different integers; kind: classes if they are classes)"
