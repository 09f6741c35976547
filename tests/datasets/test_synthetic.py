"""Inputs that are made of the training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.datasets import Column, Columns, TableInputs, load_data
from tutelage.datasets.synthetic import munge
from tutelage.errors import ArgumentError, DataError
from tutelage.studies.eval_data import read_eval_data
from tutelage.studies.overlap import refuse_overlaps

COLUMNS = Columns(
    (
        Column("age", "number"),
        Column("sex", "category", ("f", "m")),
        Column("pay", "number"),
        Column("id", "number", used=False),
    )
)


def table(number: int, seed: int = 0) -> np.ndarray:
    """Return rows with missing cells."""
    random = np.random.default_rng(seed)
    rows = np.stack(
        [
            random.normal(40, 10, number),
            random.integers(0, 2, number),
            random.lognormal(size=number),
            np.arange(number),
        ],
        axis=1,
    ).astype(np.float64)
    rows[random.random(number) < 0.2, 2] = np.nan
    return rows


def nearest(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the nearest other rows of each row, by all distances."""
    features = TableInputs.fit(COLUMNS, rows)(torch.from_numpy(rows)).double()
    distances = torch.cdist(features, features)
    distances.fill_diagonal_(torch.inf)
    return distances.argsort(dim=1)[:, :count].numpy()


@settings(deadline=None, max_examples=30)
@given(
    number=st.integers(2, 60), count=st.integers(1, 200), neighbours=st.integers(1, 70),
    p=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_each_cell_is_the_row_s_own_or_that_of_one_near_row(number, count, neighbours, p, seed):
    rows = table(number, seed)
    made, first = munge(COLUMNS, rows, count, p=p, neighbours=neighbours, seed=seed)
    assert made.shape == (count, 4)
    near = nearest(rows, neighbours)
    for row, at in zip(made.numpy(), first.numpy(), strict=True):
        own = rows[at]
        assert row[3] == own[3]  # not an input
        others = rows[near[at]]
        fits = [
            all(
                np.array_equal(cell, mine, equal_nan=True)
                or np.array_equal(cell, theirs, equal_nan=True)
                for cell, mine, theirs in zip(row[:3], own[:3], other[:3], strict=True)
            )
            for other in others
        ]
        assert any(fits)
    again, _ = munge(COLUMNS, rows, count, p=p, neighbours=neighbours, seed=seed)
    assert torch.equal(made.nan_to_num(-1), again.nan_to_num(-1))


def test_p_is_the_fraction_of_cells_that_are_the_neighbour_s():
    rows = table(300)
    same, first = munge(COLUMNS, rows, 1000, p=0)
    assert np.array_equal(same.numpy(), rows[first.numpy()], equal_nan=True)
    other, first = munge(COLUMNS, rows, 1000, p=1, neighbours=1)
    expected = rows[nearest(rows, 1)[first.numpy(), 0], :3]
    assert np.array_equal(other.numpy()[:, :3], expected, equal_nan=True)
    some, first = munge(COLUMNS, rows, 5000, p=0.3)
    moved = some.numpy()[:, 0] != rows[first.numpy(), 0]  # all ages differ
    assert moved.mean() == pytest.approx(0.3, abs=4 * np.sqrt(0.3 * 0.7 / 5000))
    assert set(first.tolist()) == set(range(300))


def test_equal_rows_are_neighbours_of_each_other():
    rows = np.repeat(table(1), 50, axis=0)
    made, first = munge(COLUMNS, rows, 20)
    assert np.array_equal(made.numpy(), rows[first.numpy()], equal_nan=True)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"p": 1.5}, ArgumentError), ({"count": 0}, ArgumentError), ({"neighbours": 0}, ArgumentError),
     ({"rows": table(1)}, DataError), ({"rows": table(5)[:, :2]}, DataError)],
)  # fmt: skip
def test_bad_arguments_are_refused(wrong, error):
    with pytest.raises(error):
        munge(**{"columns": COLUMNS, "rows": table(5), "count": 3} | wrong)


def people(path: Path, number: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "age": random.normal(40, 9, number).round(2),
            "job": random.choice(["cook", "smith"], number),
            "place": random.choice(["north", "south"], number),
        }
    )
    frame["income"] = np.where(frame["age"] > 40, "high", "low")
    frame.to_csv(path, index=False)
    return frame


def test_a_recipe_s_data_gets_unlabelled_rows_in_the_domain_of_their_row(tmp_path):
    people(tmp_path / "a.csv")
    options = {"train": str(tmp_path / "a.csv"), "label": "income", "domain": "place", "val": 0.25}
    plain = load_data("data", options)
    found = load_data("data", options | {"synthetic": 1000})
    assert (len(plain.train), len(found.labelled), len(found.train)) == (300, 300, 1300)
    assert "1,000 synthetic rows" in found.described
    for each in range(300):
        assert torch.equal(found.train[each][0], plain.train[each][0])
    rows, labels, domains = zip(*(found.train[each] for each in range(300, 1300)), strict=True)
    assert {int(each) for each in labels} == {-100}
    places = {float(row[0]): domain for row, _, domain in (plain.train[n] for n in range(300))}
    ages = {float(row[0]) for row in rows}
    assert ages <= set(places)  # never of validation data
    kept = [
        place for row, place in zip(rows, domains, strict=True) if places[float(row[0])] == place
    ]
    assert len(kept) > 500  # half of the ages, and all of those of a neighbour of the same place
    assert torch.equal(found.val[0][0], plain.val[0][0])


def test_a_leak_of_test_data_is_found_beside_synthetic_rows(tmp_path):
    frame = people(tmp_path / "a.csv")
    frame[:100].to_csv(tmp_path / "b.csv", index=False)
    options = {"train": str(tmp_path / "a.csv"), "label": "income", "synthetic": 4000}
    found = load_data("data", options | {"test": str(tmp_path / "b.csv")})
    test = [read_eval_data("test", found.test, batch_size=64)]
    with pytest.raises(DataError, match="100 of the 100 examples"):
        refuse_overlaps(found.train, test, allowed=False)
    honest = load_data("data", options | {"test": 0.2})
    refuse_overlaps(
        honest.train, [read_eval_data("test", honest.test, batch_size=64)], allowed=False
    )
