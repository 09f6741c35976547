"""Inputs without labels, made of those of the training data: a teacher labels them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from tutelage._checks import fraction, integer
from tutelage.datasets.columns import Columns
from tutelage.datasets.table_inputs import TableInputs
from tutelage.errors import DataError

_MOST = 20_000
"""Rows among which neighbours are looked for: time grows with it, and they hardly get nearer."""


def munge(
    columns: Columns,
    rows: Tensor | ArrayLike,
    count: int,
    *,
    p: float = 0.5,
    neighbours: int = 8,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return new rows of a table: each is one of its rows with some cells of a similar one.

    For a row e, drawn with equal probability, one of its nearest neighbours e' is drawn, and each
    cell e_a becomes e'_a with probability p. So rows stay where there is data, and each cell holds
    a value that occurs in its column. This is MUNGE (Buciluă, Caruana & Niculescu-Mizil 2006,
    https://doi.org/10.1145/1150402.1150464) with several neighbours in place of the first, and
    their cells in place of numbers drawn around them. Distances are Euclidean between the features
    of `TableInputs`, and neighbours are sought among at most 20,000 rows, drawn by the seed.

    Args:
        columns: What the rows' columns are.
        rows: The training data, `[rows, columns]`, as in `Splits`; columns that are not inputs of a
            network are kept as they are.
        count: How many.
        p: In [0, 1].
        neighbours: From how many of the nearest rows e' is drawn; 1 for the nearest alone.
        seed: Of the choices.

    Returns:
        The new rows, float64 `[count, columns]`, and the position of the row e of each, `[count]`.

    Raises:
        ArgumentError: `p`, `count` or `neighbours` is outside its range.
        DataError: There are not two rows, or they have other columns.

    >>> from tutelage.datasets import Column
    >>> columns = Columns((Column("age", "number"), Column("sex", "category", ("f", "m"))))
    >>> made, first = munge(columns, [[20, 0], [21, 1], [60, 1], [61, 0]], 5, neighbours=1, seed=1)
    >>> made.tolist(), first.tolist()
    ([[21.0, 0.0], [21.0, 0.0], [60.0, 0.0], [61.0, 1.0], [20.0, 1.0]], [0, 0, 3, 3, 0])
    """
    fraction("p", p, "it is the probability that a cell is the neighbour's")
    integer("count", count, 1, "it counts the rows that are made")
    integer("neighbours", neighbours, 1, "one of so many is drawn")
    array: NDArray[np.float64] = np.asarray(rows, dtype=np.float64)
    prepare = TableInputs.fit(columns, array)
    if len(array) < 2:  # noqa: PLR2004 - a row and its neighbour
        raise DataError("`rows` must be two or more, got one; give the training data")
    random = np.random.default_rng(seed)

    def features(own: NDArray[np.float64]) -> NDArray[np.float32]:
        return prepare(torch.from_numpy(own)).numpy()

    others = random.permutation(len(array))[:_MOST]
    found = NearestNeighbors(n_neighbors=min(neighbours + 1, len(others)))
    found.fit(features(array[others]))
    first = random.integers(len(array), size=count)
    drawn, place = np.unique(first, return_inverse=True)
    nearest = others[found.kneighbors(features(array[drawn]), return_distance=False)]
    # A row itself is among its nearest ones, unless it was not drawn or others equal it.
    itself = nearest == drawn[:, None]
    itself[~itself.any(axis=1), -1] = True
    nearest = nearest[~itself].reshape(len(drawn), -1)
    second = nearest[place, random.integers(nearest.shape[1], size=count)]
    taken = random.random((count, array.shape[1])) < p
    taken[:, len(columns.used) :] = False
    made = np.where(taken, array[second], array[first])
    return torch.from_numpy(made), torch.from_numpy(first)
