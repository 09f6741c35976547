"""From the cells of label columns to labels: class ids, binary labels, values or tags of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.cells import as_text, number, places, plain
from tutelage.datasets.columns import factorized
from tutelage.datasets.content import Content, nearest
from tutelage.datasets.options import DataOptions, Kind
from tutelage.datasets.parsing import is_mark, numbers_of
from tutelage.errors import ArgumentError, DataError, some_of
from tutelage.signals import UNLABELLED

if TYPE_CHECKING:
    import pandas as pd

_YES_NO = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1, "f": 0, "t": 1, "n": 0, "y": 1}
_MOST_INTEGERS, _MOST_CLASSES, _MIN_TWO = 20, 5_000, 2
_FEW, _SHARE = 5, 0.05


@dataclass(frozen=True)
class Targets:
    """What the labels of the training data are.

    Args:
        names: The columns of the labels.
        kind: Of labels.
        classes: The names of the classes, or of the binary labels.
        listed: Whether a cell is a list of the binary labels that are true.
        note: How the kind was inferred, where it may be meant otherwise.
    """

    names: tuple[str, ...]
    kind: Kind
    classes: tuple[str, ...] = ()
    listed: bool = False
    note: str = ""

    @classmethod
    def fit(cls, content: Content, options: DataOptions) -> Targets:
        """Return what labels are, told by the options or by the form of the training data.

        Raises:
            DataError: There is no such column, it has no labels, or one class.
            ArgumentError: `classes` are given where labels are columns of binary labels or values.
        """
        names: Any = options.labels
        kind, classes = options.kind, options.classes
        columns = [content.column("label", each) for each in names]
        present = [_present(each, name, content) for each, name in zip(columns, names, strict=True)]
        if len(names) == 1 and (kind == "tags" or _holds_lists(present[0])):
            if kind == "tags":
                found = {as_text(tag) for cell in present[0] for tag in _listed(cell)}
                return cls(names, kind, classes or in_order(found))
            if kind in (None, "binary"):
                found = {as_text(each) for cell in present[0] for each in _listed(cell)}
                return cls(names, "binary", classes or in_order(found), listed=True)
        if any(map(_holds_lists, present)) or (len(names) > 1 and kind in ("classes", "tags")):
            raise DataError(
                f"`label` must be one column of one label each where labels are {kind}, got "
                f"{some_of(map(repr, names))} of {content.name}; leave `kind` out for lists of "
                "binary labels, or, for a tag for each word, write kind: tags"
            )
        note = ""
        if kind is None:
            kind, note = _kind(present, content.inputs is None)
            kind = "classes" if classes is not None else kind
        if kind == "classes":
            classes = classes or _class_names(
                names[0], present[0], content.name, options.kind is None
            )
        elif classes is not None:
            raise ArgumentError(
                f"`classes` must be left out where labels are {kind} in columns, got "
                f"{some_of(classes)}; or give one column of these names"
            )
        elif kind == "binary":
            classes = names
        return cls(names, kind, classes or (), note=note)

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
        cells = content.column("label", name)
        rows, values = factorized(cells)
        if self.kind == "values":
            found = numbers_of(values) if not _numeric(cells) else np.array(values, dtype=float)
            wrong = [at for at, each in enumerate(found) if not np.isfinite(each)]
            found[wrong] = np.nan
            wrong = [at for at in wrong if not is_mark(values[at])]
        else:
            of = self._yes_no if self.kind == "binary" else places(self.classes)
            found = np.array(
                [np.nan if number(each) == UNLABELLED else of(each) for each in values], dtype=float
            )
            wrong = [
                at for at in np.flatnonzero(np.isnan(found)) if number(values[at]) != UNLABELLED
            ]
            wrong = [
                at
                for at in wrong
                if self.kind == "classes" or not (is_mark(values[at]) or number(values[at]) == -1)
            ]
        if wrong:
            count = int(np.isin(rows, wrong).sum())
            first = values[wrong[0]]
            row = int(np.flatnonzero(rows == wrong[0])[0])
            if self.kind == "classes":
                raise self._unknown(name, as_text(first), content, row)
            if count > max(_FEW, _SHARE * len(rows)):
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

    @staticmethod
    def _yes_no(cell: Any) -> int | None:
        return _YES_NO.get(plain(as_text(cell)).lower())

    def _unknown(self, name: str, label: str, content: Content, row: int) -> DataError:
        hint = nearest(label, self.classes)
        return DataError(
            f"labels in {name!r} must be classes of the training data, got {label!r} in "
            f"{content.row(row)}; {hint}{'' if hint.endswith('?') else '.'} Correct it, leave the "
            "row out, or list all in `classes`"
        )

    def _multi_hot(self, content: Content) -> Tensor:
        """Return 1 for the labels that a row names and 0 for the others, `[rows, labels]`.

        A missing cell is −100 for all labels; an empty list is a row for which none is true.
        """
        name = self.names[0]
        of = {each: at for at, each in enumerate(self.classes)}
        labels = torch.full((len(content), len(of)), UNLABELLED)
        for row, cell in enumerate(content.column("label", name)):
            if is_missing(cell):
                continue
            labels[row] = 0
            for each in map(as_text, _listed(cell)):
                if each not in of:
                    raise self._unknown(name, each, content, row)
                labels[row, of[each]] = 1
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
        of = {each: at for at, each in enumerate(self.classes)}
        rows = []
        for row, cell in enumerate(content.column("label", self.names[0])):
            tags = [] if is_missing(cell) else list(map(as_text, _listed(cell)))
            words = content.inputs[row].split()
            if len(tags) != len(words):
                raise DataError(
                    f"`label` must have a tag for each word of the text, got {len(tags)} tags and "
                    f"{len(words)} words in {content.row(row)}; correct it (words have spaces "
                    "between them), or leave the row out"
                )
            for each in tags:
                if each not in of:
                    raise self._unknown(self.names[0], each, content, row)
            rows.append(torch.tensor([of[each] for each in tags]))
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


def is_missing(cell: object) -> bool:
    """Tell whether a single cell, which may be a list, is missing."""
    import pandas as pd  # noqa: PLC0415 - heavy

    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def is_list(cell: object) -> bool:
    """Tell whether a cell is a list, which of Parquet is an array."""
    return isinstance(cell, (list, tuple, np.ndarray))


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of classes sorted; by number if all are numbers, as class ids are."""
    values = {each: number(each) for each in names}
    if None in values.values():
        return tuple(sorted(values))
    return tuple(sorted(values, key=lambda each: (values[each], each)))


def _numeric(cells: pd.Series) -> bool:
    return cells.dtype.kind in "biuf"


def _listed(cell: Any) -> list[Any]:
    """Return what a cell lists; a text lists what has spaces between."""
    if isinstance(cell, str):
        return cell.split()
    if is_list(cell):
        return list(cell)
    raise DataError(
        f"labels must be lists in all rows, or in none, got {cell!r}; write [] for none"
    )


def _holds_lists(cells: pd.Series) -> bool:
    return cells.dtype.kind == "O" and any(map(is_list, cells[:100]))


def _present(cells: pd.Series, name: str, content: Content) -> pd.Series:
    """Return the cells that hold a label: not missing, and not −100.

    Raises:
        DataError: There are none.
    """
    objects = cells.dtype.kind == "O"
    absent = cells.map(is_missing) if objects else cells.isna()
    found: pd.Series = cells.iloc[~absent.to_numpy(dtype=bool)]
    if _numeric(found):
        found = found.iloc[(found != UNLABELLED).to_numpy(dtype=bool)]
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
        if found <= _YES_NO.keys():
            return "binary", ""
        if found <= {*_YES_NO, "-1"}:
            return "binary", ", of which -1 is missing (kind: values otherwise)"
        return "values", ""
    cells = present[0]
    values = factorized(cells)[1]
    if cells.dtype.kind == "b" or not _numeric(cells):
        numbers = numbers_of(values)
        mostly = np.isfinite(numbers).mean() > 1 - _SHARE and len(values) > _MOST_INTEGERS
        return ("values", ", read from texts") if mostly else ("classes", "")
    numbers = np.array(values, dtype=float)
    if not (numbers == np.round(numbers)).all():
        return "values", ""
    count, gapless = len(values), np.ptp(numbers) == len(values) - 1
    often = _MIN_TWO * count <= len(cells)
    if often and (count <= _MOST_INTEGERS or (gapless and not is_table)):
        return "classes", ""
    return "values", f" ({count:,} different integers; kind: classes if they are classes)"


def _class_names(name: str, cells: pd.Series, table: str, inferred: bool) -> tuple[str, ...]:
    found = in_order({as_text(each) for each in factorized(cells)[1]})
    if len(found) < _MIN_TWO:
        raise DataError(
            f"labels in {name!r} must be of two classes or more, got {table} with {found[0]!r} "
            "only; correct `label`"
        )
    rare = 2 * len(found) > len(cells) and len(found) > 50  # noqa: PLR2004
    if inferred and (rare or len(found) > _MOST_CLASSES):
        raise DataError(
            f"labels in {name!r} must be classes with several examples each, got {len(found):,} "
            f"different ones in {len(cells):,} rows of {table}; correct `label`, or write kind: "
            "classes"
        )
    return found
