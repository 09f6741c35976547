"""A model of table rows from a file, as the function of a `Predictor`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage.datasets.cells import as_text, number
from tutelage.errors import ModelError
from tutelage.identity import identity
from tutelage.references.known_categories import (
    KnownCategories,
    are_numbers,
    as_fitted,
)


class NamedColumns(Protocol):
    """What turns rows `[rows, columns]` into the columns of a table, by name."""

    def named(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return numbers, categories as text, and dates."""
        ...


@dataclass(repr=False)
class RowModel:
    """A function from rows of a table to predictions.

    Args:
        name: Of the model, for messages and fingerprints.
        run: From rows, an array or a pandas DataFrame, to predictions.
        digest: Of the model's file.
        features: The names of the columns that it was fitted on; None if it was fitted on arrays.
        class_names: Names of the classes, in the order of the outputs.
        columns: From rows to the columns of a table; None where rows are given as they are.
        categories: Whether columns of text are given as pandas categories.
        known: The categories that it was fitted on, as it had them, by column.
        forms: A function from the categories of the data, by column, to these as it had them, and
            the columns that matter and of which it knows none; None where `known` tells it.
    """

    name: str
    run: Callable[[Any], Any]
    digest: str
    features: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    columns: NamedColumns | None = None
    categories: bool = False
    known: KnownCategories = field(default_factory=KnownCategories)
    forms: Callable[[dict[str, tuple[str, ...]]], tuple[dict[str, list[Any]], list[str]]] | None = (
        None
    )

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the predictions for rows `[batch, columns]`."""
        if self.features is None or rows.dtype == object:  # the columns have no names, or are texts
            return self.run(rows)
        if self.columns is None:
            raise ModelError(
                f"the teacher ({self.name}) was fitted on named columns "
                f"({', '.join(self.features[:3])}, …), got rows without names; give the table's "
                "columns by tutelage.references.with_columns(teacher, columns)"
            )
        return self.run(self._frame(self.columns.named(rows)))

    def _frame(self, named: dict[str, NDArray[Any]]) -> Any:
        import pandas as pd  # noqa: PLC0415 - heavy, and needed here only

        features = self.features or ()
        missing = [name for name in features if name not in named]
        if missing:
            raise ModelError(
                f"the teacher ({self.name}) was fitted on columns that the data do not have, "
                f"{', '.join(missing)}, got {', '.join(named)}; give the table it was fitted on"
            )
        frame = pd.DataFrame({name: named[name] for name in features})
        texts = [name for name in features if named[name].dtype == object]
        known = self.known.of(texts)
        for name in features:
            if name in known and (name in texts or not are_numbers(known[name])):
                values = as_fitted(named[name].tolist(), known[name], keep=not self.categories)
                frame[name] = pd.Series(values, dtype=object)
                if are_numbers(known[name]):
                    frame[name] = frame[name].infer_objects()
            elif name in texts and self._are_truths(named[name]):
                truths = [None if each is None else each.lower() == "true" for each in named[name]]
                frame[name] = pd.Series(truths, dtype=object).fillna(np.nan).infer_objects()
            elif name in texts:  # None is another category than NaN in scikit-learn
                self._check_text(name, named[name])
                frame[name] = frame[name].astype(object).where(frame[name].notna(), np.nan)
            if name in texts and self.categories:
                frame[name] = frame[name].astype("category")
        return frame

    def _are_truths(self, values: NDArray[Any]) -> bool:
        """Tell whether values are true and false, which are no texts where no encoder had them."""
        if self.categories or self.known.elsewhere:
            return False
        return all(each is None or each.lower() in ("true", "false") for each in values)

    def _check_text(self, name: str, values: NDArray[Any]) -> None:
        """Refuse texts of numbers for an encoder of numbers, which would not know them."""
        if self.known.elsewhere and all(
            each is None or number(each) is not None for each in values
        ):
            raise ModelError(
                f"the teacher ({self.name}) must be given {name!r} as it was fitted on it, got a "
                "column of `categories` and encoders of numbers whose columns are not known; leave "
                "it out of `categories`, or load the teacher in your own code: file.py:function"
            )

    def __repr__(self) -> str:
        return self.name

    def fingerprint(self) -> str:
        """Return the name, a hash of the model's file, and what its rows are."""
        columns = "" if self.columns is None else identity(self.columns)
        return f"{self.name} {self.digest} {columns}"


def digest_of(path: Path) -> str:
    """Return a hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def names_of(classes: Sequence[Any] | NDArray[Any]) -> tuple[str, ...] | None:
    """Return class names as text; None if there are none, or they are only numbers from 0."""
    names = tuple(map(as_text, classes))
    return None if names == tuple(map(str, range(len(names)))) else names
