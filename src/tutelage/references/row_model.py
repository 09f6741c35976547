"""A model of table rows from a file, as the function of a `Predictor`."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ModelError
from tutelage.teachers import Predictor


class NamedColumns(Protocol):
    """What turns rows `[rows, columns]` into the columns of a table, by name."""

    def named(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return numbers, categories as text, and dates."""
        ...


@dataclass
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
    """

    name: str
    run: Callable[[Any], Any]
    digest: str
    features: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    columns: NamedColumns | None = None
    categories: bool = False

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
        for name in features:
            if named[name].dtype == object:  # None is another category than NaN in scikit-learn
                texts = frame[name].astype(object).where(frame[name].notna(), np.nan)
                frame[name] = texts.astype("category") if self.categories else texts
        return frame

    def fingerprint(self) -> str:
        """Return the name and a hash of the model's file."""
        return f"{self.name} {self.digest}"


def with_columns(model: Any, columns: NamedColumns) -> Any:
    """Return a model that gets rows as a table with named columns, if it was loaded from a file.

    Args:
        model: What `load_model` returned.
        columns: Its method `named` returns the columns of rows, by name.
    """
    if not isinstance(model, Predictor) or not isinstance(model.predict, RowModel):
        return model
    found = copy.copy(model)
    found.predict = copy.copy(model.predict)
    found.predict.columns = columns
    return found


def digest_of(path: Path) -> str:
    """Return a hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def names_of(classes: Sequence[Any] | NDArray[Any]) -> tuple[str, ...] | None:
    """Return class names as text; None if there are none, or they are only numbers from 0."""
    names = tuple(map(str, classes))
    return None if names == tuple(map(str, range(len(names)))) else names
