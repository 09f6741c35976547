"""From rows of a table to the inputs of a network."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tutelage.datasets.columns import Columns
from tutelage.errors import ArgumentError, DataError, in_short, some_of
from tutelage.files import write_json

_LOG = logging.getLogger("tutelage")
_MOST = 64
_FORMAT = 1
_LARGEST = 1e150
"""Of more the square is no double, and so neither is the deviation; larger ones count as this."""


class TableInputs(nn.Module):
    """Rows of a table as inputs of a network: imputed, scaled and one-hot encoded.

    Made by `fit` from the training data. Numbers and dates become (x − mean)/deviation, where a
    missing one becomes the median, and columns that have missing cells in the training data are
    followed by 1 for missing and 0 for present. A category becomes a vector with a 1 at its code,
    in which rare ones share a place, and a missing one has one of its own, if the training data has
    any; one that training data does not have is among the rare ones, or zeros. These are what
    scikit-learn's `SimpleImputer`, `StandardScaler`, `MissingIndicator` and `OneHotEncoder` return,
    but by operations of torch, so that a network with its `TableInputs` can be exported as one
    model, and saved without pickle. Where thresholds t of a number are given, its steps follow: 1
    if x > t and 0 if not.

    Args:
        columns: What the rows' columns are; those that are not inputs of a network are left out.
        statistics: For each number and date its median, mean, deviation, 1 if cells of it are
            missing, and its thresholds; for each code of a category 1 if it has a place of its own,
            0 if it is rare, and −1 if the training data has none; the last is 1 if cells are
            missing.

    Shape: rows float64 `[batch, columns]` → float32 `[batch, features]`; columns behind the inputs
    are ignored.

    >>> import numpy as np
    >>> from tutelage.datasets import Column, Columns
    >>> columns = Columns((Column("age", "number"), Column("sex", "category", ("f", "m"))))
    >>> inputs = TableInputs.fit(columns, np.array([[20.0, 0], [40.0, 1], [np.nan, 0]]))
    >>> inputs(torch.tensor([[40.0, 1], [torch.nan, 0]], dtype=torch.float64))
    tensor([[1.2247, 0.0000, 0.0000, 1.0000],
            [0.0000, 1.0000, 1.0000, 0.0000]])
    """

    def __init__(self, columns: Columns, statistics: list[list[float]]) -> None:
        super().__init__()
        self.columns, self.statistics = (columns := columns.inputs), statistics
        kinds = [each.kind for each in columns.columns]
        at = [place for place, kind in enumerate(kinds) if kind != "category"]
        numbers = torch.tensor([statistics[place][:4] for place in at], dtype=torch.float64)
        median, mean, deviation, missing = numbers.reshape(-1, 4).unbind(1)
        steps = [(place, each) for place in at for each in statistics[place][4:]]
        self._constant("stepped", torch.tensor([place for place, _ in steps], dtype=torch.int64))
        self._constant("thresholds", torch.tensor([each for _, each in steps], dtype=torch.float64))
        self._constant("numbers", torch.tensor(at, dtype=torch.int64))
        self._constant("median", median)
        self._constant("mean", mean)
        self._constant("deviation", deviation)
        self._constant("indicated", torch.tensor(at, dtype=torch.int64)[missing.bool()])
        self.coded = [place for place, kind in enumerate(kinds) if kind == "category"]
        for place in self.coded:
            self._constant(f"places_{place}", _places(statistics[place]))

    @property
    def features(self) -> int:
        """The number of features of a row."""
        rows = torch.zeros(1, len(self.columns), dtype=torch.float64)
        return self(rows).shape[1]

    @property
    def steps(self) -> dict[str, list[float]]:
        """The thresholds of the steps, by the name of the number."""
        found = zip(self.columns.columns, self.statistics, strict=True)
        numbers = {each.name: own[4:] for each, own in found if each.kind != "category"}
        return {name: own for name, own in numbers.items() if own}

    @classmethod
    def fit(
        cls,
        columns: Columns,
        rows: Tensor | ArrayLike,
        most: int = _MOST,
        thresholds: Mapping[Any, Sequence[float]] | None = None,
    ) -> TableInputs:
        """Return the preprocessing that fits the training data.

        Args:
            columns: What the rows' columns are.
            rows: The training data, `[rows, columns]`; those that are not inputs may be left out.
            most: Of a column's categories as many as this have a place of their own, the most
                frequent ones; the others share one.
            thresholds: Of numbers and dates, by their name or position, the thresholds of their
                steps, such as those of a teacher's trees:
                `tutelage.references.split_thresholds(model)`; those of categories, and of columns
                that are not inputs, are not used.

        Raises:
            ArgumentError: `thresholds` name a column that does not exist.
            DataError: There are no rows, or they have other columns.
        """
        array, whole = np.asarray(rows, dtype=np.float64), columns
        columns = columns.inputs
        if array.ndim != 2 or array.shape[1] not in (len(whole), len(columns)) or not len(array):  # noqa: PLR2004
            raise DataError(
                f"`rows` must be [rows, {len(columns)}] with at least one row, got shape "
                f"{list(array.shape)}; give the training data that the columns were fitted on"
            )
        huge = (np.abs(array[:, : len(columns)]) > _LARGEST).any(axis=0)
        if huge.any():
            _LOG.warning(
                "numbers above %g in %s count as this, beside which others do not differ: name "
                "them in `missing` if they stand for nothing, or the column in `omit`",
                *(_LARGEST, some_of(np.array(columns.names, dtype=object)[huge])),
            )
        array = array.clip(-_LARGEST, _LARGEST)
        thresholds = thresholds or {}
        if other := thresholds.keys() - {*whole.names, *range(len(whole))}:
            raise ArgumentError(
                f"`thresholds` must be of columns among {some_of(whole.names)}, got "
                f"{some_of(map(repr, other))}; name them as the table does"
            )
        statistics = [
            _frequent(array[:, at], len(column.categories), most)
            if column.kind == "category"
            else [
                *_moments(array[:, at]),
                *map(float, thresholds.get(column.name, thresholds.get(at, ()))),
            ]
            for at, column in enumerate(columns.columns)
        ]
        return cls(columns, statistics)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the features of rows."""
        if rows.shape[-1] < len(self.columns):
            raise DataError(
                f"rows must have the {len(self.columns)} columns {', '.join(self.columns.names)}, "
                f"got {rows.shape[-1]}; give rows of the same data"
            )
        rows = rows[:, : len(self.columns)].double().clamp(-_LARGEST, _LARGEST)
        absent = rows.isnan()
        numbers = rows[:, self._on("numbers", rows)]
        numbers = torch.where(numbers.isnan(), self._on("median", rows), numbers)
        parts = [(numbers - self._on("mean", rows)) / self._on("deviation", rows)]
        parts.append(absent[:, self._on("indicated", rows)].double())
        parts.append((rows[:, self._on("stepped", rows)] > self._on("thresholds", rows)).double())
        for place in self.coded:
            places = self._on(f"places_{place}", rows)
            last = len(places) - 1
            codes = rows[:, place].nan_to_num().clamp(0, last - 1)  # unknown ones are behind others
            parts.append(places[torch.where(absent[:, place], last, codes).long()])
        return torch.cat(parts, dim=1).float()

    def as_json(self) -> dict[str, Any]:
        """Return the preprocessing as plain lists and dicts, for `of_json`."""
        return {"format": _FORMAT, **self.columns.as_json(), "statistics": self.statistics}

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> TableInputs:
        """Return a preprocessing from `as_json`.

        Raises:
            DataError: It is none, or of another version.
        """
        try:
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}")
            return cls(Columns.of_json(content), content["statistics"])
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise DataError(
                f"a preprocessing of tables must be as TableInputs.as_json writes it, got one with "
                f"{in_short(error)}; write it anew"
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the preprocessing to a JSON file."""
        write_json(Path(path), self.as_json())

    @classmethod
    def load(cls, path: str | Path) -> TableInputs:
        """Return a preprocessing from a file that `save` wrote.

        Raises:
            DataError: It is another file, or cannot be read.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} must be a file that TableInputs.save wrote, got: {in_short(error)}; "
                "correct the path, or write it anew"
            ) from error
        return cls.of_json(content)

    def extra_repr(self) -> str:
        """Return what the columns are."""
        return self.columns.described()

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.clone(), persistent=False)  # whole, for torch.export.save

    def _on(self, name: str, rows: Tensor) -> Tensor:
        """Return a constant on the device of rows, which may be another than the model's."""
        return self.get_buffer(name).to(rows.device)


def _moments(values: NDArray[np.float64]) -> list[float]:
    present = values[~np.isnan(values)]
    median = float(np.median(present)) if len(present) else 0.0
    filled = np.where(np.isnan(values), median, values)
    deviation = float(filled.std())
    # A constant column would otherwise be rounding errors divided by each other.
    constant = deviation <= 1e-12 * max(1.0, abs(float(filled.mean())))
    missing = float(len(present) < len(values))
    return [median, float(filled.mean()), 1.0 if constant else deviation, missing]


def _frequent(codes: NDArray[np.float64], categories: int, most: int) -> list[float]:
    """Return for each code whether it has a place of its own (1), is rare (0) or absent (−1)."""
    absent = np.isnan(codes)
    counts = np.bincount(codes[~absent].astype(np.int64), minlength=categories)[:categories]
    chosen = np.where(counts > 0, 0.0, -1.0)
    first = np.argsort(-counts, kind="stable")[:most]
    chosen[first[counts[first] > 0]] = 1
    return [*chosen.tolist(), float(absent.any())]


def _places(chosen: list[float]) -> Tensor:
    """Return the one-hot vector of each code, of unknown ones and of missing ones, in that order.

    Its shape is `[categories + 2, places]`.
    """
    *own, missing = chosen
    has_own = torch.tensor([each == 1 for each in own], dtype=torch.bool)
    count, others = int(has_own.sum()), 0.0 in own
    places = torch.zeros(len(own) + 2, count + others + bool(missing), dtype=torch.float64)
    places[: len(own)][has_own, torch.arange(count)] = 1
    if others:
        places[: len(own)][~has_own, count] = 1
        places[-2, count] = 1
    if missing:
        places[-1, -1] = 1
    return places
