"""Rows of a table become a network's inputs as scikit-learn would make them, and can be saved."""

import json

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tutelage.datasets import Column, Columns, TableInputs
from tutelage.errors import DataError

COLUMNS = Columns(
    (
        Column("age", "number"),
        Column("job", "category", ("clerk", "cook", "smith")),
        Column("since", "date"),
        Column("city", "category", ("a", "b")),
    )
)


def made_rows(count=200, seed=0):
    random = np.random.default_rng(seed)
    rows = np.stack(
        [
            random.normal(40, 9, count),
            random.integers(0, 3, count),
            random.integers(18_000, 20_000, count),
            random.integers(0, 2, count),
        ],
        axis=1,
    ).astype(float)
    rows[::7, 0] = np.nan
    rows[::5, 1] = np.nan
    return rows


def test_features_are_those_of_scikit_learn():
    rows, other = made_rows(), made_rows(50, seed=1)
    expected = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), [0, 2]),
            ("m", MissingIndicator(), [0, 2]),
            ("c", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), [1, 3]),
        ]
    ).fit(rows)
    found = TableInputs.fit(COLUMNS, rows)(torch.from_numpy(other))
    assert np.allclose(found, expected.transform(other), atol=1e-6)
    assert found.dtype == torch.float32


def test_preprocessing_that_was_saved_gives_equal_features(tmp_path):
    rows = torch.from_numpy(made_rows())
    before = TableInputs.fit(COLUMNS, rows)
    before.save(tmp_path / "inputs.json")
    after = TableInputs.load(tmp_path / "inputs.json")
    assert torch.equal(before(rows), after(rows))
    assert after.columns == COLUMNS
    assert after.features == before.features == before(rows).shape[1]


def test_rare_categories_share_a_place():
    columns = Columns((Column("x", "category", ("a", "b", "c", "d")),))
    inputs = TableInputs.fit(columns, np.array([[0.0], [0], [0], [2], [2], [1], [3]]), most=2)
    assert inputs(torch.tensor([[0.0], [2], [1], [3]])).tolist() == [
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [0, 0, 1],
    ]


def test_missing_category_without_one_in_training_is_no_category():
    columns = Columns((Column("x", "category", ("a", "b")),))
    inputs = TableInputs.fit(columns, np.array([[0.0], [1.0]]))
    assert inputs(torch.tensor([[torch.nan]])).tolist() == [[0, 0]]


def test_constant_column_is_zero():
    inputs = TableInputs.fit(Columns((Column("x", "number"),)), np.full((9, 1), 0.1))
    assert inputs(torch.full((2, 1), 0.1, dtype=torch.float64)).abs().max() < 1e-6


@pytest.mark.parametrize("number", [1.7976931348623157e308, -1e160, np.inf])
def test_features_of_any_number_are_finite(number):
    rows = made_rows()
    rows[3, 0] = number
    assert TableInputs.fit(COLUMNS, rows)(torch.from_numpy(rows)).isfinite().all()
    assert TableInputs.fit(COLUMNS, made_rows())(torch.from_numpy(rows)).isnan().sum() == 0


def test_it_is_exported_with_its_network():
    rows = torch.from_numpy(made_rows())
    inputs = TableInputs.fit(COLUMNS, rows)
    network = torch.nn.Sequential(inputs, torch.nn.Linear(inputs.features, 2))
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(network, (rows,), dynamic_shapes=({0: batch},))
    assert torch.equal(program.module()(rows[:9]), network(rows[:9]))


def test_rows_of_other_columns_are_refused():
    inputs = TableInputs.fit(COLUMNS, made_rows())
    with pytest.raises(DataError, match="4 columns age, job, since, city, got 3"):
        inputs(torch.zeros(2, 3))
    with pytest.raises(DataError, match="at least one row"):
        TableInputs.fit(COLUMNS, np.zeros((0, 4)))


@pytest.mark.parametrize("content", ["[]", '{"format": 9}', '{"format": 1, "columns": 3}'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "inputs.json"
    path.write_text(content)
    with pytest.raises(DataError, match="TableInputs"):
        TableInputs.load(path)


def test_statistics_of_another_length_are_refused():
    content = TableInputs.fit(COLUMNS, made_rows()).as_json()
    content = json.loads(json.dumps(content))
    content["statistics"] = content["statistics"][:2]
    with pytest.raises(DataError, match="write it anew"):
        TableInputs.of_json(content)


@pytest.mark.parametrize("content", [None, "{"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a.json must be a file that TableInputs.save wrote"):
        TableInputs.load(tmp_path / "a.json")


def test_numbers_beside_which_others_do_not_differ_are_told(caplog):
    columns = Columns((Column("x", "number"), Column("z", "number")))
    TableInputs.fit(columns, np.array([[1.0, 1], [1.797e308, 2]]))
    assert "numbers above 1e+150 in x count" in caplog.text
